"""Specs of the metrics that ship with flowbench."""

from __future__ import annotations

from typing import Literal

from flowbench.api import Limits, MetricSpec, Paper
from flowbench_metrics.feature_specs import FEATURE_METRICS

BPD = MetricSpec(
    name="bpd",
    compute="flowbench_metrics.bpd:compute",
    unit="bits/dim",
    direction="lower",
    summary="Negative log-likelihood of test data of integer levels, in bits per dimension",
    label="Bits per dimension",
    short="Bits per dim",
    decimals=3,
    needs=frozenset({"likelihood"}),
    modalities=frozenset({"image", "vector", "audio"}),
    data="discrete",
    closed_forms="flowbench_metrics.closed_forms:BPD",
    paper=Paper(
        title="A note on the evaluation of generative models",
        authors="Theis, van den Oord and Bethge",
        year=2016,
        arxiv="1511.01844",
    ),
)

BPC = MetricSpec(
    name="bpc",
    compute="flowbench_metrics.bpd:compute_bpc",
    unit="bits/char",
    direction="lower",
    summary="Negative log-likelihood of test sequences of tokens, in bits per character",
    label="Bits per character",
    short="Bits per char",
    decimals=3,
    needs=frozenset({"likelihood"}),
    modalities=frozenset({"sequence"}),
    data="discrete",
)

BPD_GIVEN_LABEL = MetricSpec(
    name="bpd_given_label",
    compute="flowbench_metrics.bpd:compute_given_label",
    unit="bits/dim",
    direction="lower",
    summary="Bits per dimension given the class label, which is worth up to log2(classes) / D",
    label="Bits per dimension given the label",
    short="Bits per dim given label",
    decimals=3,
    needs=frozenset({"likelihood", "label"}),
    data="discrete",
)

LL = MetricSpec(
    name="ll",
    compute="flowbench_metrics.speech:compute_ll",
    unit="nats/dim",
    direction="higher",
    summary="Log-likelihood of test waveforms, in nats a value; clips count alike",
    label="Log-likelihood of a value",
    short="LL",
    decimals=4,
    needs=frozenset({"likelihood"}),
    modalities=frozenset({"audio"}),
    data="continuous",
)

MEL_DISTANCE = MetricSpec(
    name="mel_distance",
    compute="flowbench_metrics.speech:compute_mel_distance",
    unit="dB",
    direction="lower",
    summary="Log-spectral distance of samples from the mel spectrograms that they were given",
    label="Mel distance",
    short="Mel dist.",
    decimals=2,
    needs=frozenset({"samples"}),
    modalities=frozenset({"audio"}),
)

SYNTHESIS_KHZ = MetricSpec(
    name="synthesis_khz",
    compute="flowbench_metrics.speech:compute_synthesis_khz",
    unit="kHz",
    direction="higher",
    summary="Thousand values of a waveform a second; on a GPU in half precision",
    label="Synthesis speed",
    short="Speed",
    role="cost",
    scale="log",
    needs=frozenset({"samples"}),
    modalities=frozenset({"audio"}),
    exclusive=True,
)

NLL = MetricSpec(
    name="nll",
    compute="flowbench_metrics.nll:compute",
    unit="nats",
    direction="lower",
    summary="Negative log-likelihood of real-valued test data, in nats per example",
    label="Negative log-likelihood",
    short="NLL",
    decimals=3,
    needs=frozenset({"likelihood"}),
    modalities=frozenset({"image", "vector", "sequence", "manifold"}),  # clips have lengths: see ll
    data="continuous",
    closed_forms="flowbench_metrics.closed_forms:NLL",
)

LOG_LIKELIHOOD = MetricSpec(
    name="log_likelihood",
    compute="flowbench_metrics.log_likelihood:compute",
    unit="nats",
    direction="higher",
    summary="Log-likelihood of real-valued test data, in nats per example, as papers on tables say",
    short="LL",
    decimals=2,
    needs=frozenset({"likelihood"}),
    data="continuous",
    default=False,  # nll says the same
    closed_forms="flowbench_metrics.closed_forms:LOG_LIKELIHOOD",
)

PARAMS = MetricSpec(
    name="params",
    compute="flowbench_metrics.params:compute",
    unit="",
    direction="lower",
    summary="Number of trainable parameters",
    label="Parameters",
    role="count",
    scale="log",
    closed_forms="flowbench_metrics.closed_forms:PARAMS",
)

