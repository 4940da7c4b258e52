"""Stands in for the released package."""
