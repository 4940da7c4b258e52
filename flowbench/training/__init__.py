"""One loop for every model, under one budget and one clock."""
