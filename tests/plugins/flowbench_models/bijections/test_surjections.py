from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowbench.api.models import standard_normal_log_prob
from flowbench_models.bijections.base import Surjection
from flowbench_models.bijections.channels import FactorOut
from flowbench_models.bijections.surjections import MaxPool, Slice
from tests.plugins.flowbench_models.fixtures import JacobianLogAbsDet

KINDS: dict[str, Callable[[], Surjection]] = {
    "max pooling": MaxPool,
    "slicing": lambda: Slice(1),
    "factoring out": FactorOut,
}


def _log_prob(surjection: Surjection, x: Tensor) -> Tensor:
    """Log-density of data of which what is kept is standard normal."""
    kept, latent, ladj = surjection(x)
    of_normal: Tensor = standard_normal_log_prob((kept, latent)) + ladj
    return of_normal + surjection.log_weight(latent)


@pytest.mark.parametrize("kind", KINDS)
def test_data_come_back(kind: str) -> None:
    x = torch.randn(3, 2, 4, 6, dtype=torch.float64)
    surjection = KINDS[kind]()
    kept, latent, ladj = surjection(x)
    torch.testing.assert_close(surjection.inverse(kept, latent), x)
    assert torch.equal(ladj, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_latents_drawn_come_back(kind: str) -> None:
    surjection = KINDS[kind]()
    kept, latent, _ = surjection(torch.randn(3, 2, 4, 4))
    noise = torch.randn_like(latent)
    drawn = surjection.from_normal(noise)
    again = surjection(surjection.inverse(kept, drawn))
    torch.testing.assert_close(again[0], kept)
    torch.testing.assert_close(again[1], drawn)
    torch.testing.assert_close(drawn.abs(), noise.abs())


@pytest.mark.parametrize("kind", KINDS)
def test_ladj_is_that_of_both_parts(kind: str, jacobian_log_abs_det: JacobianLogAbsDet) -> None:
    surjection = KINDS[kind]()
    x = torch.randn(2, 2, 2, 4, dtype=torch.float64)
    expected = jacobian_log_abs_det(lambda event: surjection(event)[:2], x)
    torch.testing.assert_close(surjection(x)[2], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["max pooling", "slicing"])
def test_density_sums_up_to_one(kind: str) -> None:
    surjection = KINDS[kind]()
    shape = (1, 2, 2) if kind == "max pooling" else (4, 1, 1)
    width = 2.5  # of points, wide enough for densities of four values and their differences
    x = width * torch.randn(400_000, *shape, dtype=torch.float64)
    proposal = standard_normal_log_prob((x / width,)) - 4 * math.log(width)
    weights = (_log_prob(surjection, x) - proposal).exp()
    error = float(weights.std()) / math.sqrt(len(weights))
    assert error < 0.01
    assert abs(float(weights.mean()) - 1.0) < 4.0 * error


def test_pooling_has_the_density_of_the_paper() -> None:
    x = torch.randn(5, 1, 2, 2, dtype=torch.float64)
    ordered = x.flatten(1).sort(dim=1, descending=True).values
    distances = ordered[:, :1] - ordered[:, 1:]
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = (
        normal.log_prob(ordered[:, 0])
        + math.log(0.25)
        + (math.log(2.0) + normal.log_prob(distances)).sum(dim=1)
    )
    torch.testing.assert_close(_log_prob(MaxPool(), x), expected, rtol=0, atol=1e-12)


def test_ties_come_back() -> None:
    x = torch.tensor([[1.0, 1.0, 0.0, 1.0], [0.0, 2.0, 2.0, 2.0]]).view(2, 1, 2, 2)
    kept, latent, _ = MaxPool()(x)
    assert torch.equal(MaxPool().inverse(kept, latent), x)


def test_a_latent_that_no_image_has_has_no_density() -> None:
    latent = torch.tensor([[1.0, -1.0, 1.0], [1.0, -1.0, -1.0]]).view(2, 3, 1, 1)
    found = MaxPool().log_weight(latent)
    assert found.tolist() == pytest.approx([math.log(2.0), -math.inf])
