"""The models that ship with flowbench."""
