"""The datasets that ship with flowbench."""
