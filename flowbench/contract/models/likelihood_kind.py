"""Whether the likelihood is what the configuration says it is."""

from __future__ import annotations

import torch

from flowbench.api.likelihood import Likelihood
from flowbench.api.models import DensityModel, InvertibleModel
from flowbench.api.preprocessing import GaussianNoise, Preprocessing, UniformDequantization
from flowbench.api.specs import DatasetInfo
from flowbench.contract.checks import Check, Finding, failed, skipped, within
from flowbench.contract.models.subject import Inputs, ModelSubject, generator, log_prob
from flowbench.contract.models.tolerances import SAME_FLOAT32, relative_error
from flowbench.registry.configs import undequantized

NUM_EXAMPLES = 8


def check_kind(subject: ModelSubject) -> Finding:
    """The kind fits the preprocessing, and a likelihood without noise repeats itself."""
    kind = subject.kind
    if kind is None:
        return skipped("the model has no likelihood")
    problem = contradiction(kind, subject.config.preprocessing, subject.info)
    problem = problem or undequantized(subject.config, subject.info)
    if problem is not None:
        return failed(problem)
    model = subject.perturbed_density()
    words = f"{kind.measure}, {kind.dequantization} dequantization, noise {kind.noise}"
    if not _must_repeat(model, kind, subject.inputs(1)):
        return Finding(status="passed", detail=f"{words}; draws differ, as it says")
    return within(
        _largest_change(model, subject.inputs(NUM_EXAMPLES)),
        SAME_FLOAT32,
        f"change between two evaluations in eval mode ({words})",
    )


def contradiction(kind: Likelihood, preprocessing: Preprocessing, info: DatasetInfo) -> str | None:
    """What in a likelihood's kind cannot be, given how data reach the model.

    Args:
        kind: What the model says.
        preprocessing: How data reach it.
        info: Facts of the data.

    Returns:
        The contradiction; None if there is none.
    """
    noise, discrete = preprocessing.noise, preprocessing.support == "discrete"
    missing = [name for name in kind.given if name not in info.context]
    if missing:
        return f"the likelihood is given {missing[0]!r}, which {info.name} does not have"
    if isinstance(noise, GaussianNoise):
        right = kind.measure == "noisy"
        return (
            None if right else f"under gaussian_noise the measure is 'noisy', not {_in_words(kind)}"
        )
    if info.levels is None:
        right = kind.measure == "continuous"
        return (
            None
            if right
            else f"real-valued data have a 'continuous' measure, not {_in_words(kind)}"
        )
    if isinstance(noise, UniformDequantization):
        right = kind.measure == "discrete" and kind.dequantization == "uniform"
        wanted = "a 'discrete' measure with 'uniform' dequantization, noise 'weights', a bound"
        return (
            None
            if right and kind.bound and kind.noise != "none"
            else f"uniform dequantization makes it {wanted}"
        )
    if discrete:
        right = kind.measure == "discrete" and kind.dequantization != "uniform"
        return (
            None
            if right
            else f"discrete support makes the measure 'discrete', not {_in_words(kind)}"
        )
    return None


def _in_words(kind: Likelihood) -> str:
    return f"{kind.measure!r} with {kind.dequantization!r} dequantization"


def _must_repeat(model: DensityModel, kind: Likelihood, inputs: Inputs) -> bool:
    """Whether log_prob itself has no noise; that of dequantization is the harness's."""
    if not kind.stochastic:
        return True
    if kind.noise == "estimates" or not isinstance(model, InvertibleModel):
        return False
    return model.sample_aux(inputs.x, generator=generator(0)) is None


@torch.no_grad()
def _largest_change(model: DensityModel, inputs: Inputs) -> float:
    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)  # noise from the global generator is noise all the same
        values.append(log_prob(model, inputs, generator(seed)))
    return relative_error(*values)


CHECKS = (
    Check(
        name="likelihood_kind",
        asks="the declared Likelihood fits the preprocessing, and one without noise repeats itself",
        look_at="`likelihood(data)` of the config: a stochastic log_prob has noise 'weights' or "
        "'estimates', never 'none'; dropout and batch statistics must be off in eval mode",
        run=check_kind,
        needs=("shapes", "inputs", "finite"),
        cases=frozenset({"main", "variant", "mass"}),
    ),
)