GPU_HOURS = MetricSpec(
    name="gpu_hours",
    compute="flowbench_metrics.training_cost:compute_gpu_hours",
    unit="h",
    direction="lower",
    summary="GPUs times the hours of training that the budget was charged",
    label="GPU-hours",
    role="witness",
    scale="log",
)

DEVICE_HOURS = MetricSpec(
    name="device_hours",
    compute="flowbench_metrics.training_cost:compute_device_hours",
    unit="h",
    direction="lower",
    summary="Devices of whatever kind times the hours of training that the budget was charged",
    label="Device-hours",
    role="count",
    scale="log",
    closed_forms="flowbench_metrics.closed_forms:DEVICE_HOURS",
)

PEAK_MEMORY = MetricSpec(
    name="peak_memory",
    compute="flowbench_metrics.peak_memory:compute",
    unit="bytes",
    direction="lower",
    summary="Most memory that training held",
    label="Peak memory",
    role="witness",
    scale="log",
    closed_forms="flowbench_metrics.closed_forms:PEAK_MEMORY",
)

SAMPLING_LATENCY = MetricSpec(
    name="sampling_latency",
    compute="flowbench_metrics.sampling_latency:compute",
    unit="ms",
    direction="lower",
    summary="Time to draw one sample: the median, and the 95th percentile",
    label="Sampling latency",
    short="Latency",
    ladder=frozenset({"sampling_latency"}),
    role="cost",
    scale="log",
    needs=frozenset({"samples"}),
    exclusive=True,
    invariances=frozenset(),  # it measures time
)

SAMPLING_THROUGHPUT = MetricSpec(
    name="sampling_throughput",
    compute="flowbench_metrics.sampling_throughput:compute",
    unit="samples/s",
    direction="higher",
    summary="Samples a second at the best batch size, and the latency there",
    label="Sampling throughput",
    short="Throughput",
    role="cost",
    scale="log",
    needs=frozenset({"samples"}),
    exclusive=True,
    invariances=frozenset(),  # it measures time
)

ROUNDTRIP_ERROR = MetricSpec(
    name="roundtrip_error",
    compute="flowbench_metrics.roundtrip_error:compute",
    unit="",
    direction="lower",
    summary="Largest error of mapping test data to latents and back, in the model's space",
    label="Round-trip error",
    role="witness",
    scale="log",
    needs=frozenset({"inverse"}),
    limits={"roundtrip_error_share": Limits(maximum=0.01, errors=0)},
    invariances=frozenset({"batch_size"}),  # it takes the first test examples
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
    label="Implausible samples",
    role="witness",
    needs=frozenset({"samples"}),
    invariances=frozenset({"batch_size"}),  # it compares with the first test examples
)

SAMPLE_AGREEMENT = MetricSpec(
    name="sample_agreement",
    compute="flowbench_metrics.sample_agreement:compute",
    unit="",
    direction="none",
    summary="Probability of samples that fit the density no better, if they are drawn from it",
    label="Samples against density, p",
    role="witness",
    scale="log",
    needs=frozenset({"likelihood", "samples"}),
    modalities=frozenset({"image", "vector", "audio", "sequence"}),  # it steps along straight lines
    limits={"sample_agreement": Limits(minimum=1e-6)},
    invariances=frozenset({"order"}),  # samples are drawn some at a time
)

C2ST = MetricSpec(
    name="c2st",
    compute="flowbench_metrics.c2st:compute",
    unit="share",
    direction="lower",
    summary="How often a classifier tells samples from test data: 0.5 if it cannot",
    label="Classifier two-sample test",
    short="C2ST",
    needs=frozenset({"samples"}),
    modalities=frozenset({"vector"}),
    data="continuous",
    paper=Paper(
        title="Revisiting Classifier Two-Sample Tests",
        authors="Lopez-Paz and Oquab",
        year=2017,
        arxiv="1610.06545",
    ),
)

