"""Flow matching: a velocity that is learned by regression, along paths from noise to data."""
