from __future__ import annotations

import torch

from flowbench_models.nets.precision import full_precision


def test_autocast_is_left_and_taken_up_again() -> None:
    x = torch.randn(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with full_precision(x):
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16
    with full_precision(x):
        assert (x @ x).dtype == torch.float32
