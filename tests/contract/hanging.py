"""A model, a dataset and a metric that never return; a plugin file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn

from flowbench.api import (
    Context,
    DatasetInfo,
    DatasetSpec,
    DataSplits,
    Latents,
    MetricSettings,
    MetricSpec,
    MetricValue,
    ModelSpec,
    TrainedModel,
    hookimpl,
)
from tests.contract.sound_models import Flow, FlowConfig, spec

FLOWBENCH_API_VERSION = 2


class HangsInTheInverse(Flow):
    def from_latent(self, latents: Latents, context: Context | None = None) -> NoReturn:
        while True:
            latents = (latents[0] + 1,)


class HangingConfig(FlowConfig):
    def unsupported(self, data: DatasetInfo) -> str | None:
        time.sleep(600)
        return None


def load(data_dir: Path) -> DataSplits:
    time.sleep(600)
    raise AssertionError("it was not interrupted")


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    time.sleep(600)
    return []


@hookimpl
def register_models() -> list[ModelSpec]:
    return [
        spec("hangs-in-the-inverse", HangsInTheInverse, FlowConfig),
        spec("hangs-in-its-config", Flow, HangingConfig),
    ]


@hookimpl
def register_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="hangs",
            modality="vector",
            event_shape=(2,),
            levels=None,
            num_train=100,
            num_test=20,
            summary="for tests of the contract",
            licence="generated",
            load=f"{__name__}:load",
        )
    ]


@hookimpl
def register_metrics() -> list[MetricSpec]:
    return [
        MetricSpec(
            name="hangs", compute=f"{__name__}:compute", unit="", direction="lower", summary="s"
        )
    ]
