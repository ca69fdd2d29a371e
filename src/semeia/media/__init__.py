"""A user's files in, answers as files out."""
