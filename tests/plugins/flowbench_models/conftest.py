"""What the tests of the models share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from flowbench.api import DatasetInfo


@pytest.fixture(autouse=True)
def _seeded_single_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def _dataset(*event_shape: int, levels: int | None = 17) -> DatasetInfo:
    return DatasetInfo(
        name="some-data",
        modality="image" if len(event_shape) == 3 else "vector",
        event_shape=event_shape,
        levels=levels,
        num_train=50_000,
        num_validation=10,
        num_test=10,
    )


def _perturb(module: nn.Module, std: float = 0.2) -> nn.Module:
    """Moves parameters off their initial values, so that no zero-initialised layer is trivial."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(std * torch.randn_like(parameter))
    return module.double()


def _jacobian_log_abs_det(function: object, x: Tensor) -> Tensor:
    """log |det dz/dx| of each example by automatic differentiation, shape (B,)."""

    def flat(event: Tensor) -> Tensor:
        z = function(event.view(1, *x.shape[1:]))  # type: ignore[operator]
        parts = z if isinstance(z, tuple) else (z,)
        return torch.cat([part.flatten() for part in parts])

    jacobians = [torch.autograd.functional.jacobian(flat, example.flatten()) for example in x]
    return torch.stack([torch.linalg.slogdet(jacobian).logabsdet for jacobian in jacobians])


@pytest.fixture
def dataset():
    return _dataset


@pytest.fixture
def perturb():
    return _perturb


@pytest.fixture
def jacobian_log_abs_det():
    return _jacobian_log_abs_det


@pytest.fixture
def assert_is_bijection():
    """Holds a bijection to its contract: shapes, dtype, round trip, and ladj by the Jacobian."""

    def check(bijection: nn.Module, x: Tensor) -> None:
        z, ladj = bijection(x)
        assert ladj.shape == (len(x),)
        assert ladj.dtype == x.dtype
        torch.testing.assert_close(bijection.inverse(z), x, rtol=0, atol=1e-6)
        expected = _jacobian_log_abs_det(lambda event: bijection(event)[0], x)
        torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)

    return check
