"""Renderings of the one table model: terminal, Markdown, CSV and HTML."""
