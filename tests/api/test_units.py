from __future__ import annotations

import math

import numpy as np
import torch

from flowbench.api import bits_per_dim, nats_from_bits_per_dim


def test_uniform_over_256_levels_has_eight_bits() -> None:
    assert math.isclose(bits_per_dim(-3072 * math.log(256), 3072), 8.0)


def test_same_for_floats_arrays_and_tensors() -> None:
    values = [-10.0, -20.0]
    expected = [bits_per_dim(v, 4) for v in values]
    assert np.allclose(bits_per_dim(np.array(values), 4), expected)
    assert torch.allclose(bits_per_dim(torch.tensor(values), 4), torch.tensor(expected))


def test_inverse() -> None:
    assert math.isclose(nats_from_bits_per_dim(bits_per_dim(-12.5, 7), 7), -12.5)
