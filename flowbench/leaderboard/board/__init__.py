"""What a board is, and the words, numbers and places on it."""
