"""The global random generators, which belong to the whole process, and so to no plugin."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_globals(seed: int = 20_141_030) -> None:
    """Puts the global generators into a state that no plugin leaves by chance."""
    # All three: authors mix them, and a model that is seeded by one of them repeats itself.
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the global generator is what is looked at
    random.seed(seed)
