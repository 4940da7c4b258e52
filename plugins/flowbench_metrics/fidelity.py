"""Distances of samples from data in the features of a network: fid, kid, is, precision, recall.

Whose features, and of how many samples, is in each value's name. ``fid`` is the distance in
Inception-v3's pool3 features with the published weights, of 50,000 samples from the training split;
of fewer it is ``fid@N``, since the estimate falls with N and two of different N must not be
compared. All that moves a distance is in the value's protocol, so that a board ranks only values
that agree in it: network and layer with the hash of the weights, how levels were rounded, spread
and resized, the reference with the hash of its data, and the number of samples.

Features come from torch-fidelity's networks, kernels and neighbourhoods from its functions; the
Frechet distance is our own, stabler formula. On the same features it is that of torch-fidelity,
clean-fid and pytorch-fid to 1e-6.

References:
    Obukhov et al. (2020), High-fidelity performance metrics for generative models in PyTorch,
    https://doi.org/10.5281/zenodo.4957738.
    Chong and Forsyth (2020), Effectively Unbiased FID and Inception Score and where to find them,
    https://arxiv.org/abs/1911.07023: what N does to an estimate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch

from flowbench.api import (
    DataError,
    DataSplits,
    MetricSettings,
    MetricSpec,
    MetricValue,
    TrainedModel,
)
from flowbench.api.preprocessing import ROUNDING
from flowbench.api.specs import SplitName
from flowbench_metrics import feature_specs as specs
from flowbench_metrics import weight_files as files
from flowbench_metrics.extractors import DinoExtractor, Extractor, TorchFidelityExtractor, Weights
from flowbench_metrics.features import Features, features_of
from flowbench_metrics.frechet import frechet_distance, moments
from flowbench_metrics.reference import Reference
from flowbench_metrics.sample_protocol import sample_protocol
from flowbench_metrics.weights import HASH_DIGITS

NUM_SAMPLES = 50_000  # Heusel et al. 2017, and everybody since
MIN_SAMPLES = 2_048  # as many as Inception's features: fewer leave their covariance singular
POOL3, LOGITS = "2048", "logits_unbiased"  # torch-fidelity's names of Inception's layers
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1_000  # torch-fidelity's defaults
IS_SPLITS = 10  # Salimans et al. 2016
NEIGHBOURS = 3  # Kynkaanniemi et al. 2019
SEED = 2020  # torch-fidelity's default, of its subsets and shuffles


class Seen(NamedTuple):
    """Samples and reference as an extractor sees them."""

    samples: Features
    reference: Reference


class FeatureMetric(ABC):
    """A metric of samples, by a network's features; an instance is a spec's ``compute``.

    Args:
        spec: The metric.
        extractor: The network.
        layer: Name of one of its layers, whose features are compared.
        min_samples: Fewer samples are refused.
        num_samples: How many make the value that bears the metric's plain name.
        split: The reference.
        name_weights: Name the weights' hash, for weights that are not the published ones.

    Attributes:
        compares: The value depends on reference data.
    """

    compares = True

    def __init__(
        self,
        spec: MetricSpec,
        extractor: Extractor,
        layer: str,
        *,
        min_samples: int = MIN_SAMPLES,
        num_samples: int = NUM_SAMPLES,
        split: SplitName = "train",
        name_weights: bool = False,
    ) -> None:
        self.spec, self.extractor, self.layer = spec, extractor, layer
        self._min_samples, self._num_samples = min_samples, num_samples
        self._split, self._name_weights = split, name_weights

    def __call__(
        self, trained: TrainedModel, data: DataSplits, settings: MetricSettings
    ) -> list[MetricValue]:
        """Measures the protocol's samples.

        Args:
            trained: The model; gives its samples.
            data: Gives the reference.
            settings: How samples were drawn.

        Returns:
            The values; unavailable, with what to do, without weights or with too few samples.
        """
        try:
            weights = self.extractor.weights(trained.data_dir)
            self._refuse_few(settings.num_samples)
            return self._measure(trained, data, settings, weights)
        except DataError as exc:
            return [MetricValue.unavailable(self.spec, str(exc))]

    @abstractmethod
    def values(self, seen: Seen) -> dict[str, float]:
        """Computes the metric.

        Args:
            seen: Features of samples and reference.

        Returns:
            Values by suffix; that of the suffix "" is the metric itself.
        """

    def _refuse_few(self, num: int) -> None:
        if num < self._min_samples:
            raise DataError(
                f"{num:,} samples are too few, it takes {self._min_samples:,}; draw more with "
                "--num-samples (50,000 are the standard), or take a smaller layer such as fid-64"
            )

    def _measure(
        self, trained: TrainedModel, data: DataSplits, settings: MetricSettings, weights: Weights
    ) -> list[MetricValue]:
        drawn = trained.samples()
        reference = Reference(trained, data, self._split, self.extractor, weights)
        seen = Seen(features_of(trained, self.extractor, weights, drawn, [drawn.x]), reference)
        protocol = sample_protocol(trained, settings)
        protocol |= self._protocol(trained, reference, weights)
        protocol["num_samples"] = len(drawn.x)
        return [
            MetricValue(
                name=self._name(suffix, weights, len(drawn.x)),
                value=value,
                unit=self.spec.unit,
                direction="none" if suffix else self.spec.direction,
                num_examples=len(drawn.x),
                protocol=protocol,
            )
            for suffix, value in self.values(seen).items()
        ]

    def _name(self, suffix: str, weights: Weights, num: int) -> str:
        whose = f"-{weights.sha256[:HASH_DIGITS]}" if self._name_weights else ""
        many = "" if num == self._num_samples else f"@{num}"
        return f"{self.spec.name}{whose}{suffix}{many}"

    def _protocol(
        self, trained: TrainedModel, reference: Reference, weights: Weights
    ) -> dict[str, Any]:
        return {
            "extractor": self.extractor.name,
            "layer": self.layer,
            "weights_sha256": weights.sha256,
            "dtype": self.extractor.dtype,
            "library": self.extractor.library,
            "rounding": ROUNDING,
            **(reference.protocol() if self.compares else {}),
            **self.extractor.protocol(trained.data),
        }


class FrechetMetric(FeatureMetric):
    """Squared Frechet distance of the Gaussians with the moments of two sets of features."""

    def values(self, seen: Seen) -> dict[str, float]:
        """The distance."""
        reference = seen.reference.moments(self.layer)
        return {"": frechet_distance(moments(seen.samples[self.layer]), reference)}


class KernelDistance(FeatureMetric):
    """KID: the unbiased squared MMD with a cubic kernel, a mean over 100 subsets of 1,000.

    References:
        Binkowski et al. (2018), Demystifying MMD GANs, https://arxiv.org/abs/1801.01401.
    """

    def values(self, seen: Seen) -> dict[str, float]:
        """The mean over subsets, and their standard deviation.

        Raises:
            DataError: There are fewer reference images than a subset has.
        """
        from torch_fidelity.metric_kid import kid_features_to_metric

        reference = seen.reference.features()[self.layer]
        if len(reference) < KID_SUBSET_SIZE:
            raise DataError(
                f"kid takes subsets of {KID_SUBSET_SIZE:,} reference images, there are "
                f"{len(reference):,}; take fid-64"
            )
        given = kid_features_to_metric(
            torch.from_numpy(seen.samples[self.layer]),
            torch.from_numpy(reference),
            kid_subsets=KID_SUBSETS,
            kid_subset_size=KID_SUBSET_SIZE,
            rng_seed=SEED,
            verbose=False,
        )
        return {
            "": given["kernel_inception_distance_mean"],
            "_subset_std": given["kernel_inception_distance_std"],
        }


class InceptionScore(FeatureMetric):
    """Exponential of the mean divergence of a sample's classes from all samples' classes.

    References:
        Salimans et al. (2016), Improved Techniques for Training GANs,
        https://arxiv.org/abs/1606.03498, section 4.
    """

    compares = False

    def values(self, seen: Seen) -> dict[str, float]:
        """The mean over 10 splits, and their standard deviation."""
        from torch_fidelity.metric_isc import isc_features_to_metric

        logits = torch.from_numpy(seen.samples[self.layer])
        given = isc_features_to_metric(logits, IS_SPLITS, shuffle=True, rng_seed=SEED)
        return {
            "": given["inception_score_mean"],
            "_split_std": given["inception_score_std"],
        }


class Neighbourhoods(FeatureMetric):
    """Precision or recall: the share of one set within the 3-nearest-neighbour balls of the other.

    References:
        Kynkaanniemi et al. (2019), Improved Precision and Recall Metric for Assessing Generative
        Models, https://arxiv.org/abs/1904.06991.
    """

    def values(self, seen: Seen) -> dict[str, float]:
        """The share that the spec's name says."""
        from torch_fidelity.metric_prc import prc_features_to_metric

        given = prc_features_to_metric(
            torch.from_numpy(seen.samples[self.layer]),
            torch.from_numpy(seen.reference.features()[self.layer]),
            prc_neighborhood=NEIGHBOURS,
            save_cpu_ram=True,  # 50,000 x 50,000 distances are 10 GB
            verbose=False,
        )
        return {"": given[self.spec.name]}


