"""Flows that transform each element given those before it."""
