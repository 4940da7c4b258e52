"""One shape a group, in the table as in the plots: shapes carry what colour alone may not."""

from __future__ import annotations

MARKERS = ("s", "^", "D", "o", "P", "v", "p", "*")
"""Matplotlib's markers, in the order of the groups."""

# The same, in a box of 10 by 10.
PATHS = (
    "M1.5 1.5h7v7h-7z",
    "M5 1 9 8.5H1z",
    "M5 .5 9.5 5 5 9.5.5 5z",
    "M5 1a4 4 0 1 1 0 8 4 4 0 0 1 0-8z",
    "M3.5 1h3v2.5H9v3H6.5V9h-3V6.5H1v-3h2.5z",
    "M1 1.5h8L5 9z",
    "M5 .7 9.2 3.8 7.6 8.8H2.4L.8 3.8z",
    "M5 .4 6.2 3.7 9.7 3.8 6.9 6 7.9 9.4 5 7.4 2.1 9.4 3.1 6 .3 3.8 3.8 3.7z",
)


def marker(group: int) -> str:
    """Matplotlib's marker of a group, by its place from 0; past the last they start again."""
    return MARKERS[group % len(MARKERS)]


def path(group: int) -> str:
    """A group's shape as path data in a box of 10 by 10, by its place from 0."""
    return PATHS[group % len(PATHS)]
