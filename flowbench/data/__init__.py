"""Data on their way to a model: checked splits, seeded batches, preprocessing with its ladj."""
