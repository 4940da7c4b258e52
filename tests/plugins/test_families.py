"""The package in ``plugins/flowbench-families``: installed as its users would, and run."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.environments import INSTALL, make_environment, run_in

ROOT = Path(__file__).parents[2]
FAMILIES = ROOT / "plugins" / "flowbench-families"
CONFIGURATION = str(FAMILIES / "pyproject.toml")

pytestmark = pytest.mark.slow

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a module in an environment with the package; fails with what it printed."""
    folder = tmp_path_factory.mktemp("families")
    run_module: Run = partial(run_in, folder, make_environment(folder / "env"))
    run_module(*INSTALL, "-c", str(ROOT / "constraints.txt"), str(FAMILIES))
    return run_module


def test_it_is_a_plugin_like_any_other(run: Run) -> None:
    assert "flowbench-families:families 0.1.0  API 2  loaded" in run("flowbench.cli.app", "plugins")


def test_it_passes_its_own_tests(run: Run) -> None:
    run("pytest", "-q", "-p", "no:cacheprovider", "-c", CONFIGURATION, str(FAMILIES))


def test_presets_of_papers_have_the_counts_of_released_code(run: Run) -> None:
    counts = {"pixelcnnpp:cifar10": 53_618_660}
    for model, count in counts.items():
        shown = run("flowbench.cli.app", "show", model, "--dataset", "cifar10", "--json")
        assert json.loads(shown)["num_parameters"] == count


def test_its_models_run_on_digits(run: Run) -> None:
    models = ("--models", "pixelcnn,pixelcnnpp", "--datasets", "digits")
    protocol = ("--budget", "4steps", "--metrics", "bpd", "--eval-draws", "1")
    run("flowbench.cli.app", "run", *models, *protocol, "--results", "results")
    rows = json.loads(run("flowbench.cli.app", "results", "list", "--json", "--results", "results"))
    assert {row["model"] for row in rows} == {"pixelcnn", "pixelcnnpp"}
    assert {row["metrics"]["bpd"]["status"] for row in rows} == {"ok"}
