from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise

import pytest
from matplotlib.transforms import Bbox

from flowbench.leaderboard.figures import labels
from flowbench.leaderboard.figures.axes import robust
from flowbench.leaderboard.figures.curves import Panel, Series, curves, panels
from flowbench.leaderboard.figures.groups import strips
from flowbench.leaderboard.figures.scatter import Point, front, scatter
from flowbench.leaderboard.figures.shapes import MARKERS, PATHS, path

NAME = "<b>$x$ 名</b>"
LINE = Series(points=[(0.0, 3.0), (1.0, 2.5), (2.0, 2.4)], label=NAME, lead=True)
POINTS = [
    Point(row="m-histogram", label=NAME, x=1e3, y=2.4),
    Point(row="m-glow", label="glow", x=2e5, y=2.1, half_width=0.01, group=1),
    Point(row="m-glow", label="glow", x=3e7, y=2.0, kind="published", group=1),
    Point(row="m-other", label="other", x=3e5, y=2.2, kind="unranked", half_width=0.02),
]
STRIPS = [
    (
        NAME,
        [
            Point(row="m-a", label="", y=2.0, kind="published", group=0),
            Point(row="m-b", label="", y=2.5, kind="published", group=0),
            Point(row="m-b", label="", y=2.6, group=0),
        ],
    ),
    ("Flows", [Point(row="m-c", label="", y=2.1, group=1)]),
]


def drawn() -> list[str]:
    return [
        curves([LINE], prefix="a", title="Curves"),
        scatter(POINTS, prefix="b", title="Front", x_title="parameters", y_title="bits per dim"),
        strips(STRIPS, prefix="c", title="Groups", x_title="bits per dim"),
    ]


def elements(svg: str, tag: str) -> Iterator[ET.Element]:
    return ET.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{tag}")


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_figure_needs_no_style_attribute_and_keeps_its_text(index: int) -> None:
    svg = drawn()[index]
    root = ET.fromstring(svg)
    tags = {element.tag.split("}")[-1] for element in root.iter()}
    assert not tags & {"style", "metadata", "script", "image"}
    assert not any("style" in element.attrib for element in root.iter())
    assert {("charged seconds", "parameters", "bits per dim")[index], NAME} <= {
        element.text for element in elements(svg, "text")
    }
    assert root.get("role") == "img"
    assert root.get("viewBox", "").startswith("0 0 360 ")
    assert next(elements(svg, "title")).text == ("Curves", "Front", "Groups")[index]


def test_marks_carry_the_keys_of_their_rows() -> None:
    _, front_plot, groups = drawn()
    keys = [use.get("data-row") for use in elements(front_plot, "use") if use.get("data-row")]
    assert sorted(k for k in keys if k) == ["m-glow", "m-glow", "m-histogram", "m-other"]
    keys = [use.get("data-row") for use in elements(groups, "use") if use.get("data-row")]
    assert sorted(k for k in keys if k) == ["m-a", "m-b", "m-b", "m-c"]


def test_marks_lie_where_their_values_say() -> None:
    _, front_plot, _ = drawn()
    at = {
        (use.get("data-row"), index): (float(use.get("x", "")), float(use.get("y", "")))
        for index, use in enumerate(elements(front_plot, "use"))
        if use.get("data-row")
    }
    (cheap,) = (place for (row, _), place in at.items() if row == "m-histogram")
    (dear,) = (place for (row, _), place in at.items() if row == "m-other")
    assert cheap[0] < dear[0]
    assert cheap[1] < dear[1]  # the greater value stands higher, at the smaller y


def test_the_front_is_what_nothing_beats_in_both() -> None:
    ranked = [p for p in POINTS if p.kind == "reproduced"]
    dominated = Point(row="m-bad", label="bad", x=4e5, y=2.3)
    assert [p.row for p in front([dominated, *ranked])] == ["m-histogram", "m-glow"]
    higher = front([dominated, *ranked], higher_is_better=True)
    assert [p.row for p in higher] == ["m-histogram"]
    assert "cheapest first" in str(next(elements(drawn()[1], "desc")).text)


