"""Witnesses leave every correct model alone, and each refutes what is wrong in its own way."""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowbench.api import (
    InvertibleModel,
    Latents,
    Likelihood,
    MetricSettings,
    MetricSpec,
    MetricValue,
)
from flowbench.api.mass import density_mass as integral
from flowbench.evaluation.evaluate import compute_metric
from flowbench.evaluation.trained import EvaluatedModel
from flowbench.registry.configs import configure
from flowbench.store.queries import standing_attempts
from flowbench.store.reconcile import readable
from flowbench_metrics import density_mass, sample_agreement
from flowbench_metrics.specs import DENSITY_MASS, ROUNDTRIP_ERROR, SAMPLE_AGREEMENT
from tests.plugins.test_contract import SIBLINGS
from tests.plugins.trained import loaded, registry, trained

WITNESSES = (DENSITY_MASS, ROUNDTRIP_ERROR, SAMPLE_AGREEMENT)


def measure(spec: MetricSpec, given: EvaluatedModel, dataset: str) -> list[MetricValue]:
    module, _, name = spec.compute.partition(":")
    compute = getattr(importlib.import_module(module), name)
    values, failure = compute_metric(
        spec,
        lambda: compute,
        given,
        loaded(dataset).splits,
        MetricSettings(eval_draws=1, num_samples=1000),
        contextlib.nullcontext,
        KeyboardInterrupt,
    )
    assert failure is None, failure
    return values


def refutations(given: EvaluatedModel, dataset: str) -> dict[str, str]:
    """What the witnesses that speak against a model say."""
    found = {}
    for spec in WITNESSES:
        for value in measure(spec, given, dataset):
            assert value.status != "failed", value
            said = spec.refutation(value)
            if said is not None:
                found[spec.name] = said
    return found


def models_for(dataset: str) -> list[str]:
    """All models that run on a dataset, each by the preset that it takes there."""
    info = loaded(dataset).info
    configured = {name: configure(registry(), name, info, {}) for name in registry().models}
    found = {name: one for name, one in configured.items() if one.unsupported(info) is None}
    if dataset != "checkerboard":
        return [*found]
    # Every point of a solver's integral is a solve: one of the planar sets is enough for those.
    facts = {name: one.config.likelihood(info) for name, one in found.items()}
    return [n for n, one in facts.items() if isinstance(one, Likelihood) and not one.tolerance]


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer samples and cells: of many models some are inverted, or integrated, step by step."""
    monkeypatch.setattr(sample_agreement, "NUM_VALUES", 2048)
    monkeypatch.setattr(density_mass, "NUM_POINTS", 1024)
    monkeypatch.setattr(density_mass, "density_mass", partial(integral, num_cells=1024))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("briefly")
@pytest.mark.parametrize("dataset", ["digits", "two-moons", "checkerboard"])
def test_no_correct_model_is_refuted(dataset: str) -> None:
    choices = [name for name in models_for(dataset) if name not in SIBLINGS]
    assert {"nice", "realnvp"} <= set(choices)
    found = {choice: refutations(trained(choice, dataset, 20), dataset) for choice in choices}
    assert not any(found.values()), found


REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def test_no_reference_result_is_refuted_by_what_it_measured_or_lacks() -> None:
    if not REFERENCE.is_dir():
        pytest.skip("results/reference is not here: a source distribution has no results")
    with readable(REFERENCE) as folder:
        records = standing_attempts(folder)
    assert len(records) > 50
    assert not any(record.refuted for record in records)
    limits = {name: limits for spec in WITNESSES for name, limits in spec.limits.items()}
    measured = [m for record in records for m in record.measurements if m.name in limits]
    assert measured
    assert not [m for m in measured if limits[m.name].refutation(m.value, m.stderr)]


# --- models that are wrong ------------------------------------------------------------------------

Change = Callable[[InvertibleModel], None]


def off_by(nats: float) -> Change:
    """A constant that is missing from the density."""

    def change(model: InvertibleModel) -> None:
        right = model.base_log_prob
        _replace(model, base_log_prob=lambda latents: right(latents) + nats)

    return change


def scaled_ladj(factor: float) -> Change:
    """A log-determinant of which a part is missing, or has another sign."""

    def change(model: InvertibleModel) -> None:
        right = model.to_latent

        def to_latent(*args: Any, **kwargs: Any) -> tuple[Latents, Tensor]:
            latents, ladj = right(*args, **kwargs)
            return latents, factor * ladj

        _replace(model, to_latent=to_latent)

    return change


def at_temperature(temperature: float) -> Change:
    """Samples that are colder than asked for."""

    def change(model: InvertibleModel) -> None:
        right = model.from_latent

        def from_latent(latents: Latents, context: Any = None) -> Tensor:
            return right(tuple(temperature * z for z in latents), context)

        def sample(num: int, context: Any = None, **kwargs: Any) -> Tensor:
            drawn = model.sample_base(
                num, temperature=1.0, generator=kwargs["generator"], device=torch.device("cpu")
            )
            return from_latent(drawn, context)

        _replace(model, sample=sample)

    return change


def bent_inverse(error: float) -> Change:
    """An inverse that is not that of the map, while samples are as before."""

    def change(model: InvertibleModel) -> None:
        right, sample = model.from_latent, copy.copy(model).sample

        def from_latent(latents: Latents, context: Any = None) -> Tensor:
            x = right(latents, context)
            return x + error * torch.sin(3 * x)

        _replace(model, from_latent=from_latent, sample=sample)

    return change


def _replace(model: InvertibleModel, **methods: Any) -> None:
    for name, method in methods.items():
        object.__setattr__(model, name, method)


MUTANTS: dict[str, tuple[Change, str]] = {
    "mass of 1.011": (off_by(0.011), "density_mass"),
    "mass of 0.985": (off_by(-0.015), "density_mass"),
    "mass of e": (off_by(1.0), "density_mass"),
    "a part of ladj": (scaled_ladj(0.9), "density_mass"),
    "the sign of ladj": (scaled_ladj(-1.0), "density_mass"),
    "the sign of ladj, by samples": (scaled_ladj(-1.0), "sample_agreement"),
    "temperature 0.97": (at_temperature(0.97), "sample_agreement"),
    "temperature 1.03": (at_temperature(1.03), "sample_agreement"),
    "another inverse": (bent_inverse(0.01), "roundtrip_error"),
}


def mutated(dataset: str, change: Change) -> EvaluatedModel:
    given = copy.deepcopy(trained("realnvp", dataset, 60))
    assert isinstance(given.model, InvertibleModel)
    change(given.model)
    return given


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_model_is_refuted_by_its_witness(name: str) -> None:
    change, witness = MUTANTS[name]
    given = mutated("two-moons", change)
    (spec,) = (spec for spec in WITNESSES if spec.name == witness)
    assert any(map(spec.refutation, measure(spec, given, "two-moons")))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, (_, witness) in MUTANTS.items() if witness != "density_mass"]
)
def test_so_it_is_on_images(name: str) -> None:
    change, witness = MUTANTS[name]
    assert set(refutations(mutated("digits", change), "digits")) == {witness}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["two-moons", "digits"])
def test_the_model_without_a_fault_is_not(dataset: str) -> None:
    assert not refutations(mutated(dataset, lambda _: None), dataset)
