"""The elementwise bijections of the preprocessing; ``forward`` maps data to the model's space."""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor


class Elementwise(Protocol):
    """An elementwise bijection of event shape (*event_shape,)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to the model's space.

        Args:
            x: Values, shape (B, *event_shape).

        Returns:
            y, of the same shape, and ladj in nats summed over event dims: shape (B,), or () where
            it is the same for every example.
        """
        ...

    def inverse(self, y: Tensor) -> Tensor:
        """Maps the model's space back to data.

        Args:
            y: Values, shape (B, *event_shape).

        Returns:
            x, of the same shape.
        """
        ...


class Affine:
    """Elementwise :math:`y = s x + t`.

    Args:
        scale: s, not 0, float64, of a shape that broadcasts to the event shape.
        shift: t, likewise.
        like: A tensor of the event shape, on the device and of the dtype to work in.
    """

    def __init__(self, scale: Tensor, shift: Tensor, like: Tensor) -> None:
        # In float64, and once: the sum over thousands of dims would lose digits in float32.
        ladj = scale.abs().log().expand(like.shape).sum()
        # Rounded before it moves, because some devices (MPS) hold no float64.
        self._scale, self._shift, self._ladj = (
            constant.to(like.dtype).to(like.device) for constant in (scale, shift, ladj)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and shifts; ladj has shape ()."""
        return x * self._scale + self._shift, self._ladj

    def inverse(self, y: Tensor) -> Tensor:
        """Undoes the shift, then the scale."""
        return (y - self._shift) / self._scale


class Centred:
    """Elementwise :math:`y = (x - m) / s`; a large mean is gone before anything is rounded.

    Args:
        mean: m, float64, of a shape that broadcasts to the event shape.
        std: s, positive, likewise.
        like: A tensor of the event shape, on the device and of the dtype to work in.
    """

    def __init__(self, mean: Tensor, std: Tensor, like: Tensor) -> None:
        ladj = -std.log().expand(like.shape).sum()
        self._mean, self._std, self._ladj = (
            constant.to(like.dtype).to(like.device) for constant in (mean, std, ladj)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Centres, then scales; ladj has shape ()."""
        return (x - self._mean) / self._std, self._ladj

    def inverse(self, y: Tensor) -> Tensor:
        """Undoes the scale, then the centring."""
        return y * self._std + self._mean


class LogitOfUnit:
    r"""Elementwise :math:`y = \log p - \log q`, :math:`p = \alpha + (1 - 2\alpha) x`, q = 1 - p.

    Args:
        alpha: Distance that x = 0 and x = 1 keep from the borders of the unit interval.

    References:
        Dinh et al. (2017), Density estimation using Real NVP,
        https://arxiv.org/abs/1605.08803, section 4.1.
    """

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._width = 1.0 - 2.0 * alpha

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [0, 1] to the real line; ladj has shape (B,)."""
        # q is formed from 1 - x, because 1 - p would lose its digits near 1.
        log_p = (self._alpha + self._width * x).log()
        log_q = (self._alpha + self._width * (1.0 - x)).log()
        ladj = math.log(self._width) - log_p - log_q
        return log_p - log_q, ladj.flatten(1).sum(dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """Maps back; values outside the image of [0, 1] come out outside [0, 1]."""
        # Samples of a model are often outside; they are clipped where levels are known, and
        # counted.
        return (y.sigmoid() - self._alpha) / self._width
