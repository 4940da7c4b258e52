"""Flow matching on manifolds, along geodesics."""
