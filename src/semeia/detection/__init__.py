"""The two-stage detector of lesions, part by part: each part that a paper replaces is an argument."""
