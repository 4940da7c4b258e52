"""The package in ``plugins/flowbench-families``: installed as its users would, and run."""

from __future__ import annotations

import json

import pytest

from tests.environments import ROOT, Run, with_package

FAMILIES = ROOT / "plugins" / "flowbench-families"
CONFIGURATION = str(FAMILIES / "pyproject.toml")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return with_package(tmp_path_factory.mktemp("families"), FAMILIES)


def test_it_is_a_plugin_like_any_other(run: Run) -> None:
    assert "flowbench-families:families 0.1.0  API 2  loaded" in run("flowbench.cli.app", "plugins")


def test_it_passes_its_own_tests(run: Run) -> None:
    run("pytest", "-q", "-p", "no:cacheprovider", "-c", CONFIGURATION, str(FAMILIES))


def test_its_models_run_beside_others(run: Run) -> None:
    models = ("--models", "histogram,pixelcnnpp", "--set", "pixelcnnpp.width=4")
    protocol = ("--datasets", "digits", "--budget", "4steps", "--metrics", "bpd")
    run("flowbench.cli.app", "run", *models, *protocol, "--results", "results")
    rows = json.loads(run("flowbench.cli.app", "results", "list", "--json", "--results", "results"))
    assert {row["model"] for row in rows} == {"histogram", "pixelcnnpp"}
    assert {row["metrics"]["bpd"]["status"] for row in rows} == {"ok"}
