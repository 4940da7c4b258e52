"""A model, a dataset and a metric that never return; a plugin file."""

from __future__ import annotations

import time

from sound_models import Flow, FlowConfig, spec

from flowbench.api import DatasetSpec, MetricSpec, hookimpl

FLOWBENCH_API_VERSION = 2


class HangsInTheInverse(Flow):
    def from_latent(self, latents, context=None):
        while True:
            latents = (latents[0] + 1,)


class HangingConfig(FlowConfig):
    def unsupported(self, data):
        time.sleep(600)


def load(data_dir):
    time.sleep(600)


def compute(trained, data, settings):
    time.sleep(600)


@hookimpl
def register_models():
    return [
        spec("hangs-in-the-inverse", HangsInTheInverse, FlowConfig),
        spec("hangs-in-its-config", Flow, HangingConfig),
    ]


@hookimpl
def register_datasets():
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
def register_metrics():
    return [
        MetricSpec(
            name="hangs", compute=f"{__name__}:compute", unit="", direction="lower", summary="s"
        )
    ]
