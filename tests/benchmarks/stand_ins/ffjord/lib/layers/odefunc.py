"""Stands in for the released field, which is made where its flow is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ODEnet(nn.Module):
    def __init__(self, hidden_dims: tuple[int, ...], **fixed: Any) -> None:
        super().__init__()
        assert fixed["layer_type"] == "concatsquash"
        self.hidden_dims = hidden_dims


class ODEfunc(nn.Module):
    _num_evals: Tensor

    def __init__(self, diffeq: ODEnet, divergence_fn: str) -> None:
        super().__init__()
        assert divergence_fn == "brute_force"
        self.diffeq = diffeq
        self.register_buffer("_num_evals", torch.zeros(()))

    def num_evals(self) -> float:
        return self._num_evals.item()
