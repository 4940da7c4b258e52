r"""Solutions of ordinary differential equations, and how they change volume.

The flow of a vector field, :math:`\dot y = f(t, y)`, has the log-determinant

.. math:: \log \left| \det \frac{dy(t_1)}{dy(t_0)} \right| =
    \int_{t_0}^{t_1} \operatorname{tr} \frac{\partial f}{\partial y}(t, y(t))\, dt,

which is solved for beside y. The trace is a sum over the dims, one product with the Jacobian each,
or Hutchinson's unbiased estimate :math:`\epsilon^\top \frac{\partial f}{\partial y} \epsilon` from
one product, with one :math:`\epsilon` for a whole solve.

References:
    Chen et al. (2018), Neural Ordinary Differential Equations, https://arxiv.org/abs/1806.07366,
    section 4; Grathwohl et al. (2019), FFJORD, https://arxiv.org/abs/1810.01367, section 3.1.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from flowbench.errors import NonFiniteLossError
from flowbench_models.continuous.settings import Solver

Field = Callable[[Tensor, Tensor], Tensor]
"""A vector field: velocities (B, ...) at a time of shape () and at points (B, ...)."""

Span = tuple[float, float] | Tensor
"""The time at which a solution starts, and that at which it ends; a tensor (2,) has a gradient."""

MAX_STEPS = 10_000  # of one solve: a field that needs more is stiff beyond hope
_NAMES = {"heun": "heun2"}  # of methods that torchdiffeq calls otherwise


@dataclass(frozen=True, kw_only=True)
class Way:
    """How solutions are found.

    Attributes:
        solver: Method and tolerances.
        each: Whether the tolerances hold for each example, rather than for the mean over a batch:
            then no easy neighbours hide the error of a hard example, and what is left of them in
            its value is below its tolerance.
        adjoint: Whether gradients come from a second solve, backwards in time, which takes the
            memory of one step, rather than through all steps.
    """

    solver: Solver
    each: bool
    adjoint: bool = False


class Solution(NamedTuple):
    """The end of a solution.

    Attributes:
        y: Points, shape (B, ...).
        ladj: Log-determinant of the map from the start to the end, (B,), in nats; zeros without
            probes.
        evaluations: How often the field was evaluated, forwards.
    """

    y: Tensor
    ladj: Tensor
    evaluations: int


def solve(
    field: Field,
    y: Tensor,
    span: Span,
    way: Way,
    *,
    probes: Tensor | None = None,
    parameters: Iterable[nn.Parameter] = (),
) -> Solution:
    """Solves for the flow of a vector field.

    Args:
        y: Points at the start, shape (B, ...).
        span: Start and end, in either order.
        probes: What the trace of the Jacobian is taken with, (K, B, ...): see `basis` and
            `draw_probe`; None leaves the trace out.
        parameters: Those of the field, which the adjoint has to be told.

    Returns:
        The end of the solution.

    Raises:
        NonFiniteLossError: The field is not finite, or no step is small enough.

    Example:
        >>> halved = solve(lambda t, y: -y, torch.ones(1, 2), (0.0, math.log(2.0)), EXACTLY)
        >>> halved.y
        tensor([[0.5000, 0.5000]])
    """
    count = 0

    def dynamics(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal count
        count += 1
        if probes is None:
            return (field(t, state[0]),)
        return with_trace(lambda points: field(t, points), state[0], probes)

    start = (y,) if probes is None else (y, y.new_zeros(len(y)))
    # A copy to the device, once for a solve.
    times = span if isinstance(span, Tensor) else torch.tensor(span, dtype=y.dtype, device=y.device)
    try:
        end = _odeint(dynamics, start, times, way, parameters)
    except AssertionError as exc:  # torchdiffeq's way to say that it gives up
        raise NonFiniteLossError(
            f"the differential equation could not be solved ({str(exc) or 'no reason given'}): its "
            "field is too stiff or not finite; try a lower learning rate or a larger tolerance"
        ) from exc
    forwards = count  # before a backward pass counts on
    return Solution(end[0], end[1] if len(end) > 1 else y.new_zeros(len(y)), forwards)


def _odeint(
    dynamics: Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]],
    start: tuple[Tensor, ...],
    times: Tensor,
    way: Way,
    parameters: Iterable[nn.Parameter],
) -> tuple[Tensor, ...]:
    torchdiffeq, solver = _torchdiffeq(), way.solver
    options: dict[str, Any] = {}
    if solver.adaptive:
        # Ends on the end, in place of stepping beyond it, where the field was never trained.
        options = {"max_num_steps": MAX_STEPS, "step_t": times[1:].detach()}
    else:
        options = {"grid_constructor": functools.partial(_grid, steps=solver.steps)}
    if way.each:
        options["norm"] = _largest_of_examples
    how: dict[str, Any] = {
        "rtol": solver.rtol,
        "atol": solver.atol,
        "method": _NAMES.get(solver.method, solver.method),
        "options": options,
    }
    if way.adjoint and torch.is_grad_enabled():
        told = tuple(parameters)
        path = torchdiffeq.odeint_adjoint(dynamics, start, times, adjoint_params=told, **how)
    else:
        path = torchdiffeq.odeint(dynamics, start, times, **how)
    return tuple(part[-1] for part in path)


def _grid(field: object, y: Tensor, times: Tensor, *, steps: int) -> Tensor:
    """Times of equal steps; torchdiffeq's own, from a length, may have one more by rounding."""
    parts = torch.arange(steps + 1, dtype=times.dtype, device=times.device) / steps
    return torch.lerp(times[0], times[-1], parts)


