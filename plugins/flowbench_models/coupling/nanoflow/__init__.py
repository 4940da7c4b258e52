"""NanoFlow."""
