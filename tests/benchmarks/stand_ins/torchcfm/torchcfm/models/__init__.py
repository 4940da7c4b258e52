"""Stands in for the released networks."""
