"""Metrics of waveforms: log-likelihood of a value, distance of spectrograms, speed of synthesis.

References:
    Lee et al. (2020), NanoFlow, https://arxiv.org/abs/2006.06280, Table 2, for the first and the
    last.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import torch

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench.api.audio import MEL, MelForm, log_mel
from flowbench_metrics.per_example import OF_NOISY_DATA, mean_and_stderr, mean_value
from flowbench_metrics.sample_protocol import sample_protocol
from flowbench_metrics.specs import LL, MEL_DISTANCE, SYNTHESIS_KHZ
from flowbench_metrics.timing import DrawTimer, timing_protocol

DECIBELS = 20.0 / math.log(10.0)
REPEATS, LIMIT_S = 20, 5.0


def compute_ll(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """Mean over test clips of a clip's log-likelihood over its number of values.

    Args:
        trained: The model; gives the likelihood of every test clip, whole.
        data: Not used.
        settings: Not used; the harness has applied them to the likelihood.

    Returns:
        One value.
    """
    del data, settings
    result = trained.likelihood("test")
    if result.likelihood.measure == "noisy":
        return [MetricValue.unavailable(LL, OF_NOISY_DATA)]
    return [mean_value(LL, result, result.log_prob / result.num_dims)]


def compute_mel_distance(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """Log-spectral distance of samples from the spectrograms that they were given.

    Over frames the mean of the root mean square, over bands, of the difference in decibels. A frame
    whose window reaches beyond a sample is left out, as its surroundings are not given.

    Args:
        trained: The model; gives the samples.
        data: Not used.
        settings: How samples are drawn.

    Returns:
        The mean over samples with its standard error.
    """
    del data
    rate = trained.data.rate
    if MEL not in trained.data.context or rate is None:
        reason = f"{trained.data.name} gives no spectrogram that samples could be held to"
        return [MetricValue.unavailable(MEL_DISTANCE, reason)]
    form, samples = MelForm.of(rate), trained.samples()
    edge = form.window // 2 // form.hop + 1
    num = samples.x.shape[-1] // form.hop
    if num <= 2 * edge:
        reason = f"samples of {samples.x.shape[-1]:,} values are shorter than two windows"
        return [MetricValue.unavailable(MEL_DISTANCE, reason)]
    distances = []
    for x, given in zip(samples.x[:, 0], samples.context[MEL], strict=True):
        found = log_mel(x[: num * form.hop].astype(np.float32), form)
        off = DECIBELS * (found - given[:, :num])[:, edge : num - edge]
        distances.append(float(np.sqrt(np.square(off).mean(axis=0)).mean()))
    value, stderr = mean_and_stderr(np.array(distances))
    return [
        MetricValue(
            name=MEL_DISTANCE.name,
            value=value,
            unit=MEL_DISTANCE.unit,
            direction=MEL_DISTANCE.direction,
            split="test",
            num_examples=len(distances),
            stderr=stderr,
            protocol=sample_protocol(trained, settings),
        )
    ]


def compute_synthesis_khz(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """Values a second of one clip after another, in thousands; on a GPU in half precision.

    Args:
        trained: The model.
        data: Not used.
        settings: How samples are drawn.

    Returns:
        ``synthesis_khz``, and ``synthesis_khz_real_time``: how many times faster than it sounds.
    """
    del data
    on_gpu = trained.device_kind == "cuda"
    half = torch.autocast("cuda", dtype=torch.float16) if on_gpu else nullcontext()
    with half:
        length = trained.draw(1, seed=settings.seed).shape[-1]
        times = DrawTimer(trained, settings).repeat(1, warmup=1, repeats=REPEATS, limit_s=LIMIT_S)
    thousands = length / 1000 / np.array(times)
    value, stderr = mean_and_stderr(thousands)
    protocol = timing_protocol(trained, settings) | {
        "precision": "float16" if on_gpu else "float32",
        "length": length,
    }
    found = MetricValue(
        name=SYNTHESIS_KHZ.name,
        value=value,
        unit=SYNTHESIS_KHZ.unit,
        direction=SYNTHESIS_KHZ.direction,
        num_examples=len(times),
        stderr=stderr,
        protocol=protocol,
    )
    if trained.data.rate is None:
        return [found]
    faster = MetricValue(
        name="synthesis_khz_real_time",
        value=1000 * value / trained.data.rate,
        unit="x",
        direction="higher",
        num_examples=len(times),
        protocol=protocol,
    )
    return [found, faster]
