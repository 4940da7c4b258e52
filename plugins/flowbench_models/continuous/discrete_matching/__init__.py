"""Flow matching of sequences of tokens, along a process that jumps."""
