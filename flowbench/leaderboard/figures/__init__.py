"""Figures, drawn by matplotlib as SVG that follows the page's theme."""
