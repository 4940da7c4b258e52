"""A plugin file: a model with all that several processes have to do as one does it."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    DatasetInfo,
    ModelSpec,
    PhaseStart,
    Step,
    Training,
    hookimpl,
    mean_over_devices,
)
from tests.fakes import Gaussian, GaussianConfig

FLOWBENCH_API_VERSION = 2


class TogetherConfig(GaussianConfig):
    """Steps are plain, so that rounding stays what it is."""

    training: Training = Training(
        batch_size=16, optimizer="sgd", lr=0.02, augment=("horizontal_flip",)
    )
    norm: bool = True
    step_s: float = 0.0


class Together(Gaussian):
    """A Gaussian, and a network that learns from noise, batch statistics and data of its own."""

    config: TogetherConfig

    def __init__(self, config: TogetherConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        num, self.width = data.num_dims, config.width
        self.enter, self.leave = nn.Linear(num, self.width), nn.Linear(self.width, num)
        self.norm = nn.BatchNorm1d(self.width) if config.norm else nn.Identity()
        self.unreached = nn.Parameter(torch.zeros(3))
        self._made: Tensor | None = None

    def begin_phase(self, start: PhaseStart) -> None:
        batch = next(start.batches).x.flatten(1)
        self._made = batch + torch.randn(batch.shape, generator=start.generator)

    def training_state(self) -> dict[str, Any]:
        return {"made": self._made}

    def load_training_state(self, state: dict[str, Any]) -> None:
        self._made = state["made"]

    def loss(self, batch: Batch, step: Step) -> Tensor:
        if self.training:  # and not at a look, which asks for it many times
            time.sleep(self.config.step_s)
        x = batch.x.flatten(1)
        made = torch.zeros_like(x) if self._made is None else self._made  # before the first phase
        noise = torch.randn(x.shape, generator=step.generator)
        rows = torch.randint(len(made), (len(x),), generator=step.generator)
        hidden = F.dropout(self.norm(self.enter(x + noise)).relu(), 0.3, self.training)
        error = (self.leave(hidden) - made[rows]).square().mean()
        # Of the batch, unless examples may go through apart.
        scale = mean_over_devices(x.square().mean()) if self.config.norm else 1.0
        loss: Tensor = super().loss(batch, step) + error / scale
        return loss


@hookimpl
def register_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="fake-together",
            model=f"{__name__}:Together",
            config=f"{__name__}:TogetherConfig",
            modalities=frozenset({"image"}),
            summary="a fake",
        )
    ]
