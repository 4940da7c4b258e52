"""MaCow."""
