"""How far two numbers may lie apart that the contract holds to be equal."""

from __future__ import annotations

from torch import Tensor

from flowbench.api.likelihood import Likelihood

STANDARD_ERRORS = 6.0  # a chance of 2e-9 a comparison: a report is not a lottery

LADJ_NATS = 1e-5  # in float64, against the autograd Jacobian
ROUND_TRIP = 1e-4  # in float64, relative; an iterative inverse that stops there is good enough
SAME = 1e-6  # in float64, relative: the same sum in another order
SAME_FLOAT32 = 1e-4
SOLVER_MARGIN = 100.0  # times its stated tolerance: of one step, whose errors a long path adds up


def same(kind: Likelihood | None, exact: float = SAME) -> float:
    """Relative tolerance for two evaluations of one thing.

    Args:
        kind: What the likelihood is; a solver's tolerance is part of it.
        exact: Tolerance of a likelihood without a solver.

    Returns:
        The tolerance.
    """
    stated = 0.0 if kind is None else kind.tolerance or 0.0
    return max(exact, SOLVER_MARGIN * stated)


def relative_error(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the size of the values where that exceeds 1.

    Args:
        a: Values.
        b: Values of the same shape.

    Returns:
        The error; NaN or infinite if a value is.
    """
    if not a.numel():
        return 0.0
    return float(((a - b).abs() / b.abs().clamp_min(1.0)).max())
