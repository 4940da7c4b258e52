"""What hangs has failed, says so, and keeps nothing else from being checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowbench.contract import CheckReport, check_dataset, check_metric, check_model
from flowbench.registry import PluginSelection, Registry, load_registry

HERE = Path(__file__).parent
LIMIT_S = 1.0

pytestmark = pytest.mark.slow  # they wait, most of the time


@pytest.fixture(scope="module")
def hanging() -> Registry:
    files = (HERE / "sound_models.py", HERE / "hanging.py")
    return load_registry(PluginSelection(exclude=("flowbench",), files=files))


def _hung(report: CheckReport) -> set[str]:
    words = f"did not end: it took more than {LIMIT_S:g} s and was interrupted (hanging.py:"
    assert all(result.detail.startswith(words) for result in report.failures), report.failures
    return {result.name for result in report.failures}


def test_a_model_that_hangs_in_one_place(hanging: Registry) -> None:
    report = check_model(hanging, "hangs-in-the-inverse", slow=False, limit_s=LIMIT_S)
    assert _hung(report) == {"shapes"}
    assert {"presets", "construction"} <= {r.name for r in report.results if r.status == "passed"}
    assert report.seconds < 60


def test_a_config_that_hangs(hanging: Registry) -> None:
    report = check_model(hanging, "hangs-in-its-config", slow=False, limit_s=LIMIT_S)
    assert _hung(report) == {"configuration"}


def test_a_loader_that_hangs(hanging: Registry, tmp_path: Path) -> None:
    report = check_dataset(hanging, "hangs", tmp_path, limit_s=LIMIT_S)
    assert _hung(report) == {"load"}
    assert report.results[0].status == "passed"


def test_a_metric_that_hangs(hanging: Registry) -> None:
    assert _hung(check_metric(hanging, "hangs", limit_s=LIMIT_S)) == {"values"}
