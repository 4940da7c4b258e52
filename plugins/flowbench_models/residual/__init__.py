"""Flows of free-form Jacobians: contractions added to their input, masked convolutions."""
