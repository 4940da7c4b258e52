"""Flows of coupling layers."""
