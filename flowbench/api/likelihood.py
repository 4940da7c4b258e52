"""What the number is that a configured model reports as its likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from flowbench.api.frozen import Frozen


class Likelihood(Frozen):
    """What the number that a configured model reports as its likelihood is.

    Attributes:
        measure: ``discrete`` probability of integers, density of ``continuous`` data, or density
            of ``noisy`` data (Gaussian noise in the preprocessing).
        dequantization: How integers become real numbers, if they do.
        noise: What a draw is. ``none``: every evaluation gives the same value. ``weights``: a draw
            is a log importance weight, and the log-mean-exp of several tightens the bound.
            ``estimates``: a draw is an unbiased estimate of the log-likelihood (Hutchinson's trace)
            or of a lower bound (diffusion with random time steps); draws are averaged.
        bound: Whether the value can only understate the model.
        tolerance: Relative error that a solver leaves; None where nothing is solved.
        draws: Noise draws for each example.
        given: Names of the context inputs that the likelihood is conditioned on.

    Example:
        >>> hutchinson = Likelihood(measure="continuous", noise="estimates", tolerance=1e-5)
        >>> hutchinson.stochastic, hutchinson.importance_weighted
        (True, False)
    """

    measure: Literal["discrete", "continuous", "noisy"]
    dequantization: Literal["none", "uniform", "variational"] = "none"
    noise: Literal["none", "weights", "estimates"] = "none"
    bound: bool = False
    tolerance: float | None = Field(default=None, gt=0)
    draws: int = Field(default=1, ge=1)
    given: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _weights_bound(self) -> Likelihood:
        if self.noise == "weights" and not self.bound:
            # Jensen: the mean of a logarithm, and so log-mean-exp, lies below.
            raise ValueError("the log-mean-exp of weights is a lower bound: set bound=True")
        return self

    @property
    def stochastic(self) -> bool:
        """Whether two evaluations of one example differ."""
        # Noisy data are drawn anew for each evaluation, however exact the density of what was
        # drawn.
        return self.noise != "none" or self.measure == "noisy"

    @property
    def exact(self) -> bool:
        """Whether the value is the likelihood itself, up to rounding."""
        # A solver's error is neither noise nor a bound: it may lie on either side.
        return self.noise == "none" and not self.bound and self.tolerance is None

    @property
    def importance_weighted(self) -> bool:
        """Whether draws are log-weights, to be combined by log-mean-exp."""
        return self.noise == "weights"


class NoLikelihood(Frozen):
    """Why a configured model has no likelihood of a dataset.

    Attributes:
        reason: Shown in the place of every value that needs one.

    Example:
        >>> NoLikelihood(reason="trained on a few time steps alone").reason
        'trained on a few time steps alone'
    """

    reason: str = Field(min_length=1)


_ESTIMATES_OF_VERSION_1: Mapping[str, Mapping[str, Any]] = {
    "exact": {"noise": "none", "bound": False, "tolerance": None},
    "bound": {"noise": "weights", "bound": True, "tolerance": None},
    "elbo": {"noise": "estimates", "bound": True, "tolerance": None},
    "unbiased": {"noise": "estimates", "bound": False, "tolerance": None},
    # Version 1 kept no tolerance; that of the solvers that were measured with it.
    "numerical": {"noise": "none", "bound": False, "tolerance": 1e-5},
}


def likelihood_as_version_2(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Reads what records of API version 1 say of a likelihood as version 2 says it.

    Args:
        facts: A stored likelihood, or the protocol of a measurement that holds one among others.

    Returns:
        The facts, with ``estimate`` and a ``given`` of one name replaced; the rest as it was. A
        metric of another plugin may call something else ``estimate``: that stays.
    """
    # Never in place: what is mapped is what was read, and may be written back as it was.
    changed = dict(facts)
    estimate, given = changed.get("estimate"), changed.get("given")
    if isinstance(estimate, str) and estimate in _ESTIMATES_OF_VERSION_1:
        del changed["estimate"]
        changed |= _ESTIMATES_OF_VERSION_1[estimate]
        if isinstance(given, str):
            changed["given"] = [] if given == "none" else [given]
    if isinstance(given, tuple):
        changed["given"] = list(given)  # as JSON has it
    return changed
