"""Flows of free-form Jacobians: residual blocks of small Lipschitz constant, masked convolutions."""