def test_labels_never_overlap_and_stay_inside() -> None:
    layout = labels.Layout(Bbox([(38, 32), (360, 300)]))
    centres = [(50.0 + 7 * i, 100.0 + 3 * (i % 4)) for i in range(30)]
    layout.block(centres)
    placed = [
        labels.extent(x, y, f"label {i}", offset)
        for i, (x, y) in enumerate(centres)
        if (offset := layout.place(x, y, f"label {i}")) is not None
    ]
    assert len(placed) > 3
    for i, box in enumerate(placed):
        assert 38 <= box.x0
        assert box.x1 <= 360
        assert not box.count_overlaps(placed[:i])


def test_many_points_label_the_front_and_the_leading_row_alone() -> None:
    many = [
        Point(row=f"m-{i}", label=f"name {i}", x=10.0 + i, y=3.0 + i, lead=i == 7)
        for i in range(20)
    ]
    svg = scatter(many, prefix="d", title="", x_title="", y_title="")
    said = {text.text for text in elements(svg, "text")}
    assert {name for name in said if name and name.startswith("name")} == {"name 0", "name 7"}


def test_curves_in_a_shared_frame_end_where_their_values_say() -> None:
    other = Series(points=[(0.0, 2.4), (4.0, 2.0)])
    shown = [
        Panel(series=[LINE], title="One"),
        Panel(series=[other, other], title="Two", devices=2),
    ]
    images = panels(shown, prefix="f")
    low, high = robust([[y for _, y in s.points] for s in (LINE, other)])
    for svg, series in zip(images, (LINE, other), strict=True):
        lines = [
            e.get("d", "").split()
            for e in elements(svg, "path")
            if e.get("class") == "stroke-accent"
        ]
        assert len(lines) == len(shown[images.index(svg)].series)
        x, y = float(lines[-1][-2]), float(lines[-1][-1])
        assert x == pytest.approx(38 + (360 - 38 - 16) * series.points[-1][0] / 4.0, abs=0.1)
        depth = 174 - 8 - 46
        assert y == pytest.approx(8 + depth * (high - series.points[-1][1]) / (high - low), abs=0.1)
    assert [">0.0022<" in svg for svg in images] == [False, True]  # 4 s on 2 devices, in hours
    assert next(elements(images[0], "title")).text == "One"


def test_the_papers_value_is_a_line_or_is_said_to_lie_below() -> None:
    shown = [Panel(series=[LINE], title="", paper=paper) for paper in (2.45, 1.0, 9.0)]
    inside, below, above = panels(shown, prefix="f")
    dashed = [[e.get("stroke-dasharray") for e in elements(svg, "path")] for svg in (inside, below)]
    assert ["3,3" in some for some in dashed] == [True, False]
    texts = [[e.text or "" for e in elements(svg, "text")] for svg in (inside, below, above)]
    said = [[text for text in some if text.startswith("paper")] for some in texts]
    assert said == [["paper"], ["paper: 1, below ↓"], []]


def test_every_colour_is_a_token() -> None:
    for svg in drawn():
        for element in ET.fromstring(svg).iter():
            for name in ("stroke", "fill"):
                assert element.get(name, "none") == "none"


