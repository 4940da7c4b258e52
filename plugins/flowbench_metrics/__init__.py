"""The metrics that ship with flowbench."""
