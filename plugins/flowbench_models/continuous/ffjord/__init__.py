"""FFJORD: a free-form vector field, trained by maximum likelihood."""
