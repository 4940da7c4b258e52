"""Specs of the metrics that ship with flowbench."""

from __future__ import annotations

from flowbench.api import MetricSpec, Paper

BPD = MetricSpec(
    name="bpd",
    compute="flowbench_metrics.bpd:compute",
    unit="bits/dim",
    direction="lower",
    summary="Negative log-likelihood of test data of integer levels, in bits per dimension",
    needs=frozenset({"likelihood"}),
    data="discrete",
    paper=Paper(
        title="A note on the evaluation of generative models",
        authors="Theis, van den Oord and Bethge",
        year=2016,
        arxiv="1511.01844",
    ),
)

NLL = MetricSpec(
    name="nll",
    compute="flowbench_metrics.nll:compute",
    unit="nats",
    direction="lower",
    summary="Negative log-likelihood of real-valued test data, in nats per example",
    needs=frozenset({"likelihood"}),
    data="continuous",
)

PARAMS = MetricSpec(
    name="params",
    compute="flowbench_metrics.params:compute",
    unit="",
    direction="lower",
    summary="Number of trainable parameters",
)

GPU_HOURS = MetricSpec(
    name="gpu_hours",
    compute="flowbench_metrics.training_cost:compute_gpu_hours",
    unit="h",
    direction="lower",
    summary="GPUs times the hours of training that the budget was charged",
)

DEVICE_HOURS = MetricSpec(
    name="device_hours",
    compute="flowbench_metrics.training_cost:compute_device_hours",
    unit="h",
    direction="lower",
    summary="Devices of whatever kind times the hours of training that the budget was charged",
)

PEAK_MEMORY = MetricSpec(
    name="peak_memory",
    compute="flowbench_metrics.peak_memory:compute",
    unit="bytes",
    direction="lower",
    summary="Most memory that training held",
)

SAMPLING_LATENCY = MetricSpec(
    name="sampling_latency",
    compute="flowbench_metrics.sampling_latency:compute",
    unit="ms",
    direction="lower",
    summary="Time to draw one sample: the median, and the 95th percentile",
    needs=frozenset({"samples"}),
    exclusive=True,
)

SAMPLING_THROUGHPUT = MetricSpec(
    name="sampling_throughput",
    compute="flowbench_metrics.sampling_throughput:compute",
    unit="samples/s",
    direction="higher",
    summary="Samples a second at the best batch size, and the latency there",
    needs=frozenset({"samples"}),
    exclusive=True,
)

ROUNDTRIP_ERROR = MetricSpec(
    name="roundtrip_error",
    compute="flowbench_metrics.roundtrip_error:compute",
    unit="",
    direction="lower",
    summary="Largest error of mapping test data to latents and back, in the model's space",
    needs=frozenset({"inverse"}),
    paper=Paper(
        title="Understanding and Mitigating Exploding Inverses in Invertible Neural Networks",
        authors="Behrmann et al.",
        year=2021,
        arxiv="2006.09347",
    ),
)

SAMPLE_SANITY = MetricSpec(
    name="sample_sanity",
    compute="flowbench_metrics.sample_sanity:compute",
    unit="share",
    direction="lower",
    summary="Share of sampled values that are out of range or not finite; duplicates; memorising",
    needs=frozenset({"samples"}),
)

ALL = (
    BPD,
    NLL,
    PARAMS,
    GPU_HOURS,
    DEVICE_HOURS,
    PEAK_MEMORY,
    SAMPLING_LATENCY,
    SAMPLING_THROUGHPUT,
    ROUNDTRIP_ERROR,
    SAMPLE_SANITY,
)
