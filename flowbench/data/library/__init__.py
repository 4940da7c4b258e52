"""Datasets on disk: fetched, prepared once, and loaded as splits that have been checked."""
