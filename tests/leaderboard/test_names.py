"""The core knows no metric and no paper by name: what it shows of them is data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import flowbench
from flowbench.api import Training
from flowbench.leaderboard.board.table import Cell
from flowbench.suite.published import published_tables
from flowbench_metrics.specs import ALL

CORE = Path(flowbench.__file__).parent
# Where likelihoods are computed and kept as curves, and hours counted, which the core does itself.
OWN_NUMBERS = ("api", "budget.py", "contract", "data", "evaluation", "runner", "training", "store")


def texts(path: Path) -> Iterator[str]:
    """All text constants of a file but its docstrings, and the words of those that are patterns."""
    tree = ast.parse(path.read_text("utf-8"))
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def core_files() -> list[Path]:
    return [p for p in CORE.rglob("*.py") if p.relative_to(CORE).parts[0] not in OWN_NUMBERS]


def test_no_metric_is_named_in_the_core() -> None:
    facts_of_cells = {field.name for field in fields(Cell)}
    # What a cell and a training say of themselves may be called like a metric.
    names = {spec.name for spec in ALL} - facts_of_cells - set(Training.model_fields)
    assert {"bpd", "nll", "fid", "sampling_latency"} <= names
    files = core_files()
    assert CORE / "leaderboard" / "build" / "fill.py" in files
    found = {(p.name, text) for p in files for text in texts(p) for n in names if text == n}
    assert found == set()


def test_no_paper_is_named_in_the_core() -> None:
    papers = {table.paper.id: table.paper for table in published_tables().values()}.values()
    names = {name for paper in papers for name in (paper.id, paper.short, paper.bib) if name}
    assert {"denseflow", "DenseFlow"} <= names
    found = {(p.name, text) for p in core_files() for text in texts(p) if text in names}
    assert found == set()
