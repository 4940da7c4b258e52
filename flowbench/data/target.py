"""A target's log-density: of raw values, and as it is in a model's space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class TargetDensity:
    """The log-density that a model is fitted to, up to a constant.

    Attributes:
        log_density: Of raw values (B, *event_shape), shape (B,), in nats.
        preprocessor: Leads to the model's space.
    """

    log_density: Callable[[Tensor], Tensor]
    preprocessor: Preprocessor

    def __call__(self, y: Tensor) -> Tensor:
        """Log-density of values in the model's space, differentiable.

        Args:
            y: Values, shape (B, *event_shape).

        Returns:
            Shape (B,), in nats, of the dtype of y.
        """
        raw, ladj = self.preprocessor.unrounded(y)
        return (self.of_raw(raw) - ladj).to(y.dtype).to(y.device)

    def of_raw(self, raw: Tensor) -> Tensor:
        """Log-density of raw values, as the dataset gives it.

        Raises:
            ShapeError: It is not one value for each of them.
        """
        found = self.log_density(raw)
        if found.shape != (len(raw),):
            raise ShapeError(
                f"the target's log_density returned shape {tuple(found.shape)} for a batch of "
                f"{len(raw)}; expected ({len(raw)},), summed over event dims"
            )
        return found
