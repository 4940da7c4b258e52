from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flowbench.api.specs import Direction, Scale
from flowbench.leaderboard import boards
from flowbench.leaderboard.board.table import Board, Cell, Group, Published
from flowbench.leaderboard.build.fill import row_keys
from flowbench.leaderboard.render import html, index
from flowbench.leaderboard.render.html import samples
from flowbench.leaderboard.render.html.columns import below, decimals, split, style
from flowbench.leaderboard.render.html.plots import _MAX_END, _cut, plots
from flowbench.leaderboard.render.html.rows import cell_views, statuses
from flowbench.leaderboard.render.html.shell import _around_number
from flowbench.store.attempt_files import attempt_dirs
from flowbench.store.ingest import ingest
from flowbench.store.records import MeasurementRow
from tests.browser.boards import hostile, mirrored
from tests.store import attempts as make


@pytest.fixture(scope="module")
def board() -> Board:
    return mirrored()


@pytest.fixture(scope="module")
def page(board: Board) -> str:
    """What it renders to, once for all who only read it."""
    return html.render(board)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("3.40", ("3.40", "")),
        ("130M", ("130", "M")),
        ("4.11 ±0.08", ("4.11", " ±0.08")),
        ("−1,234.5", ("−1,234.5", "")),
        ("<0.01", ("<0.01", "")),
        ("8-12", ("", "8-12")),
        ("6-4-1", ("", "6-4-1")),
        ("V100", ("", "V100")),
        ("n/a", ("", "n/a")),
        ("", ("", "")),
    ],
)
def test_a_printed_value_is_a_number_and_what_follows(text: str, parts: tuple[str, str]) -> None:
    assert split(text) == parts


def test_numbers_that_lack_decimals_are_padded_so_that_points_meet(board: Board) -> None:
    first = board.groups[0].rows[1]
    texts = ("3.4", "3", "3.45", "about 3")
    rows = tuple(
        replace(first, key=text, cells=(Cell(published=Published(text=text)),) * 4)
        for text in texts
    )
    views = cell_views(replace(board, groups=(replace(board.groups[0], rows=rows),)))
    pads = [views[text][0].printed[2] for text in texts]
    assert pads == [" f1", " f2p", "", ""]
    assert decimals("3.45") == (2, True)


def test_columns_have_the_room_of_their_longest_number(board: Board) -> None:
    assert ".c1 .n{min-width:3.5ch}" in style(board)


def test_headings_say_direction_once_where_all_share_it(board: Board, page: str) -> None:
    assert {below(column) for column in board.columns} == {"32×32 ↓", "64×64 ↓"}
    assert '<span class="below">' not in page
    heads = html.render(replace(board, shared_unit="")).count('<span class="below">')
    assert heads == 2 * len(board.columns)  # once in the button, once for print


def test_keys_of_rows_are_plain_and_unique() -> None:
    names = ["a", "a", "a-2", "a", *(row.name for row in hostile().rows)]
    keys = list(row_keys(names))
    assert keys[:4] == ["m-a", "m-a-2", "m-a-2-2", "m-a-3"]
    assert len(set(keys)) == len(keys)
    assert all(key.replace("-", "a").isalnum() and key.isascii() for key in keys)
    assert max(map(len, keys)) < 60


def test_statuses_say_what_a_row_can_be_found_by(board: Board) -> None:
    found = {row.name: statuses(row) for row in board.rows}
    assert found["Method 0"] == ["reproduced", "failed", "none", "one"]
    assert found["Method 1"] == ["published"]
    assert "unranked" in found["Method 6"]


def test_a_board_offers_to_rank_by_what_it_has(board: Board, page: str) -> None:
    assert ways(page) == ["published", "reproduced", "difference"]
    assert ways(html.render(mirrored(10, every=100))) == ["published", "reproduced", "difference"]
    bare = replace(board, groups=(replace(board.groups[0], rows=board.groups[0].rows[1:3]),))
    assert ways(html.render(bare)) == []  # there is nothing to choose from


def ways(page: str) -> list[str]:
    """The numbers that a page offers to rank by."""
    return re.findall('name="by" value="([a-z]+)"', page)


def test_facts_stand_out_by_their_numbers(page: str) -> None:
    assert _around_number("median budget 0.9 %") == ("median budget ", "0.9 %", "")
    assert _around_number("nothing yet") == ("", "", "nothing yet")
    assert '<span class="warn"><b>3</b> failed</span>' in page
    assert "<span>median budget <b>0.9 %</b></span>" in page


def test_plots_are_of_quality_and_never_of_a_cost(board: Board) -> None:
    found = [plot.heading for plot in plots(board)]
    assert found == [
        "Bits per dim against device-hours",
        "Bits per dim by group",
        "Bits per dim against parameters",
        "Bits per dim against latency in ms",
    ]
    costs: list[dict[str, Any]] = [{"role": "count"}, {"role": "cost"}]
    for fields in [*costs, {"direction": "none"}, {"kind": "check"}]:
        others = tuple(replace(column, **fields) for column in board.columns)
        assert plots(replace(board, columns=others)) == []


