"""Draws the picture of the README from the reference results: a board and its learning curves.

Run it after the reference results or the look of boards changed: ``python tools/draw_picture.py``.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from flowbench.leaderboard import suite_boards
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.table import Board, Row
from flowbench.leaderboard.figures import svg
from flowbench.leaderboard.render.html.plots import plots
from flowbench.suite.find import find_suite
from flowbench.suite.load import load_suite
from flowbench.suite.schema import Suite

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "board.svg"
SUITE = "digits"

MARGIN, TABLE, GAP, TOP, LINE = 20, 360, 40, 112, 25
WIDTH = MARGIN + TABLE + GAP + svg.WIDTH + MARGIN
COLUMNS = {0: 200, 1: 285, 2: TABLE}  # place on the board, and where the column's numbers end

# The tokens of the board's page, in light and dark.
STYLE = """
svg { --background: #fdfdfb; --ink: #1b1b19; --muted: #55554f; --accent: #0a58a3;
  --line: #8a8a82; --rule: #e3e3dc;
  font: 11px -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif }
@media (prefers-color-scheme: dark) {
  svg { --background: #151614; --ink: #e9e8e2; --muted: #b0afa7; --accent: #80bcf5;
    --line: #75756d; --rule: #2c2e2a }
}
.page { fill: var(--background) } .stroke-rule { stroke: var(--rule) }
.fill-ink { fill: var(--ink) } .fill-muted { fill: var(--muted) }
.fill-accent { fill: var(--accent) }
.stroke-ink { stroke: var(--ink) } .stroke-line { stroke: var(--line) }
.stroke-accent { stroke: var(--accent) }
.title { font-size: 19px; font-family: Charter, Georgia, "Liberation Serif", serif }
.cell { font-size: 13px } .best { font-weight: 700 } .end { text-anchor: end }
"""


def draw(board: Board, suite: Suite) -> str:
    """Draws a board.

    Args:
        board: The board, with details, so that there are learning curves.
        suite: Its suite.

    Returns:
        A whole SVG file.
    """
    rows = list(board.rows)
    height = TOP + LINE * len(rows) + MARGIN
    size = {"width": str(WIDTH), "height": str(height), "viewBox": f"0 0 {WIDTH} {height}"}
    root = _element("svg", **size, role="img")
    ET.SubElement(root, f"{{{svg.NAMESPACE}}}title").text = board.title
    ET.SubElement(root, f"{{{svg.NAMESPACE}}}style").text = STYLE
    root.append(_element("rect", width="100%", height="100%", **{"class": "page"}))
    _write(root, MARGIN, 34, board.title, "title fill-ink")
    shared = (
        f"{words.budget(suite.budget)} of training each, {len(suite.seeds)} seeds, 95 % intervals"
    )
    _write(root, MARGIN, 54, shared, "fill-muted")
    for place, right in COLUMNS.items():
        _write(root, MARGIN + right, TOP - 24, board.columns[place].label, "best fill-ink end")
        _write(root, MARGIN + right, TOP - 10, board.columns[place].detail, "fill-muted end")
    _write(root, MARGIN, TOP - 24, "Method", "best fill-ink")
    for number, row in enumerate(rows):
        _rule(root, TOP + LINE * number)
        _row(root, TOP + LINE * number + 17, row)
    _rule(root, TOP + LINE * len(rows))
    (curves,) = (p.svg for p in plots(board) if p.name.endswith("-curves"))
    plot = ET.fromstring(curves)
    plot.attrib.update(x=str(MARGIN + TABLE + GAP), y=str(TOP - 18), overflow="visible")
    heading = "Bits per dim on validation data, by charged seconds"
    _write(root, MARGIN + TABLE + GAP, TOP - 24, heading, "best fill-ink")
    root.append(plot)
    return svg.text(root) + "\n"


def _element(tag: str, **attributes: str) -> ET.Element:
    return ET.Element(f"{{{svg.NAMESPACE}}}{tag}", attributes)


def _row(root: ET.Element, y: int, row: Row) -> None:
    _write(root, MARGIN, y, row.name, "cell fill-ink")
    for place, right in COLUMNS.items():
        cell = row.cells[place]
        look = "cell end fill-accent" + (" best" if cell.best else "")
        said = cell.text.partition(", n=")[0]  # the heading names the seeds
        _write(root, MARGIN + right, y, said, look)


def _rule(root: ET.Element, y: int) -> None:
    ends = {"x1": str(MARGIN), "x2": str(MARGIN + TABLE), "y1": str(y), "y2": str(y)}
    root.append(_element("line", **ends, **{"class": "stroke-rule"}))


def _write(root: ET.Element, x: int, y: int, said: str, look: str) -> None:
    text = _element("text", x=str(x), y=str(y), **{"class": look})
    text.text = said
    root.append(text)


def main(target: Path = PICTURE) -> None:
    """Draws the picture.

    Args:
        target: Where it is written.
    """
    suite = load_suite(find_suite(SUITE))
    (board,) = suite_boards(ROOT / "results" / "reference", [suite], with_details=True)
    target.write_text(draw(board, suite), encoding="utf-8")
    print(target.name)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
