"""Every part that ships keeps the contract that foreign plugins are held to."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowbench import paths
from flowbench.contract import CheckReport, check_dataset, check_metric, check_model
from flowbench.registry import PluginSelection, Registry, load_registry

SHIPPED = load_registry(PluginSelection(only=("flowbench",)))
READABLE = [name for name, entry in SHIPPED.datasets.items() if entry.spec.load is not None]

# Metrics whose values were worked out by hand.
WORKED_OUT = ("nll", "bpd", "params", "device_hours", "peak_memory", "density_mass")

# Metrics that fit a classifier, integrate, or draw samples of their own, in every measurement.
COSTLY = frozenset(
    {
        "c2st",
        "density_mass",
        "effective_samples",
        "elbo",
        "log_normaliser",
        "log_normaliser_error",
        "sample_agreement",
    }
)

# A trained one and a fitted one; on the other models the slow tests run every check.
QUICK = ("nice", "histogram")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return SHIPPED


def _assert_held(report: CheckReport) -> None:
    assert report.status == "passed", "\n".join(report.lines())


@pytest.mark.parametrize("name", QUICK)
def test_models_keep_the_contract(registry: Registry, name: str) -> None:
    _assert_held(check_model(registry, name, slow=False))


# They differ from flow-matching in what they are trained on alone, and a solve is costly.
SIBLINGS = ("ot-cfm", "rectified-flow")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", SHIPPED.models)
def test_trained_models_keep_the_contract(registry: Registry, name: str) -> None:
    _assert_held(check_model(registry, name, slow=name not in SIBLINGS))


@pytest.mark.parametrize("name", READABLE)
def test_datasets_keep_the_contract(registry: Registry, name: str) -> None:
    _assert_held(check_dataset(registry, name, paths.data_dir()))


@pytest.mark.parametrize("name", [n for n in SHIPPED.datasets if n not in READABLE])
def test_facts_of_datasets_keep_the_contract(registry: Registry, name: str) -> None:
    assert not check_dataset(registry, name, Path("unused")).failures


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in COSTLY else []) for n in SHIPPED.metrics],
)
def test_metrics_keep_the_contract(registry: Registry, name: str) -> None:
    report = check_metric(registry, name)
    if registry.metrics[name].spec.modalities == {"manifold"}:
        # The model that metrics are held to knows no manifold; their own tests have closed forms.
        assert report.status == "skipped"
        return
    _assert_held(report)
    if name in WORKED_OUT:
        by_hand = {r.status for r in report.results if r.name == "closed_form"}
        assert by_hand == {"passed"}
