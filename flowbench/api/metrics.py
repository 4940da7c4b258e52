"""What the harness hands to a metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.config import ModelConfig
from flowbench.api.likelihood import Likelihood
from flowbench.api.models import GenerativeModel
from flowbench.api.protocol import SampleSettings
from flowbench.api.specs import DatasetInfo, SplitName


@dataclass(frozen=True, kw_only=True)
class LikelihoodResult:
    """The likelihood of every example of a split; the only source of bpd and nll.

    Attributes:
        log_prob: Best estimate of each example's log-likelihood, shape (N,), nats: the importance-
            weighted bound for a model with log-weights, the plain mean of the draws otherwise.
        elbo: Plain mean of the same draws, shape (N,), nats.
        draw_stderr: Standard error of the mean over draws, averaged over examples as independent
            errors: of the split's mean log-likelihood, in nats; None with one draw.
        likelihood: What the values are, with the number of draws that was used.
        num_dims: Number D of raw values in one example; where they have different lengths, that of
            each, shape (N,).
        info: Means of the model's diagnostics.

    Example:
        >>> values = np.array([-1.0, -3.0])
        >>> result = LikelihoodResult(
        ...     log_prob=values, elbo=values, draw_stderr=None, num_dims=2, split="test",
        ...     likelihood=Likelihood(measure="continuous"),
        ... )
        >>> float(-result.log_prob.mean())
        2.0
    """

    log_prob: NDArray[np.float64]
    # From the same draws as `log_prob`, so that their difference is no noise.
    elbo: NDArray[np.float64]
    draw_stderr: float | None
    likelihood: Likelihood
    num_dims: int | NDArray[np.int64]
    split: SplitName
    info: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples on the raw scale.

    Attributes:
        x: Raw values, shape (N, *event_shape): integer levels, or floats.
        context: What they were conditioned on.
        num_clipped: Values that fell outside the levels and were clipped; 0 for real-valued data.
        num_nonfinite: Values that were not finite.
        temperature: Scale of the base noise.
        seed: Seed that they were drawn from.
        info: Means of the model's diagnostics.
        sources: Test examples whose context they were given, shape (N,); None where context is a
            label, or there is none.

    Example:
        >>> drawn = Samples(
        ...     x=np.zeros((5, 2)), context={}, num_clipped=0, num_nonfinite=0,
        ...     temperature=1.0, seed=0,
        ... )
        >>> len(drawn.x)
        5
    """

    x: NDArray[Any]
    context: Mapping[str, NDArray[Any]]
    num_clipped: int
    num_nonfinite: int
    temperature: float
    seed: int
    info: Mapping[str, float] = field(default_factory=dict)
    sources: NDArray[np.int64] | None = None


class TrainedModel(Protocol):
    """A trained model in its harness.

    A metric's ``data`` beside it are arrays: of examples of different lengths it has the first
    segment of each. Likelihoods are those of whole examples all the same.

    Example:
        >>> def mean_of_samples(trained: TrainedModel, data, settings):  # a metric's `compute`
        ...     value = float(trained.samples().x.mean())
        ...     return [MetricValue(name="mean", value=value, unit="", direction="none")]
    """

    model: GenerativeModel
    config: ModelConfig
    data: DatasetInfo
    data_sha256: str
    """Content hash of the dataset; empty for data that no later run can recognise."""
    data_dir: Path
    """Folder of prepared data, where weights and statistics of reference data are kept too."""
    weights: Literal["raw", "ema"] | None
    """Which weights are measured: the better on validation; None for a model without training."""
    device_name: str
    """Device model, e.g. ``NVIDIA H100`` or the processor's name."""
    device_kind: str
    """``cpu``, ``cuda`` or ``mps``."""
    num_devices: int
    ledger: Mapping[str, float]
    """Seconds of each part of the clock."""
    charged_s: float
    """Seconds that the budget was charged, all phases together."""
    peak_memory_bytes: int | None
    """Most memory that training held; None where it cannot be read."""
    peak_memory_source: str
    """What ``peak_memory_bytes`` counts."""

    def likelihood(
        self, split: SplitName, given: tuple[str, ...] | None = None
    ) -> LikelihoodResult:
        """Evaluates the likelihood protocol on a split, once; later calls return the same.

        ``given`` is one of ``config.also_given``, or None for the likelihood itself.
        """
        ...

    def log_prob(
        self, x: NDArray[Any], context: Mapping[str, NDArray[Any]] | None = None
    ) -> NDArray[np.float64]:
        """Log-likelihood of raw values (N, *event_shape), as on the test split: (N,), nats.

        Given ``context``, each of shape (N, *context_shape), it is conditioned on those inputs.
        """
        ...

    def log_density(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Log-density of the data's target at raw values (N, *event_shape): (N,), nats.

        It is known up to the constant ``data.target.log_normaliser``.
        """
        ...

    def samples(self, num: int | None = None, settings: SampleSettings | None = None) -> Samples:
        """Draws samples, once for each number and settings; None takes the protocol's."""
        ...

    def preprocess(self, x: NDArray[Any], *, seed: int) -> Tensor:
        """Maps raw values (N, *event_shape) to the model's space, on the model's device."""
        ...

    def draw(self, num: int, *, seed: int) -> Tensor:
        """Draws samples in the model's space, as the protocol says, and waits for the device."""
        ...

    def synchronize(self) -> None:
        """Waits until the device has finished its work."""
        ...

    def tick(self, doing: str = "") -> None:
        """To be called between pieces of long work, with what is being done in a few words.

        It stops a job that was asked to stop, and shows the words beside the job.
        """
        ...
