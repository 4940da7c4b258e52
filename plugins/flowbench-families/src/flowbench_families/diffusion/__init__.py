"""Diffusion models: noise is taken away from an image, little by little."""