@functools.cache
def _torchdiffeq() -> Any:
    """The package, an extra: what never solves runs without it.

    Raises:
        ImportError: It is not installed.
    """
    with warnings.catch_warnings():
        # It compiles two functions in a way that newer versions of torch advise against.
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            import torchdiffeq
        except ImportError as exc:
            reason = "solving needs torchdiffeq; pip install 'flowbench[ode]'"
            raise ImportError(reason) from exc
    return torchdiffeq


def _largest_of_examples(errors: Iterable[Tensor]) -> Tensor:
    """The largest root mean square of any example, in any part of the state."""
    return (
        torch.stack([e.reshape(len(e), -1).square().mean(dim=1).max() for e in errors]).max().sqrt()
    )


def with_trace(
    field: Callable[[Tensor], Tensor], y: Tensor, probes: Tensor
) -> tuple[Tensor, Tensor]:
    r"""A field, and :math:`\sum_k v_k^\top \frac{\partial f}{\partial y} v_k` over probes.

    Products go backwards: those forwards (jvp) are slower on networks of layers that depend on
    the time alone, for which torch has no kernels.

    Args:
        field: The field at one time.
        y: Points, shape (B, ...).
        probes: Vectors v, shape (K, B, ...).

    Returns:
        Velocities, shape (B, ...), and the sums, shape (B,).

    Example:
        >>> y = torch.ones(1, 2)
        >>> with torch.no_grad():
        ...     with_trace(lambda y: y.square(), y, basis(y))  # the trace is 2 y_1 + 2 y_2
        (tensor([[1., 1.]]), tensor([4.]))
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        points = y if differentiable and y.requires_grad else y.detach().requires_grad_()
        points = points.view_as(points)  # torch's counter of operations refuses leaves
        velocity = field(points)
        trace = y.new_zeros(len(y))
        for v in probes:
            (product,) = torch.autograd.grad(
                velocity, points, v, create_graph=differentiable, retain_graph=True
            )
            trace = trace + (product * v).flatten(1).sum(dim=1)
    return (velocity, trace) if differentiable else (velocity.detach(), trace.detach())


def basis(y: Tensor) -> Tensor:
    """Probes of the exact trace, the unit vectors of all dims; shape (D, B, ...)."""
    num_dims = y[0].numel()
    unit = torch.eye(num_dims, dtype=y.dtype, device=y.device)
    return unit.view(num_dims, 1, *y.shape[1:]).expand(num_dims, *y.shape)


def draw_probe(
    y: Tensor, kind: Literal["rademacher", "gaussian"], generator: torch.Generator | None
) -> Tensor:
    """Hutchinson's probe, one vector for each example; shape (1, B, ...).

    Args:
        y: Points; only shape, type and device matter.
        kind: Signs, which leave the diagonal without noise, or standard normal values.
    """
    shape = (1, *y.shape)
    if kind == "gaussian":
        return torch.randn(shape, generator=generator, dtype=y.dtype, device=y.device)
    signs = torch.randint(2, shape, generator=generator, device=y.device)
    return (2 * signs - 1).to(y.dtype)


EXACTLY = Way(solver=Solver(rtol=1e-7, atol=1e-7), each=True)
"""For examples: tolerances that float32 just holds."""
