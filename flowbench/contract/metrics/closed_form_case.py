"""A case whose value can be worked out by hand; the metric's author gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """What a metric sees, and the value that it must give.

    What is not set is that of a Gaussian fitted to random data.

    Attributes:
        expected: The value, worked out by hand.
        log_prob: Test log-likelihoods in nats, shape (N,).
        samples: Raw samples, shape (N, *event_shape).
        test: Raw test examples, shape (N, *event_shape).
        tolerance: Largest relative error.
    """

    expected: float
    log_prob: Sequence[float] | None = None
    samples: Sequence[object] | None = None
    test: Sequence[object] | None = None
    tolerance: float = 1e-6