MMD = MetricSpec(
    name="mmd",
    compute="flowbench_metrics.mmd:compute",
    unit="",
    direction="lower",
    summary="Maximum mean discrepancy of samples and test data, with a Gaussian kernel",
    label="Maximum mean discrepancy",
    short="MMD",
    ladder=frozenset({"mmd"}),
    needs=frozenset({"samples"}),
    modalities=frozenset({"vector"}),
    data="continuous",
    paper=Paper(
        title="A Kernel Two-Sample Test",
        authors="Gretton et al.",
        year=2012,
        url="https://jmlr.org/papers/v13/gretton12a.html",
    ),
)

SLICED_WASSERSTEIN = MetricSpec(
    name="sliced_wasserstein",
    compute="flowbench_metrics.sliced_wasserstein:compute",
    unit="",
    direction="lower",
    summary="Sliced 2-Wasserstein distance of samples and test data, in the data's units",
    label="Sliced Wasserstein distance",
    short="Sliced W2",
    ladder=frozenset({"sliced_wasserstein"}),
    needs=frozenset({"samples"}),
    modalities=frozenset({"vector"}),
    data="continuous",
    paper=Paper(
        title="Sliced and Radon Wasserstein Barycenters of Measures",
        authors="Bonneel et al.",
        year=2015,
        url="https://doi.org/10.1007/s10851-014-0506-3",
    ),
)

DENSITY_MASS = MetricSpec(
    name="density_mass",
    compute="flowbench_metrics.density_mass:compute",
    unit="",
    direction="none",
    summary="Integral of a 2-D density over the whole plane; it must be 1",
    label="Density mass",
    role="witness",
    needs=frozenset({"likelihood", "samples"}),
    modalities=frozenset({"vector"}),
    data="continuous",
    num_dims=2,
    limits={"density_mass": Limits(minimum=0.99, maximum=1.01, target=1.0)},
    invariances=frozenset({"order"}),  # rounding may move where the plane is divided
    closed_forms="flowbench_metrics.closed_forms:DENSITY_MASS",
)

MANIFOLD_MASS = MetricSpec(
    name="manifold_mass",
    compute="flowbench_metrics.density_mass:compute_on_manifold",
    unit="",
    direction="none",
    summary="Integral of a density over its manifold; it must be 1",
    label="Density mass",
    role="witness",
    needs=frozenset({"likelihood"}),
    modalities=frozenset({"manifold"}),
    data="continuous",
    limits={"manifold_mass": Limits(minimum=0.97, maximum=1.03, target=1.0)},
    invariances=frozenset({"order"}),
)

OFF_MANIFOLD = MetricSpec(
    name="off_manifold",
    compute="flowbench_metrics.density_mass:compute_off_manifold",
    unit="share",
    direction="lower",
    summary="Share of samples that do not lie on the data's manifold",
    label="Samples off the manifold",
    role="witness",
    needs=frozenset({"samples"}),
    modalities=frozenset({"manifold"}),
    data="continuous",
    limits={"off_manifold": Limits(maximum=0.0, errors=0)},
)

FLOPS = MetricSpec(
    name="flops",
    compute="flowbench_metrics.flops:compute",
    unit="FLOP",
    direction="lower",
    summary="Floating-point operations of a training step, and of a sample",
    label="FLOPs of a training step",
    short="FLOPs",
    role="witness",
    scale="log",
    needs=frozenset({"samples"}),
)

NUM_FUNCTION_EVALUATIONS = MetricSpec(
    name="num_function_evaluations",
    compute="flowbench_metrics.num_function_evaluations:compute",
    unit="",
    direction="lower",
    summary="How often a solver evaluates its vector field for one likelihood",
    label="Function evaluations",
    short="NFE",
    role="witness",
    needs=frozenset({"likelihood"}),
)

_VARIATIONAL_INFERENCE = Paper(
    title="Variational Inference with Normalizing Flows",
    authors="Rezende and Mohamed",
    year=2015,
    arxiv="1505.05770",
)


def _of_targets(
    name: str,
    unit: str,
    direction: Literal["lower", "higher", "none"],
    summary: str,
    label: str,
    short: str,
) -> MetricSpec:
    return MetricSpec(
        name=name,
        compute=f"flowbench_metrics.variational:{name}",
        unit=unit,
        direction=direction,
        summary=summary,
        label=label,
        short=short,
        needs=frozenset({"target", "likelihood", "samples"}),
        data="continuous",
        invariances=frozenset({"order"}),  # samples are drawn some at a time
        limits={"elbo_gap": Limits(minimum=0.0)} if name == "elbo" else {},
        paper=_VARIATIONAL_INFERENCE,
    )


