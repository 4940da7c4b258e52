"""Correct datasets and metrics pass; each mutant fails by exactly the check meant for it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from flowbench.contract import ClosedForm, check_dataset, check_metric
from flowbench.contract.datasets import CHECKS as DATASET_CHECKS
from flowbench.contract.metrics import CHECKS as METRIC_CHECKS
from flowbench.registry import Registry
from flowbench.registry.build import prepare_dataset


def test_sound_datasets_pass_and_missing_ones_are_skipped(
    registry: Registry, tmp_path: Path
) -> None:
    assert check_dataset(registry, "sound-images", tmp_path).status == "passed"
    report = check_dataset(registry, "not-prepared", tmp_path)
    assert not report.failures
    assert "flowbench data prepare" in report.results[-1].detail


def test_a_prepared_dataset_is_checked_in_its_store(
    registry: Registry, other_mutants: ModuleType, tmp_path: Path
) -> None:
    assert check_dataset(registry, "to-be-prepared", tmp_path).results[-1].status == "skipped"
    splits = other_mutants.images()
    named = {"train": splits.train, "test": splits.test}
    labels = {f"{name}_label": split.context["label"] for name, split in named.items()}
    images = {name: split.x for name, split in named.items()}
    np.savez(tmp_path / "images.npz", **images, **labels)
    prepare_dataset(registry, "to-be-prepared", tmp_path / "data", given=tmp_path)
    report = check_dataset(registry, "to-be-prepared", tmp_path / "data")
    assert {r.name for r in report.results if r.status == "passed"} == {"facts", "form", "spread"}
    for path in (tmp_path / "data" / "to-be-prepared").iterdir():
        path.write_bytes(b"damaged")
    report = check_dataset(registry, "to-be-prepared", tmp_path / "data")
    assert {result.name for result in report.failures} == {"load"}


def test_every_broken_dataset_is_caught_by_the_check_that_is_meant_for_it(
    registry: Registry, other_mutants: ModuleType, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    intended = other_mutants.INTENDED_DATASETS
    assert {check.name for check in DATASET_CHECKS} <= set(intended.values())
    for name, check in intended.items():
        with subtests.test(name):
            report = check_dataset(registry, name, tmp_path)
            assert {result.name for result in report.failures} == {check}


def test_every_broken_metric_is_caught_by_the_check_that_is_meant_for_it(
    registry: Registry, other_mutants: ModuleType, subtests: pytest.Subtests
) -> None:
    intended = other_mutants.INTENDED_METRICS
    assert {check.name for check in METRIC_CHECKS} <= set(intended.values())
    for name, check in intended.items():
        with subtests.test(name):
            report = check_metric(registry, name)
            assert {result.name for result in report.failures} == {check}


@pytest.mark.parametrize("name", ["sound_nll", "sound_spread"])
def test_sound_metrics_pass(registry: Registry, name: str) -> None:
    report = check_metric(registry, name)
    assert report.status == "passed", "\n".join(report.lines())


def test_a_metric_that_is_unavailable_breaks_nothing(registry: Registry) -> None:
    assert not check_metric(registry, "sound_unavailable").failures


@pytest.mark.parametrize(
    ("name", "check"), [("sound_first_examples", "order"), ("sound_batches", "batch_size")]
)
def test_only_declared_invariances_are_checked(registry: Registry, name: str, check: str) -> None:
    report = check_metric(registry, name)
    assert report.status == "passed", "\n".join(report.lines())
    results = {r.name: r for r in report.results}
    assert results[check].status == "skipped"
    assert f"does not name '{check}'" in results[check].detail
    (other,) = {"order", "batch_size"} - {check}
    assert results[other].status == "passed"


def test_declared_closed_forms_are_compared_once(registry: Registry) -> None:
    results = [r for r in check_metric(registry, "sound_known").results if r.name == "closed_form"]
    assert [r.status for r in results] == ["passed"]


@pytest.mark.parametrize(("expected", "status"), [(2.0, "passed"), (2.1, "failed")])
def test_closed_forms_are_compared(registry: Registry, expected: float, status: str) -> None:
    known = ClosedForm(log_prob=[-1.0, -3.0], expected=expected)
    report = check_metric(registry, "sound_nll", closed_forms=[known])
    (result,) = [r for r in report.results if r.name == "closed_form"]
    assert result.status == status


def test_the_worst_closed_form_is_told(registry: Registry) -> None:
    known = [
        ClosedForm(log_prob=[-1.0, -3.0], expected=expected, tolerance=tolerance)
        for expected, tolerance in ((2.1, 1e-6), (4.0, 1e-6), (2.2, 1e-6), (20.0, 1.0))
    ]
    report = check_metric(registry, "sound_nll", closed_forms=known)
    (result,) = report.failures
    assert result.name == "closed_form"
    assert result.figure == pytest.approx(0.5)
    assert "by hand 4" in result.detail
    (sound,) = [
        r
        for r in check_metric(registry, "sound_nll", closed_forms=[known[3]]).results
        if r.name == "closed_form"
    ]
    assert sound.status == "passed"
    assert sound.figure == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("name", "known", "given", "need"),
    [
        ("sound_spread", ClosedForm(log_prob=[-1.0], expected=1.0), "log_prob", "likelihood"),
        ("sound_nll", ClosedForm(samples=[[0.0, 1.0]], expected=1.0), "samples", "samples"),
    ],
)
def test_a_closed_form_gives_what_the_metric_needs(
    registry: Registry, name: str, known: ClosedForm, given: str, need: str
) -> None:
    (result,) = check_metric(registry, name, closed_forms=[known]).failures
    assert result.name == "closed_form"
    assert f"gives the metric {given}, but '{need}' is not in its `needs`" in result.detail


def test_closed_forms_of_samples_are_compared(registry: Registry) -> None:
    known = ClosedForm(samples=[[0.0, 1.0], [4.0, 3.0]], expected=1.5)
    report = check_metric(registry, "sound_spread", closed_forms=[known])
    (result,) = [r for r in report.results if r.name == "closed_form"]
    assert result.status == "passed", result.detail