def test_figures_are_the_same_each_time_and_apart_from_each_other() -> None:
    assert drawn() == drawn()
    ids = [e.get("id") for svg in drawn() for e in ET.fromstring(svg).iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert all(i is not None and i.startswith(("a-", "b-", "c-")) for i in ids)


def test_one_value_can_be_drawn() -> None:
    flat = Series(points=[(0.0, 2.0)])
    assert "<svg" in curves([flat], prefix="c", title="")
    alone = Point(row="m", label="one", x=1.0, y=2.0)
    assert "<svg" in scatter([alone], prefix="d", title="", x_title="", y_title="")


def test_each_shape_of_the_table_has_a_marker() -> None:
    assert len(MARKERS) == len(PATHS) == len(set(PATHS))
    assert path(len(PATHS)) == path(0)


@pytest.mark.slow
def test_drawing_leaves_no_global_state_and_boards_import_no_torch() -> None:
    code = (
        "import sys, flowbench.leaderboard\n"
        "assert not {'matplotlib', 'jinja2', 'torch', 'pandas'} & set(sys.modules)\n"
        "import flowbench.leaderboard.render.html\n"
        "assert not {'torch', 'matplotlib.pyplot', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("costs", [(3.08, 4.73), (79_584, 101_426), (1.0, 10_000.0), (2e6, 4e7)])
def test_a_cost_axis_has_several_numbers_and_not_too_many(costs: tuple[float, float]) -> None:
    points = [Point(row=f"m-{x}", label="", x=x, y=x) for x in costs]
    svg = scatter(points, prefix="p", title="", x_title="cost", y_title="quality")
    centred = [e for e in elements(svg, "text") if e.get("text-anchor") == "middle"]
    assert 2 <= len([e for e in centred if e.text]) <= 6


def test_a_curve_that_rises_in_the_end_is_seen_to_its_end() -> None:
    falling = [9.0, *(2.0 - 0.01 * i for i in range(20))]
    low, high = robust([falling, [*falling[:-1], 2.2]])
    assert low < falling[-1]
    assert 2.2 < high < 9.0
    assert robust([falling])[1] < 2.2
    assert robust([falling, [*falling, 1e6]])[1] < 9.0


def test_the_label_of_a_curve_that_leaves_the_plot_stays_inside() -> None:
    steep = Series(points=[*((float(i), 2.0) for i in range(19)), (19.0, 1e6)], label="steep")
    svg = curves([steep], prefix="p", title="")
    (label,) = (e for e in elements(svg, "text") if e.text == "steep")
    assert float(label.get("y", "nan")) >= 8.0


@pytest.mark.parametrize("costs", [(2e4, 4e5), (1.0, 9.0), (3e5, 3.3e5), (1e3, 9e5)])
def test_numbers_of_a_cost_axis_stand_apart(costs: tuple[float, float]) -> None:
    points = [Point(row=f"m-{x}", label="", x=x, y=x) for x in costs]
    svg = scatter(points, prefix="p", title="", x_title="cost", y_title="quality")
    numbers = [e for e in elements(svg, "text") if e.get("text-anchor") == "middle" and e.text]
    ends = [
        (float(e.get("x", "nan")) - half, float(e.get("x", "nan")) + half)
        for e in numbers
        if (half := labels.text_width(e.text or "") / 2)
    ]
    assert all(a[1] < b[0] for a, b in pairwise(ends))


def test_a_run_that_ended_after_one_look_is_a_dot() -> None:
    once, again = Series(points=((3.0, 1.0),)), Series(points=((3.0, 1.0), (4.0, 0.9)))
    dots = [curves([line], prefix="p", title="").count("<use ") for line in (once, again)]
    assert dots == [1, 0]


def test_many_labels_at_the_ends_of_curves_stay_inside() -> None:
    same = [Series(points=[(0.0, 3.0), (1.0, 2.0)], label=f"c{i}") for i in range(8)]
    svg = curves(same, prefix="p", title="")
    found = [e for e in elements(svg, "text") if re.fullmatch("c[0-9]", e.text or "")]
    heights = sorted(float(e.get("y", "nan")) for e in found)
    assert len(heights) == 8
    assert heights[0] >= 8.0
    assert all(b - a >= 11.0 for a, b in pairwise(heights))


def test_published_points_alone_have_no_front() -> None:
    points = [Point(row="m-a", label="one", x=3.0, y=1.9, kind="published")]
    svg = scatter(points, prefix="p", title="", x_title="cost", y_title="quality")
    assert "stroke-accent" not in svg


def test_a_label_keeps_off_the_front() -> None:
    points = [
        Point(row="m-a", label="first", x=3.0, y=1.9),
        Point(row="m-b", label="second", x=6.0, y=1.8),
    ]
    svg = scatter(points, prefix="p", title="", x_title="cost", y_title="quality")
    marks = {e.get("data-row"): e for e in elements(svg, "use")}
    for point in points:
        (label,) = (e for e in elements(svg, "text") if e.text == point.label)
        x, y = (float(marks[point.row].get(name, "nan")) for name in ("x", "y"))
        # The front goes on to the right of each mark, at its height.
        right = label.get("text-anchor") == "start" and float(label.get("x", "nan")) > x
        assert not (right and abs(float(label.get("y", "nan")) - y) < 5.0)
