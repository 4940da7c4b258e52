"""Runs jobs: plans them, starts a worker for each, and keeps what became of it."""