def test_values_of_other_data_stay_out_of_a_plot(board: Board) -> None:
    columns = tuple(replace(c, dataset="") for c in board.columns)
    groups = tuple(
        replace(
            group,
            rows=tuple(
                replace(row, cells=tuple(replace(c, dataset=f"data{n}") for c in row.cells))
                for row in group.rows
            ),
        )
        for n, group in enumerate(board.groups)
    )
    mixed = replace(board, columns=columns, groups=groups)
    (first, *_) = plots(mixed)
    names = {row.key for row in board.groups[0].rows}
    marked = {part.split('"')[0] for part in first.svg.split('data-row="')[1:]}
    assert marked
    assert marked <= names
    assert first.about == "data0"


def test_samples_are_kept_as_they_are_while_they_fit() -> None:
    small = picture(20)
    assert samples.shrunk(small) == ("png", small)


@pytest.mark.parametrize("size", [150, 1000])
def test_large_samples_are_shrunk_below_the_limit(size: int) -> None:
    kind, content = samples.shrunk(picture(size), 6000)
    assert kind == "jpeg"
    assert len(content) <= 6000
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "JPEG"


def test_a_page_with_many_rows_has_smaller_samples() -> None:
    assert samples.limit(31) == samples.MAX_BYTES
    assert 500 * samples.limit(500) * 4 / 3 < 4.1e6


