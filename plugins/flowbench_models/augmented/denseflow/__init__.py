"""DenseFlow."""
