"""Densities of vectors that are conditioned on labels and on real values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from flowbench.api import (
    Batch,
    ConfigError,
    Context,
    ContextInput,
    DatasetInfo,
    Latents,
    Likelihood,
    SamplingOptions,
)
from flowbench.api.models import Step
from flowbench_models.autoregressive.maf.config import IAFConfig, MAFConfig
from flowbench_models.autoregressive.maf.model import IAF, MAF
from flowbench_models.bijections.channels import ActNorm
from flowbench_models.bijections.flat import FlatModel
from flowbench_models.coupling.nsf import NSF, NSFConfig
from tests.plugins.flowbench_models.fixtures import JacobianLogAbsDet, Perturb, tensor

LABELLED = DatasetInfo(
    name="labelled",
    modality="vector",
    event_shape=(2,),
    levels=None,
    num_train=100,
    num_validation=10,
    num_test=10,
    context={
        "label": ContextInput(shape=(), num_classes=3),
        "parameters": ContextInput(shape=(2,)),
    },
)
GIVEN = ("label", "parameters")
MODELS: dict[str, Callable[[], FlatModel]] = {
    "maf": lambda: MAF(MAFConfig(width=8, transforms=2, given=GIVEN), LABELLED),
    "iaf": lambda: IAF(IAFConfig(width=8, transforms=2, given=GIVEN), LABELLED),
    "coupling": lambda: NSF(NSFConfig(width=8, steps=2, bins=4, given=GIVEN), LABELLED),
    "autoregressive": lambda: NSF(
        NSFConfig(transform="autoregressive", width=8, steps=2, bins=4, given=GIVEN), LABELLED
    ),
}
every_model = pytest.mark.parametrize("name", MODELS)


def _make(name: str, perturb: Perturb) -> FlatModel:
    return perturb(MODELS[name]()).eval()


def _context(num: int) -> dict[str, torch.Tensor]:
    return {
        "label": torch.arange(num) % 3,
        "parameters": torch.randn(num, 2, dtype=torch.float64),
    }


def _latents_at(model: FlatModel, context: Context) -> Callable[[Tensor], Latents]:
    return lambda x: model.to_latent(x, context)[0]


@every_model
def test_densities_depend_on_every_input_and_are_densities_given_it(
    name: str, perturb: Perturb
) -> None:
    model = _make(name, perturb)
    x, context = torch.randn(6, 2, dtype=torch.float64), _context(6)
    log_prob = tensor(model.log_prob(x, context))
    for other in ({"label": (context["label"] + 1) % 3}, {"parameters": context["parameters"] + 1}):
        assert (tensor(model.log_prob(x, context | other)) != log_prob).any()
    axis = torch.linspace(-20, 20, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    one = {key: value[:1].expand(len(grid), *value.shape[1:]) for key, value in context.items()}
    mass = tensor(model.log_prob(grid, one)).exp().sum() * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass.item(), 1.0, rtol=0, atol=2e-2)


@every_model
def test_both_directions_and_the_jacobian_hold_at_a_context(
    name: str, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    model = _make(name, perturb)
    x, context = torch.randn(3, 2, dtype=torch.float64), _context(3)
    latents, ladj = model.to_latent(x, context)
    torch.testing.assert_close(model.from_latent(latents, context), x, rtol=0, atol=1e-6)
    for row in range(3):
        one = {key: value[row : row + 1] for key, value in context.items()}
        expected = jacobian_log_abs_det(_latents_at(model, one), x[row : row + 1])
        torch.testing.assert_close(ladj[row : row + 1], expected, rtol=0, atol=1e-5)


@every_model
def test_a_loss_is_that_of_the_conditional_density(name: str, perturb: Perturb) -> None:
    model = _make(name, perturb)
    x, context = torch.randn(6, 2, dtype=torch.float64), _context(6)
    step = Step(progress=torch.zeros(()), phase=0, group="all", generator=None, seed=0)
    loss = tensor(model.loss(Batch(x=x, context=context), step))
    bits = -tensor(model.log_prob(x, context)).mean() / (2 * torch.log(torch.tensor(2.0)).double())
    torch.testing.assert_close(loss, bits)


@every_model
def test_it_is_initialised_from_a_first_batch_with_its_context(name: str, perturb: Perturb) -> None:
    model = perturb(MODELS[name]())
    batch = Batch(x=4.0 + torch.randn(64, 2, dtype=torch.float64), context=_context(64))
    model.initialize(batch, generator=torch.Generator())
    (z,), _ = model.to_latent(batch.x, batch.context)
    assert z.isfinite().all()
    norms = [module for module in model.modules() if isinstance(module, ActNorm)]
    assert all(norm.initialized for norm in norms)
    assert bool(norms) == (name in ("maf", "iaf"))


@every_model
def test_samples_follow_their_context(name: str, perturb: Perturb) -> None:
    model = _make(name, perturb)
    context = _context(6)
    first, second = (
        tensor(
            model.sample(
                6,
                given,
                settings=SamplingOptions(),
                generator=torch.Generator().manual_seed(0),
            )
        )
        for given in (context, context | {"label": (context["label"] + 1) % 3})
    )
    assert (first != second).any(dim=1).all()


def test_the_likelihood_names_what_it_is_given() -> None:
    kind = MAFConfig(given=GIVEN).likelihood(LABELLED)
    assert isinstance(kind, Likelihood)
    assert kind.given == GIVEN
    plain = MAFConfig().likelihood(LABELLED)
    assert isinstance(plain, Likelihood)
    assert plain.given == ()


@pytest.mark.parametrize("context", [None, {}, {"label": torch.zeros(2, dtype=torch.int64)}])
def test_a_missing_input_is_named(context: Any, perturb: Perturb) -> None:
    model = _make("maf", perturb)
    with pytest.raises(ConfigError, match="pass context="):
        model.log_prob(torch.zeros(2, 2, dtype=torch.float64), context)


@pytest.mark.parametrize("config", [MAFConfig, NSFConfig])
def test_an_input_that_the_data_do_not_have_is_refused(config: Any) -> None:
    reason = config(given=("labels",)).unsupported(LABELLED)
    assert reason == "given=labels is no context of labelled; it has: label, parameters"


def test_labels_in_the_data_do_not_concern_a_density_of_the_data_alone(perturb: Perturb) -> None:
    model = perturb(MAF(MAFConfig(width=8), LABELLED)).eval()
    x = torch.randn(6, 2, dtype=torch.float64)
    assert torch.equal(tensor(model.log_prob(x)), tensor(model.log_prob(x, _context(6))))
