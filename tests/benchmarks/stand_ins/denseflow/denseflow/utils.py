"""Stands in for the objective of github.com/matejgrcic/DenseFlow."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowbench.api import bits_per_dim, split_info


def elbo_bpd(model: Any, raw: Tensor) -> Tensor:
    log_prob, _ = split_info(model.flow.log_prob(raw))
    return bits_per_dim(log_prob, raw[0].numel()).mean()
