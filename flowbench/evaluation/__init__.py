"""Measures a trained model by one protocol."""
