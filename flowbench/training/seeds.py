"""The generators that belong to the whole process, seeded together."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_globals(seed: int = 20_141_030) -> None:
    """Seeds the global generators of torch, NumPy and Python, whichever a plugin draws from.

    Args:
        seed: From 0 on; NumPy's takes the last 32 bits of it. The default leaves a state that no
            plugin leaves by chance.
    """
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # plugins draw from the global generator
    random.seed(seed)
