"""Data on their way to a model: seeded batches, and preprocessing with its ladj.

Where data come from and what they are held to is another house, `flowbench.data.library`.
"""
