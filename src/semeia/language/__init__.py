"""Language models: opening them, chats as tokens, image tokens, generation, and scores of answers."""
