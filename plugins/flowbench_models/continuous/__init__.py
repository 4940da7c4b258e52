"""Continuous flows: the solution of an ordinary differential equation maps data to latents."""
