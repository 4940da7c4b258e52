"""A trained model in its harness, as metrics and `flowbench.load` see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.config import Likelihood, ModelConfig
from flowbench.api.data import Split
from flowbench.api.metrics import LikelihoodResult, Samples
from flowbench.api.models import GenerativeModel
from flowbench.api.specs import DatasetInfo, SplitName
from flowbench.errors import ContractError
from flowbench.evaluation.harness import Harness, likelihood_kind, noise_of
from flowbench.evaluation.sampling import draw, draw_samples


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """What a training took, for the metrics that report it.

    Attributes:
        device_name: Device model.
        device_kind: ``cpu``, ``cuda`` or ``mps``.
        num_devices: Devices that were held.
        ledger: Seconds of each part of the clock.
        charged_s: Seconds charged to the budget.
        peak_memory: Most bytes held in training, None where they cannot be read, and what they
            count.
    """

    device_name: str
    device_kind: str
    num_devices: int
    ledger: Mapping[str, float]
    charged_s: float
    peak_memory: tuple[int | None, str]


class EvaluatedModel:
    """A trained model with its preprocessing, data and protocol; a `flowbench.api.TrainedModel`.

    Likelihoods and samples are computed when they are first asked for, and kept.

    Args:
        model: The model, in eval mode on its device.
        harness: What it is measured in.
        cost: What its training took.
        weights: Which weights they are: the better on validation; None without a training.
    """

    def __init__(
        self,
        model: GenerativeModel,
        harness: Harness,
        cost: TrainingCost,
        weights: Literal["raw", "ema"] | None = None,
    ) -> None:
        self.model: GenerativeModel = model
        self.config: ModelConfig = model.config
        self.data: DatasetInfo = model.data
        self.data_sha256: str = harness.data_sha256
        self.data_dir: Path = harness.data_dir
        self.weights: Literal["raw", "ema"] | None = weights
        self.device_name, self.device_kind = cost.device_name, cost.device_kind
        self.num_devices = cost.num_devices
        self.ledger: Mapping[str, float] = dict(cost.ledger)
        self.charged_s = cost.charged_s
        self.peak_memory_bytes, self.peak_memory_source = cost.peak_memory
        self._harness = harness
        self._likelihoods: dict[tuple[SplitName, str], LikelihoodResult] = {}

    @property
    def likelihood_kind(self) -> Likelihood | None:
        """What the likelihood is; None for a model without one."""
        return likelihood_kind(self.model)

    def likelihood(self, split: SplitName) -> LikelihoodResult:
        """Evaluates the likelihood protocol on a split, once.

        Args:
            split: The split; on validation fewer draws are taken.

        Returns:
            The likelihood of every example.

        Raises:
            ContractError: The model has no likelihood.
        """
        if (split, "") not in self._likelihoods:
            self._likelihoods[split, ""] = self._harness.evaluate(self.model, split)
        return self._likelihoods[split, ""]

    def likelihood_given(self, split: SplitName, name: Literal["label"]) -> LikelihoodResult:
        """Evaluates the likelihood protocol on a split, given a context input, once.

        Args:
            split: The split.
            name: The context input.

        Returns:
            The likelihood of every example, from the same noise as without, unless memory ran out
            in one of the two alone: passes of other sizes draw other noise.

        Raises:
            ContractError: The model does not take this input.
        """
        if name not in self.config.also_given(self.data):
            raise ContractError(f"{type(self.model).__name__} has no likelihood given {name}")
        if (split, name) not in self._likelihoods:
            self._likelihoods[split, name] = self._harness.evaluate(self.model, split, given=name)
        return self._likelihoods[split, name]

    def log_prob(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Evaluates the likelihood protocol on any raw values, as on the test split.

        Args:
            x: Raw values, shape (N, *event_shape).

        Returns:
            Log-likelihoods in nats, shape (N,).

        Raises:
            ContractError: The model has no likelihood.
        """
        return self._harness.evaluate(self.model, "test", Split(x=x)).log_prob

    def samples(self) -> Samples:
        """Draws the protocol's samples on the raw scale, once.

        Returns:
            The samples; labels, where the data have any, follow the training frequencies.
        """
        return self._drawn

    @cached_property
    def _drawn(self) -> Samples:
        return draw_samples(self.model, self._harness)

    def preprocess(self, x: NDArray[Any], *, seed: int) -> Tensor:
        """Maps raw values to the model's space.

        Args:
            x: Raw values, shape (N, *event_shape).
            seed: Seed of the noise.

        Returns:
            Values in the model's space, shape (N, *event_shape), on its device.
        """
        generator = noise_of(self.model, "preprocess", seed)
        raw = torch.from_numpy(np.ascontiguousarray(x)).to(generator.device)
        return self._harness.preprocessor.forward(raw, generator)[0]

    def draw(self, num: int, *, seed: int) -> Tensor:
        """Draws samples in the model's space, and waits for the device.

        Args:
            num: Number of samples.
            seed: Seed of the noise.

        Returns:
            Samples, shape (num, *event_shape).
        """
        picks, noise = np.random.default_rng(seed), noise_of(self.model, "draw", seed)
        y = draw(self.model, self._harness, num, noise, picks)[0]
        self.synchronize()
        return y

    def synchronize(self) -> None:
        """Waits until the device has finished its work."""
        self._harness.synchronize()

    def tick(self, doing: str = "") -> None:
        """To be called between pieces of long work; stops a job that was asked to stop.

        Args:
            doing: What is being done, in a few words.
        """
        self._harness.tick()
        if doing:
            self._harness.announce(doing)