_INCEPTION = ("inception-v3-compat", "inception-v3-compat")
_INCEPTION_SIZE, _SIZE = 299, 224  # the sides that the networks take
INCEPTION = TorchFidelityExtractor(
    *_INCEPTION,
    {POOL3: 2048, LOGITS: 1008},
    files.INCEPTION,
    specs.INCEPTION_WEIGHTS,
    size=_INCEPTION_SIZE,
)
VGG16 = TorchFidelityExtractor(
    "vgg16", "vgg16", {"fc2_relu": 4096}, files.VGG16, specs.VGG16_WEIGHTS, size=_SIZE
)
CLIP = TorchFidelityExtractor(
    "clip", "clip-vit-b-32", {"clip": 512}, files.CLIP, specs.CLIP_WEIGHTS, size=_SIZE
)
DINOV2 = DinoExtractor("dinov2", "dinov2-vit-l-14", {"dinov2": 1024}, files.DINOV2, "", size=_SIZE)


def inception_layer(size: int, *, published: bool = True) -> TorchFidelityExtractor:
    """Inception-v3 up to one of its layers; what lies behind is not computed.

    Args:
        size: Number of features: 64, 192, 768 or 2048.
        published: Take no weights but the published ones.

    Returns:
        The extractor.
    """
    return TorchFidelityExtractor(
        *_INCEPTION,
        {str(size): size},
        files.INCEPTION,
        specs.INCEPTION_WEIGHTS,
        size=_INCEPTION_SIZE,
        published=published,
    )


