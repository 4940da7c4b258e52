"""Flows with surjections."""
