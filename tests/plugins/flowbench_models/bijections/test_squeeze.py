from __future__ import annotations

import torch

from flowbench_models.bijections import Squeeze


def test_is_a_bijection(assert_is_bijection) -> None:
    assert_is_bijection(Squeeze(), torch.randn(2, 3, 2, 4, dtype=torch.float64))


def test_each_channel_becomes_its_block_row_by_row() -> None:
    z, _ = Squeeze()(torch.arange(16.0).view(1, 1, 4, 4))
    assert z[0, :, 0, 0].tolist() == [0, 1, 4, 5]


def test_output_is_channels_last() -> None:
    z, _ = Squeeze()(torch.randn(2, 3, 4, 4))
    assert z.is_contiguous(memory_format=torch.channels_last)
