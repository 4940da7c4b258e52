from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from flowbench.errors import NonFiniteLossError
from flowbench_models.continuous import settings
from flowbench_models.continuous.ode import Way, basis, draw_probe, solve, with_trace
from flowbench_models.continuous.settings import Solver, Tolerances, missing_package

MATRIX = torch.tensor([[0.3, -1.0], [0.8, -0.5]], dtype=torch.float64)
METHODS = ("dopri5", "euler", "midpoint", "heun", "rk4")


def _linear(t: Tensor, y: Tensor) -> Tensor:
    return y @ MATRIX.T.to(y.dtype)


def _way(each: bool = False, adjoint: bool = False, **solver: object) -> Way:
    return Way(solver=Solver.model_validate(solver), each=each, adjoint=adjoint)


def _points(num: int = 3) -> Tensor:
    return torch.randn(num, 2, dtype=torch.float64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("span", [(0.0, 1.0), (1.0, 0.0)])
def test_the_flow_of_a_linear_field_is_its_matrix_exponential(
    method: str, span: tuple[float, float]
) -> None:
    y = _points()
    end = solve(_linear, y, span, _way(method=method, steps=400), probes=basis(y))
    length = span[1] - span[0]
    expected = y @ torch.linalg.matrix_exp(length * MATRIX).T
    torch.testing.assert_close(end.y, expected, rtol=0, atol=3e-3)
    torch.testing.assert_close(end.ladj, torch.full_like(end.ladj, length * -0.2))


def test_errors_fall_as_tolerances_do() -> None:
    y = _points()
    expected = y @ torch.linalg.matrix_exp(MATRIX).T
    errors = []
    for tolerance in (1e-3, 1e-6, 1e-9):
        end = solve(_linear, y, (0.0, 1.0), _way(rtol=tolerance, atol=tolerance))
        errors.append(float((end.y - expected).abs().max()))
        assert errors[-1] < 10 * tolerance
    assert errors[0] > errors[1] > errors[2]


def test_steps_of_fixed_methods_have_their_orders() -> None:
    y = _points()
    expected = y @ torch.linalg.matrix_exp(MATRIX).T
    for method, order in (("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)):
        coarse, fine = (
            float((solve(_linear, y, (0.0, 1.0), _way(method=method, steps=n)).y - expected).norm())
            for n in (8, 16)
        )
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize(("method", "stages"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
@pytest.mark.parametrize("steps", [1, 3, 6, 49, 100])
def test_evaluations_are_those_of_the_field(method: str, stages: int, steps: int) -> None:
    calls = 0

    def counted(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return _linear(t, y)

    end = solve(counted, _points().float(), (1.0, 0.0), _way(method=method, steps=steps))
    assert end.evaluations == calls == stages * steps


@pytest.mark.parametrize("span", [(0.0, 1.0), (1.0, 0.0), (0.25, 0.75)])
def test_no_field_is_asked_beyond_the_span(span: tuple[float, float]) -> None:
    times: list[float] = []

    def watched(t: Tensor, y: Tensor) -> Tensor:
        times.append(float(t))
        return _linear(t, y)

    solve(watched, _points(), span, _way())
    assert min(times) >= min(span) - 1e-9
    assert max(times) <= max(span) + 1e-9


def _cubic(y: Tensor) -> Tensor:
    return y.pow(3) + y.flip(1).square()


def test_the_trace_is_that_of_the_jacobian_and_its_gradient_too() -> None:
    y = _points().requires_grad_()
    velocity, trace = with_trace(_cubic, y, basis(y))
    torch.testing.assert_close(velocity, _cubic(y))
    torch.testing.assert_close(trace, 3 * y.square().sum(dim=1))
    (gradient,) = torch.autograd.grad(trace.sum(), y)
    torch.testing.assert_close(gradient, 6 * y)


@pytest.mark.parametrize("differentiable", [False, True])
def test_operations_of_a_trace_can_be_counted(differentiable: bool) -> None:
    layer, y = torch.nn.Linear(2, 2).double(), _points()
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(differentiable):
        with_trace(layer, y, basis(y))
    # One product forwards, and one backwards for each of two dims.
    assert counter.get_total_flops() == 3 * (2 * 3 * 2 * 2)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_hutchinsons_estimates_average_to_the_trace(kind: str) -> None:
    y = _points(1).expand(4000, 2)
    probe = draw_probe(y, kind, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert probe.shape == (1, 4000, 2)
    with torch.no_grad():
        estimates = with_trace(_cubic, y, probe)[1]
    expected = 3 * y[0].square().sum()
    error = estimates.std() / len(estimates) ** 0.5
    assert abs(estimates.mean() - expected) < 5 * error


def test_rademacher_probes_leave_no_noise_on_a_diagonal() -> None:
    y = _points()
    probe = draw_probe(y, "rademacher", torch.Generator().manual_seed(1))
    torch.testing.assert_close(with_trace(torch.sin, y, probe)[1], y.cos().sum(dim=1))


def test_the_adjoint_has_the_gradients_of_the_steps() -> None:
    weight = torch.nn.Parameter(MATRIX.clone())
    y = _points()
    gradients = []
    for adjoint in (False, True):
        end = solve(
            lambda t, points: (points @ weight.T).tanh(),
            y,
            (0.0, 1.0),
            _way(adjoint=adjoint, rtol=1e-9, atol=1e-9),
            probes=basis(y),
            parameters=[weight],
        )
        gradients.append(torch.autograd.grad(end.y.square().sum() + end.ladj.sum(), weight)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("factor", [10.0, 30.0, 100.0])
def test_easy_neighbours_do_not_hide_the_error_of_a_hard_example(factor: float) -> None:
    """Each point turns at its own speed, all but one of them slowly."""
    speeds = torch.full((500, 1), 1e-3, dtype=torch.float64)
    speeds[0] = factor

    def turning(t: Tensor, y: Tensor) -> Tensor:
        return speeds * torch.stack((-y[:, 1], y[:, 0]), dim=1)

    y = torch.ones(500, 2, dtype=torch.float64)
    angle = torch.tensor(factor, dtype=torch.float64)
    expected = torch.stack((angle.cos() - angle.sin(), angle.sin() + angle.cos()))
    together, apart = (
        float((solve(turning, y, (0.0, 1.0), _way(each=each)).y[0] - expected).abs().max())
        for each in (False, True)
    )
    assert apart < 1e-3
    assert together > 5 * apart


@pytest.mark.parametrize(
    "field",
    [
        lambda t, y: y / 0.0,
        lambda t, y: y.square() * 1e3,  # infinite after a thousandth
        lambda t, y: torch.where(t > 0.5, math.nan, y),
    ],
    ids=["infinite", "explodes", "nan"],
)
def test_a_field_without_a_solution_is_one_line(field: object) -> None:
    with pytest.raises(NonFiniteLossError, match=r"could not be solved .* lower learning rate"):
        solve(field, torch.ones(2, 2), (0.0, 1.0), _way())  # type: ignore[arg-type]


@pytest.mark.parametrize(("package", "extra"), [("torchdiffeq", "ode"), ("ot", "ot")])
def test_a_missing_package_is_one_line_that_names_its_extra(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert missing_package(package) is None
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    reason = missing_package(package)
    assert reason is not None
    assert reason.startswith(f"it needs {package}, which is not installed; pip install")
    assert reason.endswith(f"'flowbench[{extra}]'")


def test_the_solver_of_tolerances_is_adaptive() -> None:
    solver = Solver.within(Tolerances(rtol=1e-3, atol=1e-4))
    assert solver.adaptive
    assert (solver.rtol, solver.atol) == (1e-3, 1e-4)
