"""How differential equations are solved, as configurations say it; imports no torch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

from pydantic import Field

from flowbench.api import DatasetInfo, Likelihood, ModelConfig, NoLikelihood
from flowbench.api.frozen import Frozen

EXACT_DIMS = 16
"""Dims up to which a likelihood takes the exact trace: so many products instead of one."""


class Tolerances(Frozen):
    """How closely a solver that chooses its steps follows a solution.

    Attributes:
        rtol: Relative error of a step.
        atol: Absolute error of a step.
    """

    rtol: float = Field(default=1e-5, gt=0)
    atol: float = Field(default=1e-5, gt=0)


class Solver(Tolerances):
    """How an ordinary differential equation is solved.

    Attributes:
        method: ``dopri5`` chooses its steps by their errors; the others take equal ones.
        steps: Equal steps of the other methods.

    Example:
        >>> Solver(method="midpoint", steps=8).adaptive
        False
    """

    method: Literal["dopri5", "euler", "midpoint", "heun", "rk4"] = "dopri5"
    steps: int = Field(default=8, ge=1)

    @property
    def adaptive(self) -> bool:
        """Whether steps follow from the tolerances."""
        return self.method == "dopri5"

    @classmethod
    def within(cls, tolerances: Tolerances) -> Solver:
        """The adaptive solver of some tolerances."""
        return cls(rtol=tolerances.rtol, atol=tolerances.atol)


EXTRAS = {"torchdiffeq": "ode", "ot": "ot"}
"""The extra of this distribution that brings a package, by the name that it is imported by."""


def missing_package(package: str) -> str | None:
    """Why a model cannot run without an optional package.

    Args:
        package: A key of `EXTRAS`.

    Returns:
        The reason, with the command that mends it; None if the package is there.
    """
    if find_spec(package) is not None:
        return None
    remedy = f"pip install 'flowbench[{EXTRAS[package]}]'"
    return f"it needs {package}, which is not installed; {remedy}"


class SolvedConfig(ModelConfig):
    """Base of configurations of flows along the solution of a differential equation.

    Attributes:
        exact_dims: Dims up to which a likelihood takes the exact trace; beyond, each draw of it is
            an unbiased estimate.
        noise: Hutchinson's probes, one vector for a solve.
        evaluation: Of likelihoods and samples; they hold for each example.
    """

    exact_dims: int = Field(default=EXACT_DIMS, ge=0)
    noise: Literal["rademacher", "gaussian"] = "rademacher"
    evaluation: Tolerances = Tolerances()

    def traces_exactly(self, num_dims: int) -> bool:
        """Whether likelihoods of so many dims take the exact trace."""
        return num_dims <= self.exact_dims

    def likelihood(self, data: DatasetInfo) -> Likelihood | NoLikelihood:
        """As of any flow, within the solver's tolerance; beyond ``exact_dims`` an estimate."""
        kind = super().likelihood(data)
        if isinstance(kind, NoLikelihood):
            return kind
        facts: dict[str, Any] = {"tolerance": self.evaluation.rtol}
        if not self.traces_exactly(data.num_dims):
            facts["noise"] = "estimates"
        return kind.model_copy(update=facts)

    def unsupported(self, data: DatasetInfo) -> str | None:
        """A solver must be there."""
        return missing_package("torchdiffeq") or super().unsupported(data)
