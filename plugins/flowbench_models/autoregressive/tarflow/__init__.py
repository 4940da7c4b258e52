"""TarFlow."""
