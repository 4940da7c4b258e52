"""The package in ``plugins/flowbench-families``: installed as its users would, and run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.environments import ROOT, Run, with_package

FAMILIES = ROOT / "plugins" / "flowbench-families"
CONFIGURATION = str(FAMILIES / "pyproject.toml")

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return with_package(folder, FAMILIES)


def test_it_is_a_plugin_like_any_other(run: Run) -> None:
    assert "flowbench-families:families 0.1.0  API 2  loaded" in run("flowbench.cli.app", "plugins")


def test_it_passes_its_own_tests(run: Run) -> None:
    run("pytest", "-q", "-p", "no:cacheprovider", "-c", CONFIGURATION, str(FAMILIES))


def test_its_models_run_beside_others(run: Run, folder: Path) -> None:
    models = ("--models", "histogram,pixelcnnpp,wgan-gp", "--set", "pixelcnnpp.width=4")
    protocol = ("--datasets", "digits", "--budget", "12steps", "--metrics", "bpd")
    run("flowbench.cli.app", "run", *models, *protocol, "--results", "results")
    rows = json.loads(run("flowbench.cli.app", "results", "list", "--json", "--results", "results"))
    found = {row["model"]: row["metrics"]["bpd"]["status"] for row in rows}
    assert found == {"histogram": "ok", "pixelcnnpp": "ok", "wgan-gp": "unavailable"}
    # The critic steps each time, the generator at the last of five.
    (curves,) = folder.glob("results/runs/wgan-gp-*/1/curves.jsonl")
    info = json.loads(curves.read_text(encoding="utf-8").splitlines()[-1])["info"]
    assert (info["steps/critic"], info["steps/generator"]) == (12, 2)


def test_suites_name_what_it_brings(run: Run) -> None:
    planned = run("flowbench.cli.app", "run", "digits", "--dry-run")
    assert "wgan-gp:digits" in planned
    assert "skipped" not in planned
