"""Correct models pass; each mutant fails by exactly the check that is there to catch it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from flowbench.contract import check_model
from flowbench.contract.models import CHECKS
from flowbench.registry import Registry

SOUND = "flow staged split augmented hutchinson normal latent categorical gan".split()


def _mutants() -> Iterator[str]:
    """Names, read from the source: plugin files are imported through their own door only."""
    tree = ast.parse((Path(__file__).parent / "mutants.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.decorator_list:
            yield "mutant" + "".join(f"-{c.lower()}" if c.isupper() else c for c in node.name)


@pytest.mark.parametrize(
    ("name", "slow"),
    [("flow", False), *(pytest.param(name, True, marks=pytest.mark.slow) for name in SOUND)],
)
def test_a_sound_model_passes(registry: Registry, name: str, slow: bool) -> None:
    report = check_model(registry, f"sound-{name}", slow=slow)
    assert report.status == "passed", "\n".join(report.lines())


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", list(_mutants()))
def test_a_mutant_is_caught_by_the_check_that_is_meant_for_it_and_by_no_other(
    registry: Registry, mutants: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Trained and drawn from as much as on a fast machine, however slow or busy this one is. Modules
    # by their names, since a check has the name of its own.
    models = "flowbench.contract.models"
    monkeypatch.setattr(sys.modules[f"{models}.subject"], "TRAINING_LIMIT_S", 1e6)
    if "a-little" in name:  # seen in many samples alone
        monkeypatch.setattr(sys.modules[f"{models}.small_space"], "LIMIT_S", 1e6)
    report = check_model(registry, name)
    assert {result.name for result in report.failures} == {mutants.INTENDED[name]}
    assert all(result.look_at and result.asks for result in report.failures)


def test_every_check_of_models_has_a_mutant(mutants: ModuleType) -> None:
    assert {check.name for check in CHECKS} <= set(mutants.INTENDED.values())


def test_there_are_no_two_checks_of_one_name_and_needs_come_before() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    for position, check in enumerate(CHECKS):
        assert set(check.needs) <= set(names[:position]), check.name


def test_what_builds_on_a_failure_is_skipped_and_says_so(registry: Registry) -> None:
    report = check_model(registry, "mutant-ladj-sign-flipped")
    (mass,) = {result.detail for result in report.results if result.name == "mass"}
    assert mass == "not checked, because jacobian failed"


def test_a_model_is_checked_on_the_form_of_a_dataset(registry: Registry) -> None:
    report = check_model(registry, "sound-categorical", dataset="sound-images", slow=False)
    assert {result.case for result in report.results} == {"1x4x4 image, 8 levels"}
    assert report.status == "passed"


def test_a_model_is_checked_on_the_forms_that_its_spec_names(registry: Registry) -> None:
    report = check_model(registry, "sound-seven")
    assert report.status == "passed", "\n".join(report.lines())
    assert {result.case for result in report.results} == {"1x7 audio, real-valued"}
    passed = {result.name for result in report.results if result.status == "passed"}
    assert {"jacobian", "training", "full_graph"} <= passed
    (mass,) = [result for result in report.results if result.name == "mass"]
    assert "too many to integrate over" in mass.detail


def test_a_model_without_a_case_is_not_called_sound(registry: Registry) -> None:
    report = check_model(registry, "sound-augmented", dataset="sound-images")
    assert report.status == "skipped"
    assert "made for vector data" in report.results[0].detail