def _layer_metric(spec: MetricSpec, size: int, *, published: bool = True) -> FrechetMetric:
    extractor = inception_layer(size, published=published)
    named = not published
    return FrechetMetric(spec, extractor, str(size), min_samples=size, name_weights=named)


compute_fid = FrechetMetric(specs.FID, INCEPTION, POOL3)
compute_fid_test = FrechetMetric(specs.FID_TEST, INCEPTION, POOL3, split="test")
compute_fid_64 = _layer_metric(specs.FID_64, 64)
compute_fid_192 = _layer_metric(specs.FID_192, 192)
compute_fid_768 = _layer_metric(specs.FID_768, 768)
compute_kid = KernelDistance(specs.KID, INCEPTION, POOL3)
compute_is = InceptionScore(specs.IS, INCEPTION, LOGITS)
compute_precision = Neighbourhoods(specs.PRECISION, VGG16, "fc2_relu")
compute_recall = Neighbourhoods(specs.RECALL, VGG16, "fc2_relu")
compute_fd_inception = _layer_metric(specs.FD_INCEPTION, 2048, published=False)
compute_fd_inception_64 = _layer_metric(specs.FD_INCEPTION_64, 64, published=False)
compute_fd_dinov2 = FrechetMetric(specs.FD_DINOV2, DINOV2, "dinov2", min_samples=1024)
compute_fd_clip = FrechetMetric(specs.FD_CLIP, CLIP, "clip", min_samples=512)
compute_fd_vgg16 = FrechetMetric(specs.FD_VGG16, VGG16, "fc2_relu", min_samples=4096)
