from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from flowbench.errors import SuiteError, UnknownNameError
from flowbench.suite.find import find_suite, shipped_suites
from flowbench.suite.load import load_suite
from flowbench.suite.published import (
    load_tables,
    published_folder,
    published_table,
    published_tables,
)

PAPER = """
[[paper]]
id = "p"
title = "T"
source = "text"
[[table]]
id = "t"
paper = "p"
number = "1"
kind = "table"
layout = "grid"
caption = "C"
row_header = "Method"
groups = [""]
published_cells = 1
columns = [{ key = "bpd", header = "bpd", metric = "bpd", better = "lower" }]
rows = [{ order = 1, label = "A" }]
"""
HEADER = (
    "paper,table,row_order,group,method,model_plugin,variant,dataset,split,metric,value,"
    "qualifier,note\n"
)
LINE = "p,t,1,,A,a,,cifar10,test,bpd,3.40,,\n"


@pytest.mark.parametrize("name", sorted(published_tables()))
def test_every_value_has_its_place(name: str) -> None:
    table = published_table(name)
    assert len(table.values) == table.published_cells
    assert {row.group for row in table.rows} <= set(table.groups)
    if table.layout == "list":
        return
    placed = [
        value
        for row in table.rows
        for column in table.columns
        for value in (table.cell(row, column), table.spread(row, column))
        if value is not None
    ]
    # nanoflow-3 prints two parameter counts inside the labels of its rows.
    in_labels = [v for v in table.values if name == "nanoflow-3" and v.metric == "params_m"]
    assert Counter(map(id, [*placed, *in_labels])) == Counter(map(id, table.values))


def test_denseflow_1_has_the_papers_column_counts() -> None:
    table = published_table("denseflow-1")
    counts = [sum(table.cell(row, c) is not None for row in table.rows) for c in table.columns]
    assert counts == [29, 21, 7, 18]


def test_every_table_has_a_suite_that_mirrors_it() -> None:
    for name in published_tables():
        suite = load_suite(find_suite(name))
        assert suite.board is not None
        assert suite.board.published == suite.name == name
        assert suite.title


@pytest.mark.parametrize("name", published_tables())
def test_every_row_has_a_model_or_says_why_not(name: str) -> None:
    layout = load_suite(find_suite(name)).board
    assert layout is not None
    told = {*layout.rows, *layout.remarks}
    rows = published_table(name).rows
    silent = [r.label for r in rows if not told & {r.label, f"{r.label}, {r.variant}"}]
    # A listing of the text that nothing runs says so once.
    assert not silent or (not layout.rows and "No row is run" in " ".join(layout.caveats))


def test_shipped_suites_load() -> None:
    assert {"digits", "natural-patches", "toy-2d"} <= shipped_suites().keys()
    for path in shipped_suites().values():
        load_suite(path)


def test_the_provenance_is_kept_beside_the_values() -> None:
    text = (published_folder() / "README.md").read_text(encoding="utf-8")
    assert "Where each value comes from" in text


def test_printed_strings_are_kept() -> None:
    table = published_table("nanoflow-3")
    assert {"5.141", "5.111"} <= {value.value for value in table.values}


def test_unknown_tables() -> None:
    with pytest.raises(UnknownNameError, match="denseflow-1"):
        published_table("denseflow-11")


@pytest.mark.parametrize(
    ("layout", "lines", "message"),
    [
        (PAPER.replace('number = "1"\n', ""), LINE, "'t': number: Field required"),
        (PAPER + "colour = 1\n", LINE, "colour"),
        (PAPER, LINE.replace(",t,", ",u,"), "no table 'u'"),
        (PAPER, LINE.replace(",1,", ",2,"), "'t' has no row 2"),
    ],
)
def test_errors_name_the_table(tmp_path: Path, layout: str, lines: str, message: str) -> None:
    (tmp_path / "tables.toml").write_text(layout)
    (tmp_path / "results.csv").write_text(HEADER + lines)
    with pytest.raises(SuiteError, match=message):
        load_tables(tmp_path)


def test_a_sound_folder_loads(tmp_path: Path) -> None:
    (tmp_path / "tables.toml").write_text(PAPER)
    (tmp_path / "results.csv").write_text(HEADER + LINE)
    (table,) = load_tables(tmp_path).values()
    value = table.cell(table.rows[0], table.columns[0])
    assert value is not None
    assert value.value == "3.40"
