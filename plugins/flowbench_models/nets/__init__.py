"""Networks that condition bijections."""