ELBO = _of_targets(
    "elbo",
    "nats",
    "higher",
    "Evidence lower bound of samples: below a target's log-normaliser by the divergence from it",
    "Evidence lower bound",
    "ELBO",
)
LOG_NORMALISER = _of_targets(
    "log_normaliser",
    "nats",
    "none",
    "A target's log-normaliser, estimated by importance sampling",
    "Log-normaliser",
    "log Z",
)
LOG_NORMALISER_ERROR = _of_targets(
    "log_normaliser_error",
    "nats",
    "lower",
    "How far the estimate of a target's log-normaliser is from the truth",
    "Error of the log-normaliser",
    "Error of log Z",
)
EFFECTIVE_SAMPLES = _of_targets(
    "effective_samples",
    "share",
    "higher",
    "How many draws of a target a weighted sample is worth",
    "Effective samples",
    "ESS",
)

NETWORK_PASSES = MetricSpec(
    name="network_passes",
    compute="flowbench_metrics.network_passes:compute",
    unit="",
    direction="lower",
    summary="How often a likelihood, and a sample, go through the networks one after the other",
    label="Network passes of a likelihood",
    short="Network passes",
    ladder=frozenset({"network_passes_sampling"}),
    role="witness",
    decimals=0,
    needs=frozenset({"samples"}),
)

DENSITY_THROUGHPUT = MetricSpec(
    name="density_throughput",
    compute="flowbench_metrics.density_throughput:compute",
    unit="examples/s",
    direction="higher",
    summary="Likelihoods a second at the best batch size, one draw each",
    label="Density throughput",
    short="Density throughput",
    role="cost",
    scale="log",
    needs=frozenset({"likelihood"}),
    exclusive=True,
    default=False,
    invariances=frozenset(),  # it measures time
)

TRANSPORT_COST = MetricSpec(
    name="transport_cost",
    compute="flowbench_metrics.transport_cost:compute",
    unit="",
    direction="lower",
    summary="Mean squared distance between a sample and its noise, over dims",
    label="Transport cost",
    short="Transport",
    role="witness",
    needs=frozenset({"samples"}),
    paper=Paper(
        title="Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow",
        authors="Liu, Gong, Liu",
        year=2022,
        arxiv="2209.03003",
    ),
)

FOREIGN_AUROC = MetricSpec(
    name="foreign_auroc",
    compute="flowbench_metrics.foreign_auroc:compute",
    unit="share",
    direction="higher",
    summary="How well the likelihood tells test images from foreign ones: 0.5 if it cannot",
    label="AUROC against foreign images",
    short="AUROC",
    needs=frozenset({"likelihood"}),
    modalities=frozenset({"image"}),
    data="discrete",
    default=False,  # a second pass over as many images as a test split has
    paper=Paper(
        title="Do Deep Generative Models Know What They Don't Know?",
        authors="Nalisnick et al.",
        year=2019,
        arxiv="1810.09136",
    ),
)

# Their order is that of a board's columns: qualities, then what is worth knowing first of costs.
ALL = (
    ELBO,
    LOG_NORMALISER,
    LOG_NORMALISER_ERROR,
    EFFECTIVE_SAMPLES,
    BPD,
    BPC,
    BPD_GIVEN_LABEL,
    LL,
    NLL,
    LOG_LIKELIHOOD,
    MEL_DISTANCE,
    C2ST,
    MMD,
    SLICED_WASSERSTEIN,
    FOREIGN_AUROC,
    *FEATURE_METRICS,
    PARAMS,
    DEVICE_HOURS,
    SAMPLING_LATENCY,
    SAMPLING_THROUGHPUT,
    SYNTHESIS_KHZ,
    GPU_HOURS,
    PEAK_MEMORY,
    FLOPS,
    NUM_FUNCTION_EVALUATIONS,
    TRANSPORT_COST,
    NETWORK_PASSES,
    DENSITY_THROUGHPUT,
    ROUNDTRIP_ERROR,
    SAMPLE_SANITY,
    SAMPLE_AGREEMENT,
    DENSITY_MASS,
    MANIFOLD_MASS,
    OFF_MANIFOLD,
)
