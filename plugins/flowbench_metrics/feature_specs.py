"""Specs of the metrics that compare samples and data in the features of a network.

They are opt-in, but for the one whose network ships with the package.
"""

from __future__ import annotations

from typing import Any

from flowbench.api import MetricSpec, Paper, RemoteFile
from flowbench_metrics import weight_files as files

INCEPTION_WEIGHTS, VGG16_WEIGHTS, CLIP_WEIGHTS = (
    "inception-weights",
    "vgg16-weights",
    "clip-weights",
)
_INCEPTION = {INCEPTION_WEIGHTS: files.INCEPTION}
_VGG16 = {VGG16_WEIGHTS: files.VGG16}
_SEEDED_SUBSETS = frozenset({"batch_size"})  # which samples are in one depends on their order

_FID_PAPER = Paper(
    title=("GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium"),
    authors="Heusel et al.",
    year=2017,
    arxiv="1706.08500",
)
_PRECISION_PAPER = Paper(
    title="Improved Precision and Recall Metric for Assessing Generative Models",
    authors="Kynkäänniemi et al.",
    year=2019,
    arxiv="1904.06991",
)


def _spec(name: str, summary: str, weights: dict[str, RemoteFile], **more: Any) -> MetricSpec:
    compute = more.pop("compute", name.replace("-", "_"))
    given: dict[str, Any] = {
        "unit": "",
        "direction": "lower",
        "needs": frozenset({"samples"}),
        "modalities": frozenset({"image"}),
        "data": "discrete",
        "default": False,
        "ladder": frozenset({name}),
        "paper": _FID_PAPER,
    }
    reference = f"flowbench_metrics.fidelity:compute_{compute}"
    return MetricSpec(
        name=name, compute=reference, summary=summary, weights=weights, **{**given, **more}
    )


FID = _spec(
    "fid",
    "Frechet distance of 50,000 samples (fid@N: of N) from training data, in Inception features",
    _INCEPTION,
    label="Fréchet Inception distance",
    short="FID",
)
FID_TEST = _spec(
    "fid-test",
    "fid, with the test split as reference",
    _INCEPTION,
    label="Fréchet Inception distance from test data",
    short="FID (test)",
)
FID_64 = _spec(
    "fid-64",
    "fid in Inception's first 64 features: for 64 samples or more",
    _INCEPTION,
    label="Fréchet Inception distance, 64 features",
    short="FID-64",
)
FID_192 = _spec(
    "fid-192",
    "fid in 192 early Inception features: for 192 or more",
    _INCEPTION,
    label="Fréchet Inception distance, 192 features",
    short="FID-192",
)
FID_768 = _spec(
    "fid-768",
    "fid in 768 Inception features: for 768 samples or more",
    _INCEPTION,
    label="Fréchet Inception distance, 768 features",
    short="FID-768",
)
KID = _spec(
    "kid",
    "Kernel distance of 50,000 samples (kid@N: of N) from training data, in Inception features",
    _INCEPTION,
    invariances=_SEEDED_SUBSETS,
    paper=Paper(
        title="Demystifying MMD GANs", authors="Binkowski et al.", year=2018, arxiv="1801.01401"
    ),
    label="Kernel Inception distance",
    short="KID",
)
IS = _spec(
    "is",
    "Inception score of 50,000 samples (is@N: of N)",
    _INCEPTION,
    direction="higher",
    invariances=_SEEDED_SUBSETS,
    paper=Paper(
        title="Improved Techniques for Training GANs",
        authors="Salimans et al.",
        year=2016,
        arxiv="1606.03498",
    ),
    label="Inception score",
    short="IS",
)
PRECISION = _spec(
    "precision",
    "Share of samples that lie among training data, in VGG-16 features",
    _VGG16,
    unit="share",
    direction="higher",
    paper=_PRECISION_PAPER,
    label="Precision",
)
RECALL = _spec(
    "recall",
    "Share of training data that lie among samples, in VGG-16 features",
    _VGG16,
    unit="share",
    direction="higher",
    paper=_PRECISION_PAPER,
    label="Recall",
)
FD_INCEPTION = _spec(
    "fd-inception-v3-compat",
    "Frechet distance in Inception features with any weights; their hash is in the value's name",
    _INCEPTION,
    compute="fd_inception",
    label="Fréchet distance in features of any Inception",
    short="FD Inception",
)
FD_INCEPTION_64 = _spec(
    "fd-inception-v3-compat-64",
    "The same in Inception's first 64 features: for 64 samples or more",
    _INCEPTION,
    compute="fd_inception_64",
    label="Fréchet distance in features of any Inception, 64 of them",
    short="FD Inception-64",
)
FD_DINOV2 = _spec(
    "fd-dinov2",
    "Frechet distance in features of DINOv2 ViT-L/14",
    {},
    label="Fréchet distance in features of DINOv2",
    short="FD DINOv2",
)
FD_CLIP = _spec(
    "fd-clip",
    "Frechet distance in features of CLIP ViT-B/32",
    {CLIP_WEIGHTS: files.CLIP},
    label="Fréchet distance in features of CLIP",
    short="FD CLIP",
)
FD_VGG16 = _spec(
    "fd-vgg16",
    "Frechet distance in features of VGG-16",
    _VGG16,
    label="Fréchet distance in features of VGG-16",
    short="FD VGG-16",
)
FD_DIGITS_CNN = MetricSpec(
    name="fd-digits-cnn",
    compute="flowbench_metrics.fd_digits_cnn:compute",
    unit="",
    direction="lower",
    summary="Frechet distance of 256 samples from training digits, in features of digits-cnn",
    label="Fréchet distance in features of digits-cnn",
    short="FD digits-cnn",
    needs=frozenset({"samples"}),
    modalities=frozenset({"image"}),
    data="discrete",
    datasets=frozenset({"digits"}),
    ladder=frozenset({"fd-digits-cnn"}),
    paper=_FID_PAPER,
)

FEATURE_METRICS = (
    FD_DIGITS_CNN,
    FID,
    FID_TEST,
    FID_64,
    FID_192,
    FID_768,
    KID,
    IS,
    PRECISION,
    RECALL,
    FD_INCEPTION,
    FD_INCEPTION_64,
    FD_DINOV2,
    FD_CLIP,
    FD_VGG16,
)
