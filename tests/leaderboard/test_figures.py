from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from flowbench.leaderboard import figures

LINE = figures.Series(x=[0.0, 1.0, 2.0], y=[3.0, 2.5, 2.4], label="<b>$x$ 名</b>", lead=True)
POINTS = [
    figures.Point(x=1e3, y=2.4, half_width=None, label="histogram"),
    figures.Point(x=2e5, y=2.1, half_width=0.01, label="glow"),
    figures.Point(x=3e5, y=2.2, half_width=0.02, label="other", ranked=False),
]


def drawn() -> list[str]:
    return [
        figures.curves([LINE], prefix="a", title="Curves", x_title="seconds"),
        figures.pareto(POINTS, prefix="b", title="Front", x_title="parameters"),
    ]


@pytest.mark.parametrize("index", [0, 1])
def test_a_figure_needs_no_style_attribute_and_keeps_its_text(index: int) -> None:
    root = ET.fromstring(drawn()[index])
    tags = {element.tag.split("}")[-1] for element in root.iter()}
    assert not tags & {"style", "metadata", "script", "image"}
    assert not any("style" in element.attrib for element in root.iter())
    texts = {element.text for element in root.iter() if element.tag.endswith("}text")}
    assert {("seconds", "parameters")[index], (LINE.label, "glow")[index]} <= texts
    assert root.get("role") == "img"
    assert root.get("viewBox", "").startswith("0 0 360 ")


def test_curves_in_a_shared_frame_end_where_their_values_say() -> None:
    other = figures.Series(x=[0.0, 4.0], y=[2.4, 2.0])
    frame = figures.CurveFrame.around([LINE, other], name="f", x_title="seconds")
    root = ET.fromstring(frame.draw([other], "One"))
    (line,) = (e for e in root.iter() if e.tag.endswith("}polyline"))
    last = line.get("points", "").split()[-1].split(",")
    width, height = figures.WIDTH - 38 - 8, 160 - 8 - 32
    low, high = frame.y
    assert float(last[0]) == pytest.approx(width, abs=0.1)
    assert float(last[1]) == pytest.approx(height * (high - 2.0) / (high - low), abs=0.1)
    assert ET.fromstring(frame.symbol).get("id") == "f"


def test_every_colour_is_a_token() -> None:
    for svg in drawn():
        for element in ET.fromstring(svg).iter():
            for name in ("stroke", "fill"):
                assert element.get(name, "none") == "none"


def test_figures_are_the_same_each_time_and_apart_from_each_other() -> None:
    assert drawn() == drawn()
    ids = [e.get("id") for svg in drawn() for e in ET.fromstring(svg).iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert all(i is not None and i.startswith(("a-", "b-")) for i in ids)


def test_one_value_can_be_drawn() -> None:
    flat = figures.Series(x=[0.0], y=[2.0])
    assert "<svg" in figures.curves([flat], prefix="c", title="", x_title="")


def test_drawing_leaves_no_global_state_and_boards_import_no_torch() -> None:
    code = (
        "import sys, flowbench.leaderboard as l\n"
        "assert not {'matplotlib', 'duckdb', 'pandas', 'jinja2'} & set(sys.modules)\n"
        "l.terminal_table\n"
        "assert not {'matplotlib', 'jinja2', 'torch', 'pandas'} & set(sys.modules)\n"
        "import flowbench.leaderboard.render.html\n"
        "assert not {'torch', 'matplotlib.pyplot', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
