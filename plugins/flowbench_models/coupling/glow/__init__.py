"""Glow."""
