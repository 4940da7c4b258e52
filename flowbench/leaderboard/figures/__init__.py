"""Figures, drawn by matplotlib as SVG that follows the page's theme."""

from flowbench.leaderboard.figures.curves import Panel, Series, curves, panels
from flowbench.leaderboard.figures.groups import strips
from flowbench.leaderboard.figures.scatter import Kind, Point, front, scatter
from flowbench.leaderboard.figures.shapes import path

__all__ = [
    "Kind",
    "Panel",
    "Point",
    "Series",
    "curves",
    "front",
    "panels",
    "path",
    "scatter",
    "strips",
]
