"""Bijections that the models share; ``forward`` maps data to latent, ladj is summed and in nats."""

from flowbench_models.bijections.actnorm import ActNorm
from flowbench_models.bijections.base import Bijection, Composition, sum_event_dims
from flowbench_models.bijections.batchnorm import BatchNorm
from flowbench_models.bijections.coupling import (
    HalfCoupling,
    MaskedCoupling,
    checkerboard_mask,
    half_sizes,
)
from flowbench_models.bijections.elementwise import (
    ElementwiseMap,
    Shift,
    SigmoidAffine,
    TanhAffine,
)
from flowbench_models.bijections.multiscale import FactorOut, MultiScale
from flowbench_models.bijections.permutation import (
    FullConv1x1,
    InvertibleConv1x1,
    Permutation,
    PLUConv1x1,
    interleaved_order,
    mix_channels,
)
from flowbench_models.bijections.scaling import DiagonalScaling
from flowbench_models.bijections.squeeze import Squeeze

__all__ = [
    "ActNorm",
    "BatchNorm",
    "Bijection",
    "Composition",
    "DiagonalScaling",
    "ElementwiseMap",
    "FactorOut",
    "FullConv1x1",
    "HalfCoupling",
    "InvertibleConv1x1",
    "MaskedCoupling",
    "MultiScale",
    "PLUConv1x1",
    "Permutation",
    "Shift",
    "SigmoidAffine",
    "Squeeze",
    "TanhAffine",
    "checkerboard_mask",
    "half_sizes",
    "interleaved_order",
    "mix_channels",
    "sum_event_dims",
]
