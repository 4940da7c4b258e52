"""The third-party package in ``plugins/flowbench-peers``: installed as its users would, and run.

Its libraries come from the package index, like every other requirement of the tests.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.environments import ROOT, Run, with_package

PEERS = ROOT / "plugins" / "flowbench-peers"
CONFIGURATION = str(PEERS / "pyproject.toml")

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return with_package(folder, PEERS)


def test_it_is_a_plugin_like_any_other(run: Run) -> None:
    assert "flowbench-peers:peers 0.1.0  API 2  loaded" in run("flowbench.cli.app", "plugins")


def test_it_passes_its_own_tests(run: Run) -> None:
    run("pytest", "-q", "-p", "no:cacheprovider", "-c", CONFIGURATION, str(PEERS))


def test_what_its_readme_shows_of_the_libraries_is_true(run: Run, folder: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (PEERS / "README.md").read_text(), re.S | re.M)
    (folder / "shown.py").write_text("\n".join(blocks))
    clamped, dtypes = run("shown").splitlines()
    assert clamped.startswith("tensor(2.88")
    assert dtypes == "torch.float64 torch.float32"


@pytest.mark.parametrize(("preset", "dataset"), [("tiny", "digits"), ("small", "natural-patches")])
def test_a_wrapped_glow_differs_from_ours_by_its_layers_alone(
    run: Run, preset: str, dataset: str
) -> None:
    ours, theirs = (
        json.loads(run("flowbench.cli.app", "show", model, "--dataset", dataset, "--json"))
        for model in ("glow", "normflows-glow")
    )
    assert ours["preset"] == theirs["preset"] == preset
    assert theirs["config"].items() <= ours["config"].items()


def test_a_wrapped_glow_runs_beside_ours(run: Run) -> None:
    models = ("--models", "glow:tiny,normflows-glow:tiny", "--datasets", "digits")
    protocol = ("--budget", "4steps", "--metrics", "bpd", "--eval-draws", "1")
    run("flowbench.cli.app", "run", *models, *protocol, "--results", "results")
    rows = run("flowbench.cli.app", "results", "list", "--json", "--results", "results")
    assert rows.count('"status": "ok"') >= 2
    assert '"model": "normflows-glow"' in rows


WITNESSES = ("density_mass", "roundtrip_error", "sample_agreement")


@pytest.mark.parametrize(
    ("dataset", "models", "steps"),
    [
        ("two-moons", "zuko-nice,zuko-maf,nflows-rqnsf-ar,normflows-nsf", 60),
        ("digits", "normflows-glow", 30),
    ],
)
def test_witnesses_refute_no_peer_that_is_right(
    run: Run, dataset: str, models: str, steps: int, tmp_path: Path
) -> None:
    results = ("--results", str(tmp_path))
    asked = ("--models", models, "--datasets", dataset, "--budget", f"{steps}steps")
    metrics = [name for name in WITNESSES if dataset != "digits" or name != "density_mass"]
    run("flowbench.cli.app", "run", *asked, "--metrics", ",".join(metrics), *results)
    rows = json.loads(run("flowbench.cli.app", "results", "list", "--json", *results))
    assert {row["model"] for row in rows} == set(models.split(","))
    for row in rows:
        values = {name: row["metrics"][name] for name in metrics}
        assert all(value["status"] in ("ok", "unavailable") for value in values.values()), row
        assert any(value["status"] == "ok" for value in values.values()), row
    assert not [row["refuted"] for row in rows if row["refuted"]]
