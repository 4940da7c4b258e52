"""Actnorm and 1x1 convolution of several steps, folded into one affine map of channels a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from flowbench_models.bijections.actnorm import ActNorm
from flowbench_models.bijections.permutation import InvertibleConv1x1
from flowbench_models.nets.precision import full_precision


class Mixings(NamedTuple):
    """Affine maps of channels.

    Attributes:
        matrices: K tensors of shape (C, C).
        offsets: K tensors of shape (C,).
        log_abs_det: Sum of their log-determinants for one position, shape (), in nats.
    """

    matrices: tuple[Tensor, ...]
    offsets: tuple[Tensor, ...]
    log_abs_det: Tensor


def fold_mixings(norms: Sequence[ActNorm], convolutions: Sequence[InvertibleConv1x1]) -> Mixings:
    r"""Folds :math:`W(s \odot x + o) = (W \mathrm{diag}(s))\,x + W o` for all steps at once.

    Done together it takes as many operations as for one step, which counts where steps are small.

    Args:
        norms: K actnorms of C channels.
        convolutions: The 1x1 convolution behind each, all of one parameterisation.

    Returns:
        The K affine maps.
    """
    with full_precision(norms[0].shift):
        log_scale, scale, offset = ActNorm.as_affine(norms)
        matrices, log_abs_dets = type(convolutions[0]).matrices(convolutions)
        offsets = (matrices @ offset[..., None]).squeeze(-1)
        folded = matrices * scale[:, None, :]
        return Mixings(folded.unbind(), offsets.unbind(), log_abs_dets.sum() + log_scale.sum())
