"""A trained model for metrics to measure, whose every number the checks can set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.config import ModelConfig
from flowbench.api.data import DataSplits
from flowbench.api.metrics import LikelihoodResult, Samples
from flowbench.api.models import Batch, GenerativeModel, standard_normal_log_prob
from flowbench.api.preprocessing import Preprocessing, UniformDequantization
from flowbench.api.protocol import MetricSettings, SampleSettings
from flowbench.api.specs import SplitName
from flowbench.contract.checking.cases import Case
from flowbench.contract.metrics.gaussian import Gaussian
from flowbench.data.preprocess import Preprocessor
from flowbench.data.target import TargetDensity
from flowbench.errors import ContractError
from flowbench.evaluation.harness import Harness
from flowbench.evaluation.trained import EvaluatedModel, TrainingCost

ShownT = TypeVar("ShownT")

SETTINGS = MetricSettings(eval_draws=2, num_samples=96, batch_size=32)


class Stage(EvaluatedModel):
    """An evaluated model whose likelihoods and samples are fixed, and can be exchanged.

    Attributes:
        splits: The data.
        result: The likelihoods that it shows; None refuses them.
        shown: The samples that it shows; None refuses them.
    """

    def __init__(self, model: GenerativeModel, harness: Harness, cost: TrainingCost) -> None:
        super().__init__(model, harness, cost)
        self.splits: DataSplits = harness.splits
        self.result: LikelihoodResult | None = super().likelihood("test")
        self.shown: Samples | None = super().samples()

    def likelihood(
        self, split: SplitName, given: tuple[str, ...] | None = None
    ) -> LikelihoodResult:
        """The likelihoods that were set for test, or what the harness finds on another split.

        Raises:
            ContractError: They are refused; so are conditional ones, as the model sees no context.
        """
        shown = self._asked("likelihoods", self.result)
        return shown if split == "test" and given is None else super().likelihood(split, given)

    def log_prob(
        self, x: NDArray[Any], context: Mapping[str, NDArray[Any]] | None = None
    ) -> NDArray[np.float64]:
        """Log-likelihoods of raw values, by the harness.

        Raises:
            ContractError: They are refused.
        """
        self._asked("likelihoods", self.result)
        return super().log_prob(x, context)

    def samples(self, num: int | None = None, settings: SampleSettings | None = None) -> Samples:
        """The samples that were set; of another number or settings, what the harness draws.

        Raises:
            ContractError: They are refused.
        """
        shown = self._asked("samples", self.shown)
        return shown if num is None and settings is None else super().samples(num, settings)

    def preprocess(self, x: NDArray[Any], *, seed: int) -> Tensor:
        """Maps raw values to the model's space, dequantization noise at its mean.

        What a metric sees of an example does not depend on the example's place here.
        """
        del seed
        return torch.from_numpy(x).float() + (0.0 if self.data.levels is None else 0.5)

    def draw(self, num: int, *, seed: int) -> Tensor:
        """Draws samples in the model's space.

        Raises:
            ContractError: They are refused.
        """
        self._asked("samples", self.shown)
        return super().draw(num, seed=seed)

    @staticmethod
    def _asked(what: str, shown: ShownT | None) -> ShownT:
        if shown is None:
            raise ContractError(f"the metric asks for {what}, which its `needs` does not name")
        return shown


def set_up(case: Case) -> Stage:
    """Fits the Gaussian to a case and evaluates it.

    Returns:
        The stage, with everything that a metric can ask for.
    """
    noise = None if case.info.levels is None else UniformDequantization()
    config = ModelConfig(preprocessing=Preprocessing(noise=noise))
    preprocessor = Preprocessor(config.preprocessing, case.info)
    model = Gaussian(config, case.info)
    x, _ = preprocessor.forward(
        torch.from_numpy(case.splits.train.x), torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        model.initialize(Batch(x=x), generator=torch.Generator().manual_seed(0))
    model.eval()
    target = None
    if case.info.target is not None:
        target = TargetDensity(log_density=_standard_normal, preprocessor=preprocessor)
    harness = Harness(
        preprocessor=preprocessor, splits=case.splits, settings=SETTINGS, target=target
    )
    cost = TrainingCost(
        device_name="contract",
        device_kind="cpu",
        num_devices=1,
        # Round numbers that closed forms of costs can be worked out from: see `ClosedForm`.
        ledger={"train": 1.0},
        charged_s=1.0,
        peak_memory=(1 << 20, "contract"),
    )
    return Stage(model, harness, cost)


def _standard_normal(x: Tensor) -> Tensor:
    return standard_normal_log_prob((x,))


def shift_likelihood(result: LikelihoodResult, nats: float) -> LikelihoodResult:
    """The same likelihoods, each higher by some nats."""
    changes = {"log_prob": result.log_prob + nats, "elbo": result.elbo + nats}
    return LikelihoodResult(**{**vars(result), **changes})


def take_likelihood(result: LikelihoodResult, order: NDArray[np.int64]) -> LikelihoodResult:
    """The same likelihoods in another order."""
    changes = {"log_prob": result.log_prob[order], "elbo": result.elbo[order]}
    return LikelihoodResult(**{**vars(result), **changes})


def show(samples: Samples, x: NDArray[Any], order: NDArray[np.int64] | None = None) -> Samples:
    """Other values in the place of samples, or the same in another order."""
    context = samples.context
    if order is not None:
        context = {name: values[order] for name, values in context.items()}
    else:
        context = {name: values[: len(x)] for name, values in context.items()}
    return Samples(**{**vars(samples), "x": x, "context": context})
