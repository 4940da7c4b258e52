"""The generative models that flows are compared with, as flowbench plugins."""
