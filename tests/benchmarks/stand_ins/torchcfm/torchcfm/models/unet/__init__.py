"""Stands in for the released network."""
