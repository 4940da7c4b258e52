"""Other flow libraries as flowbench plugins."""
