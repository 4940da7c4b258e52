"""A trained model in its harness, as metrics and `flowbench.load` see it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.config import ModelConfig
from flowbench.api.data import Ragged, Split
from flowbench.api.likelihood import Likelihood
from flowbench.api.metrics import LikelihoodResult, Samples
from flowbench.api.models import GenerativeModel
from flowbench.api.protocol import SampleSettings
from flowbench.api.specs import DatasetInfo, SplitName
from flowbench.errors import ContractError
from flowbench.evaluation.harness import Harness, likelihood_kind, noise_of
from flowbench.evaluation.sampling import draw, draw_samples


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """What a training took, for the metrics that report it.

    Attributes:
        device_kind: ``cpu``, ``cuda`` or ``mps``.
        ledger: Seconds of each part of the clock.
        charged_s: Seconds charged to the budget.
        run_delay_s: Seconds of them in which it waited for a core; None where it is not known.
        peak_memory: Most bytes held in training, None where they cannot be read, and what they
            count.
    """

    device_name: str
    device_kind: str
    num_devices: int
    ledger: Mapping[str, float]
    charged_s: float
    peak_memory: tuple[int | None, str]
    run_delay_s: float | None = None


class EvaluatedModel:
    """A trained model with its preprocessing, data and protocol; a `flowbench.api.TrainedModel`.

    Likelihoods and samples are computed when they are first asked for, and kept: their arrays are
    read-only.

    Args:
        model: The model, in eval mode on its device.
        harness: What it is measured in.
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
        # A copy: metrics of other plugins are handed this very object.
        self.ledger: Mapping[str, float] = dict(cost.ledger)
        self.charged_s = cost.charged_s
        self.peak_memory_bytes, self.peak_memory_source = cost.peak_memory
        self._harness = harness
        self._likelihoods: dict[tuple[SplitName, tuple[str, ...] | None], LikelihoodResult] = {}
        self._samples: dict[str, Samples] = {}

    def drawn_by(self, settings: SampleSettings) -> EvaluatedModel:
        """The same model, with what it knows already, whose samples are drawn by other settings."""
        other = copy(self)
        protocol = self._harness.settings.model_copy(update={"sample": settings})
        other._harness = replace(self._harness, settings=protocol)
        return other

    def protect(self) -> None:
        """Lets no metric write into the data, which the others see too."""
        for split in self._harness.splits.named().values():
            _set_read_only(split.x, *split.context.values())

    @property
    def likelihood_kind(self) -> Likelihood | None:
        """What the likelihood is; None for a model without one."""
        return likelihood_kind(self.model)

    def likelihood(
        self, split: SplitName, given: tuple[str, ...] | None = None
    ) -> LikelihoodResult:
        """Evaluates the likelihood protocol on a split, once.

        Args:
            split: The split; on validation fewer draws are taken.
            given: Context inputs that it is conditioned on, one of ``config.also_given``; None for
                the likelihood itself.

        Returns:
            The likelihood of every example; under each conditioning from the same noise, unless
            memory ran out under one alone: passes of other sizes draw other noise.

        Raises:
            ContractError: The model has no likelihood, or none given that.
        """
        if given is not None and given not in self.config.also_given(self.data):
            raise self._no_likelihood_given(given)
        if (split, given) not in self._likelihoods:
            result = self._harness.evaluate(self.model, split, given=given)
            _set_read_only(result.log_prob, result.elbo)  # whoever asks next gets the same
            self._likelihoods[split, given] = result
        return self._likelihoods[split, given]

    def log_prob(
        self, x: NDArray[Any], context: Mapping[str, NDArray[Any]] | None = None
    ) -> NDArray[np.float64]:
        """Evaluates the likelihood protocol on any raw values, as on the test split.

        Args:
            x: Raw values, shape (N, *event_shape).
            context: Inputs that it is conditioned on, each of shape (N, *context_shape); None for
                the likelihood itself, where that is not conditional.

        Returns:
            Log-likelihoods in nats, shape (N,).

        Raises:
            ContractError: The model has no likelihood, none given that, or only one given more.
        """
        own = () if self.likelihood_kind is None else self.likelihood_kind.given
        if own and context is None:
            raise ContractError(
                f"the density of {type(self.model).__name__} is given {', '.join(own)}; pass "
                f"context={{{own[0]!r}: ...}}"
            )
        given = None if context is None else tuple(sorted(context))
        # In any order: a context is a mapping, and has none.
        known = {tuple(sorted(names)) for names in (own, *self.config.also_given(self.data))}
        if given is not None and given not in known:
            raise self._no_likelihood_given(given)
        examples = Split(x=x, context=context or {})
        return self._harness.evaluate(self.model, "test", examples, given=given).log_prob

    def log_density(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Log-density of the data's target, up to a constant.

        Args:
            x: Raw values, shape (N, *event_shape).

        Returns:
            In nats, shape (N,).

        Raises:
            ContractError: The data are examples, and no target.
        """
        if self._harness.target is None:
            raise ContractError(f"{self.data.name} is no target: it has examples, and no density")
        raw = torch.from_numpy(np.array(x, dtype=np.float64))  # a copy: samples are read-only
        found: NDArray[np.float64] = self._harness.target.of_raw(raw).double().numpy()
        return found

    def _no_likelihood_given(self, given: tuple[str, ...]) -> ContractError:
        return ContractError(
            f"{type(self.model).__name__} has no likelihood given {', '.join(given)}"
        )

    def samples(self, num: int | None = None, settings: SampleSettings | None = None) -> Samples:
        """Draws samples on the raw scale, once for each number and settings.

        Args:
            num: How many; None takes the protocol's number.
            settings: How; None takes the protocol's settings.

        Returns:
            The samples; labels, where the data have any, follow the training frequencies.
        """
        protocol = self._harness.settings
        num = protocol.num_samples if num is None else num
        settings = protocol.sample if settings is None else settings
        # As text, since settings hold a mapping and cannot be hashed.
        key = f"{num} {settings.model_dump_json()}"
        if key not in self._samples:
            samples = draw_samples(self.model, self._harness, num, settings)
            _set_read_only(samples.x, *samples.context.values())
            self._samples[key] = samples
        return self._samples[key]

    def preprocess(self, x: NDArray[Any], *, seed: int) -> Tensor:
        """Maps raw values to the model's space.

        Args:
            x: Raw values, shape (N, *event_shape).

        Returns:
            Values in the model's space, shape (N, *event_shape), on its device.
        """
        generator = noise_of(self.model, "preprocess", seed)
        raw = torch.from_numpy(np.ascontiguousarray(x)).to(generator.device)
        return self._harness.preprocessor.forward(raw, generator)[0]

    def draw(self, num: int, *, seed: int) -> Tensor:
        """Draws samples in the model's space, and waits for the device.

        Returns:
            Samples, shape (num, *event_shape).
        """
        picks, noise = np.random.default_rng(seed), noise_of(self.model, "draw", seed)
        settings = self._harness.settings.sample
        y = draw(self.model, self._harness, num, settings, noise, picks).y
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


def _set_read_only(*arrays: NDArray[Any] | Ragged) -> None:
    for values in arrays:
        array = values.values if isinstance(values, Ragged) else values
        array.flags.writeable = False
