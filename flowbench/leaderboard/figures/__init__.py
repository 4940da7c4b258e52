"""Figures, drawn by matplotlib as SVG that follows the page's theme."""

from flowbench.leaderboard.figures.curves import CurveFrame, Series, curves
from flowbench.leaderboard.figures.groups import Strip, strips
from flowbench.leaderboard.figures.scatter import Kind, Point, front, scatter
from flowbench.leaderboard.figures.shapes import path

__all__ = [
    "CurveFrame",
    "Kind",
    "Point",
    "Series",
    "Strip",
    "curves",
    "front",
    "path",
    "scatter",
    "strips",
]
