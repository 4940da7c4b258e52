"""Whether the likelihood is what the configuration says it is."""

from __future__ import annotations

from flowbench.api.likelihood import Likelihood
from flowbench.api.models import DensityModel, InvertibleModel
from flowbench.api.preprocessing import GaussianNoise, Preprocessing, UniformDequantization
from flowbench.api.specs import DatasetInfo
from flowbench.contract.checking.checks import Finding, check, failed, passed, within
from flowbench.contract.models.subject import Inputs, ModelSubject, generator, log_probs
from flowbench.contract.models.tolerances import SAME_FLOAT32, relative_error
from flowbench.registry.configs import undequantized
from flowbench.training.seeds import seed_globals

NUM_EXAMPLES = 8


@check(
    "`likelihood(data)` of the config: a stochastic log_prob has noise 'weights' or "
    "'estimates', never 'none'; dropout and batch statistics must be off in eval mode, "
    "and nothing is kept from one call to the next",
    needs=("shapes", "inputs", "finite"),
    cases="main variant mass",
)
def likelihood_kind(subject: ModelSubject) -> Finding:
    """The declared Likelihood fits the preprocessing, and one without noise repeats itself."""
    model, kind = subject.with_likelihood(subject.perturbed())
    problem = contradiction(kind, subject.config.preprocessing, subject.info)
    # The same rule as before a training: what would be refused there fails here.
    problem = problem or undequantized(subject.config, subject.info)
    if problem is not None:
        return failed(problem)
    words = f"{kind.measure}, {kind.dequantization} dequantization, noise {kind.noise}"
    if not _must_repeat(model, kind, subject.inputs(1)):
        return passed(f"{words}; draws differ, as it says")
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
    missing = [name for name in kind.given if name not in info.context]
    if missing:
        return f"the likelihood is given {missing[0]!r}, which {info.name} does not have"
    uniform = kind.measure == "discrete" and kind.dequantization == "uniform"
    if isinstance(preprocessing.noise, GaussianNoise):
        wanted, right = "under gaussian_noise the measure is 'noisy'", kind.measure == "noisy"
    elif info.levels is None:
        wanted = "real-valued data have a 'continuous' measure"
        right = kind.measure == "continuous"
    elif isinstance(preprocessing.noise, UniformDequantization):
        wanted = "uniform dequantization makes the measure 'discrete', noise 'weights', a bound"
        right = uniform and kind.bound and kind.noise != "none"
    elif preprocessing.support == "discrete":
        wanted = "discrete support makes the measure 'discrete'"
        right = kind.measure == "discrete" and not uniform
    else:
        return None
    given = f"{kind.measure!r} with {kind.dequantization!r} dequantization and noise {kind.noise!r}"
    return None if right else f"{wanted}, not {given}"


def _must_repeat(model: DensityModel, kind: Likelihood, inputs: Inputs) -> bool:
    """Whether log_prob itself has no noise; that of dequantization is the harness's."""
    if not kind.stochastic:
        return True
    if kind.noise == "estimates" or not isinstance(model, InvertibleModel):
        return False
    return model.sample_aux(inputs.x, generator=generator(0)) is None


def _largest_change(model: DensityModel, inputs: Inputs) -> float:
    values = []
    for seed in (1, 2):
        seed_globals(seed)  # noise from a global generator is noise all the same
        values.append(log_probs(model, inputs, seed))
    return relative_error(*values)
