"""A metric of another distribution has a column, a ranking and a plot, as those that ship have."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowbench.api import API_VERSION, MetricSpec, MetricValue
from flowbench.leaderboard import boards
from flowbench.leaderboard.board.table import Board
from flowbench.leaderboard.render import html
from flowbench.registry import PluginSelection, load_registry
from flowbench.runner.measure import measurement_row
from flowbench.store.attempt_files import attempt_dirs
from flowbench.store.ingest import ingest
from flowbench.store.records import MeasurementRow
from tests.store import attempts as make

PLUGIN = """
from flowbench.api import MetricSpec, hookimpl
FLOWBENCH_API_VERSION = {version}
@hookimpl
def register_metrics():
    return [
        MetricSpec(
            name="tail", compute="m:f", unit="nats", direction="lower", summary="s"{more}
        )
    ]
"""
SHOWN = ', label="Mean of the worst tenth", short="Worst tenth", scale="log", decimals=1'


@pytest.fixture(params=["", SHOWN], ids=["bare", "described"])
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MetricSpec]:
    """The spec of a distribution that is installed as pip would leave it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        name = f"flow_tail_{len(request.param)}"
        (tmp_path / f"{name}.py").write_text(PLUGIN.format(version=API_VERSION, more=request.param))
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[flowbench]\nmain = {name}\n")
        entry = load_registry(PluginSelection()).metric("tail")
        assert entry.source.distribution == name
        yield entry.spec
    importlib.invalidate_caches()


def board_of(results: Path, spec: MetricSpec, *, as_kept_before: bool = False) -> Board:
    """Three models, measured by the shipped metrics and by the foreign one."""
    for place, model in enumerate(("nice", "glow", "realnvp")):
        value = MetricValue(
            name=spec.name, value=40.0 + place, unit=spec.unit, direction=spec.direction,
            split="test", num_examples=36,
        )  # fmt: skip
        row = measurement_row(spec, value, None)
        if as_kept_before:
            row = MeasurementRow.model_validate(
                {k: v for k, v in row.model_dump().items() if k not in shown_fields()}
            )
        latency = make.measured(
            "latency", 2.0 + place, "ms", label="Latency", short="Latency", role="cost",
            scale="log", split=None,
        )  # fmt: skip
        bpd = make.measured("bpd", 2.0 - 0.1 * place, "bits/dim", n=360)
        for seed in range(2):
            make.write(
                results, make.attempt(make.job(model, seed), measurements=(bpd, row, latency))
            )
    ingest(results, attempt_dirs(results))
    (board,) = boards(results, with_details=True)
    return board


def shown_fields() -> set[str]:
    return set(MetricSpec(name="m", compute="", unit="", direction="none", summary="")
               .presentation("m", ""))  # fmt: skip


@pytest.mark.parametrize("as_kept_before", [False, True])
def test_it_has_a_column_a_ranking_and_a_plot(
    spec: MetricSpec, tmp_path: Path, as_kept_before: bool
) -> None:
    board = board_of(tmp_path / "results", spec, as_kept_before=as_kept_before)
    first, second, *others = board.columns
    assert [first.metric, second.metric] == ["bpd", "tail"]
    assert {column.role for column in others} <= {"cost", "count"}
    described = spec.label != "tail"
    assert second.label == ("Worst tenth" if described else "tail")
    assert second.detail == "nats, test"
    assert (second.scale, second.direction) == ("log" if described else "linear", "lower")
    cells = {row.name.split(":")[0]: row.cells[1] for row in board.rows}
    assert [cells[model].rank for model in ("nice", "glow", "realnvp")] == ["1", "2", "3"]
    assert cells["nice"].best
    assert cells["nice"].value == ("40.0" if described else "40.000")
    page = html.render(board)
    quantity = "Worst tenth, nats" if described else "Tail, nats"
    assert f"<b>{quantity} against latency in ms</b>" in page