def picture(size: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, size=(size, size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def test_the_same_board_gives_the_same_bytes(page: str) -> None:
    assert page == html.render(mirrored())


def test_an_index_lists_boards_by_paper(board: Board) -> None:
    own = replace(board, source=None, title="Our own")
    listed = {"a": index.entry(board, "a.html"), "b": index.entry(own, "b.html")}
    page = html.render_index(listed)
    assert page.index("<b>DenseFlow</b>") < page.index("<b>flowbench</b>")
    assert '<a href="b.html">Our own</a>' in page


def test_an_index_counts_what_boards_hold(board: Board) -> None:
    page = html.render_index({"a": index.entry(board, "a.html")})
    (line,) = re.findall(r'<a href="a.html">.*?</tr>', page)
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td.*?</td>", line)]
    every = [cell for row in board.rows for cell in row.cells]
    reproduced = sum(bool(cell.value) for cell in every)
    published = sum(cell.published is not None for cell in every)
    assert cells[:4] == ["Table 1", "31", str(published), str(reproduced)]
    assert cells[4] == str(sum(row.sub != "" for row in board.rows))  # each has one that failed
    assert cells[5].startswith("Method 0 ≤")


@pytest.mark.parametrize(("direction", "best"), [("lower", "Method 3"), ("higher", "Method 0")])
def test_an_index_names_the_best_of_ties(board: Board, direction: Direction, best: str) -> None:
    tied = []
    for row, mean in zip(list(board.rows)[0:6:3], (2.56, 2.51), strict=True):
        cell = replace(row.cells[0], best=True, mean=mean, value=str(mean))
        tied.append(replace(row, cells=(cell, *row.cells[1:])))
    column = replace(board.columns[0], direction=direction)
    columns = (column, *board.columns[1:])
    found = replace(board, columns=columns, groups=(Group(name="", rows=tuple(tied)),))
    assert index.leader(found).startswith(f"{best} ≤ 2.5")
    assert index.leader(replace(found, groups=())) == ""


def test_a_page_names_no_file_that_it_may_not_be_made_from(page: str) -> None:
    assert "from its records" in page
    assert ".duckdb" not in page


@pytest.mark.parametrize("unlike", [True, False])
def test_the_key_explains_grey_only_where_there_is_some(board: Board, unlike: bool) -> None:
    rows = next(iter(board.groups)).rows[:1]
    cell = replace(rows[0].cells[0], published=None, unlike=unlike, note="a")
    bare = tuple(replace(c, published=None, unlike=False) for c in rows[0].cells[1:])
    row = replace(rows[0], cells=(cell, *bare))
    page = html.render(replace(board, groups=(replace(board.groups[0], rows=(row,)),)))
    assert ("Grey with a letter" in page) is unlike


def test_each_further_quality_is_drawn_against_the_first_cost(board: Board) -> None:
    first, *others = board.columns
    columns = (first, *(replace(c, metric=f"fd-{i}", axis=f"FD {i}") for i, c in enumerate(others)))
    found = replace(board, columns=columns, shared_unit="")
    drawn = plots(found)
    headings = [plot.heading for plot in drawn]
    assert headings[0] == "Bits per dim against device-hours"
    assert headings[-1] == "FD 0 against latency in ms"  # the other columns have failures alone
    assert "Bits per dim against latency in ms" not in headings
    assert len({plot.name for plot in drawn}) == len(drawn)


def test_an_axis_is_logarithmic_only_where_its_values_are_so(board: Board) -> None:
    def drawn(scale: Scale) -> str:
        columns = tuple(replace(column, scale=scale) for column in board.columns)
        return str(plots(replace(board, columns=columns))[0].svg)

    assert drawn("log") != drawn("linear")
    assert board.cost is not None
    linear = plots(replace(board, cost=replace(board.cost, scale="linear")))[-1].svg
    assert "latency in ms, log scale" not in linear
    assert "latency in ms, log scale" in plots(board)[-1].svg


def test_plots_name_data_as_the_table_does(board: Board) -> None:
    found = plots(board)
    assert found
    assert all(plot.about == "CIFAR-10 32×32" for plot in found)


def test_a_page_leads_to_the_list_of_boards(board: Board, page: str) -> None:
    assert '<a href="../index.html">Boards</a>' in html.render(board, home="../index.html")
    assert "index.html" not in page


def test_samples_of_all_methods_stand_side_by_side_and_are_there_once(
    board: Board, page: str
) -> None:
    drawn = [row for row in board.rows if row.details]
    assert len(drawn) > 5
    shown = re.findall(r'data-samples="([^"]*)" alt="([^"]*)" src="data:image', page)
    assert [key for key, _ in shown] == [f"{row.key} cifar10" for row in drawn]
    assert all("seed 0, temperature 1" in text for _, text in shown)
    assert page.count('src="data:image') == len(drawn)
    assert re.findall(r'data-same="([^"]*)"', page) == [key for key, _ in shown]


def test_samples_of_one_method_stand_in_its_details(board: Board) -> None:
    group = board.groups[0]
    page = html.render(replace(board, groups=(replace(group, rows=group.rows[:1]),)))
    assert 'class="gallery"' not in page
    assert page.count('src="data:image') == 1


def test_long_names_in_plots_are_cut_where_one_sees_it() -> None:
    assert _cut("flow-matching", _MAX_END) == "flow-matching"
    assert _cut("discrete-flow-matching", _MAX_END) == "discrete-flo…"


def test_steps_of_samples_are_a_line_beside_what_takes_one_pass(tmp_path: Path) -> None:
    quality: dict[str, Any] = {"label": "FD", "short": "FD", "role": "quality", "split": None}
    cost: dict[str, Any] = {"label": "Latency", "short": "Latency", "role": "cost", "split": None}
    passes: dict[str, Any] = {
        "label": "passes",
        "short": "passes",
        "role": "witness",
        "split": None,
    }
    for seed in range(2):
        rows = [
            row
            for rung, fd, ms in (
                ("", 2.0 + seed, 40.0),
                ("steps=1", 9.0 + seed, 1.0),
                ("steps=2", 5.0, 2.0),
            )
            for row in (
                on_rung(make.measured("fd", fd, "", **quality), rung),
                on_rung(make.measured("ms", ms, "ms", **cost), rung),
                on_rung(make.measured("passes", ms, "", **passes), rung),
            )
        ]
        one_pass = (
            make.measured("fd", 4.0, "", **quality),
            make.measured("ms", 3.0, "ms", **cost),
            make.measured("passes", 1.0, "", **passes),
        )
        make.write(tmp_path, make.attempt(make.job("steps", seed), measurements=tuple(rows)))
        make.write(tmp_path, make.attempt(make.job("glow", seed), measurements=one_pass))
    ingest(tmp_path, attempt_dirs(tmp_path))
    (board,) = boards(tmp_path, with_details=True)
    assert [ladder.axis for ladder in board.ladders] == ["latency in ms", "passes"]
    found = {key: rungs for key, rungs in board.ladders[0].rungs.items()}
    steps = next(rungs for key, rungs in found.items() if "steps" in key)
    assert [(r.sample, r.cost, r.quality) for r in steps] == [
        ("steps=1", 1.0, 9.5),
        ("steps=2", 2.0, 5.0),
        ("", 40.0, 2.5),
    ]
    assert [len(rungs) for key, rungs in found.items() if "glow" in key] == [1]
    assert {column.metric for column in board.columns} >= {"fd", "ms"}
    assert not any("[" in column.metric for column in board.columns)
    drawn = [plot for plot in plots(board) if "joined" in plot.marks]
    assert [plot.heading for plot in drawn] == ["FD against latency in ms", "FD against passes"]
    texts = [e.text or "" for e in ET.fromstring(drawn[0].svg).iter() if e.tag.endswith("}text")]
    # A line is named once, and what does not lie on it by itself.
    assert sorted(text for text in texts if "steps" in text) == ["steps", "steps, default"]
    assert "steps (steps=1)" in drawn[0].svg  # and told point by point to who cannot see it
    page = html.render(board)
    assert "Lines join settings of one method" in page
    assert "--ladder" in page  # in the command that runs the row again


def on_rung(row: MeasurementRow, rung: str) -> MeasurementRow:
    """A value under one setting of a ladder, as a worker keeps it."""
    if not rung:
        return row
    changes = {"name": f"{row.name} [{rung}]", "role": "witness", "protocol": {"rung": rung}}
    return row.model_copy(update=changes)
