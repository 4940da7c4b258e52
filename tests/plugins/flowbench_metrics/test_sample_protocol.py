from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from flowbench.api import MetricSettings, MetricSpec, SampleSettings
from flowbench_metrics.feature_specs import FD_VGG16
from flowbench_metrics.fidelity import FrechetMetric
from flowbench_metrics.specs import ALL
from tests.plugins.flowbench_metrics.fakes import Clock, FakeTrained
from tests.plugins.flowbench_metrics.images import Pixels, image_info, images, samples_of, splits_of

# Those that need a likelihood too draw samples of its density, whatever the protocol's are like.
OF_VECTORS = [
    spec
    for spec in ALL
    if "samples" in spec.needs and "vector" in spec.modalities and "likelihood" not in spec.needs
]
OF_DENSITIES = ("flops", "network_passes")  # beside values of samples
SETTINGS = MetricSettings(
    num_samples=40, sample=SampleSettings(temperature=0.8, options={"guidance": 1.5})
)
EXPECTED = {"sample": {"temperature": 0.8, "options": {"guidance": 1.5}}, "weights": "ema"}


@pytest.mark.parametrize("spec", OF_VECTORS, ids=lambda spec: spec.name)
def test_a_value_of_samples_says_how_they_were_drawn(
    trained: type[FakeTrained], clock: Clock, spec: MetricSpec
) -> None:
    def on_draw(num: int) -> None:
        clock.now += 0.01 * num

    x = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    noted = dataclasses.replace(samples_of(x[:40] + 0.1), info={"transport_cost": 1.0})
    given = trained(samples=noted, weights="ema", on_draw=on_draw)
    module, _, name = spec.compute.partition(":")
    compute = getattr(importlib.import_module(module), name)
    found = compute(given, splits_of(x[:40], x[40:]), SETTINGS)
    values = [v for v in found if v.name not in OF_DENSITIES]
    assert values
    for value in values:
        assert value.status == "ok", value.reason
        assert EXPECTED.items() <= value.protocol.items(), value.name


def test_so_does_a_value_of_images(trained: type[FakeTrained]) -> None:
    info = image_info()
    x = images(40, 0, info)
    metric = FrechetMetric(FD_VGG16, Pixels(), "pixels", min_samples=4)
    (value,) = metric(
        trained(data=info, samples=samples_of(x), weights="ema"), splits_of(x, x), SETTINGS
    )
    assert EXPECTED.items() <= value.protocol.items()
