"""A trained model for metrics to measure, whose every number the checks can set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench import paths
from flowbench.api.config import ModelConfig
from flowbench.api.data import DataSplits
from flowbench.api.metrics import LikelihoodResult, Samples
from flowbench.api.models import Batch, GenerativeModel
from flowbench.api.preprocessing import Preprocessing, UniformDequantization
from flowbench.api.protocol import MetricSettings, SampleSettings
from flowbench.api.specs import DatasetInfo, SplitName
from flowbench.contract.cases import Case
from flowbench.contract.metrics.gaussian import Gaussian
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ContractError
from flowbench.evaluation.harness import Harness
from flowbench.evaluation.trained import EvaluatedModel, TrainingCost

SETTINGS = MetricSettings(eval_draws=2, num_samples=96, batch_size=32)


@dataclass(kw_only=True)
class Stage:
    """A `flowbench.api.TrainedModel` with fixed likelihoods and samples.

    Attributes:
        harness: What really evaluates the model.
        data: Facts of the data.
        result: The likelihoods that it shows; None refuses them.
        shown: The samples that it shows; None refuses them.
    """

    harness: EvaluatedModel
    model: GenerativeModel
    config: ModelConfig
    data: DatasetInfo
    result: LikelihoodResult | None
    shown: Samples | None
    splits: DataSplits
    data_sha256: str = ""
    data_dir: Path = field(default_factory=paths.data_dir)
    weights: Literal["raw", "ema"] | None = None
    device_name: str = "contract"
    device_kind: str = "cpu"
    num_devices: int = 1
    ledger: Mapping[str, float] = field(default_factory=lambda: {"train": 1.0})
    charged_s: float = 1.0
    peak_memory_bytes: int | None = 1 << 20
    peak_memory_source: str = "contract"

    def likelihood(
        self, split: SplitName, given: tuple[str, ...] | None = None
    ) -> LikelihoodResult:
        """The likelihoods that were set for test, or what the harness finds on another split.

        Raises:
            ContractError: They are refused; so are conditional ones, as the model sees no context.
        """
        if self.result is None:
            raise ContractError("the metric asks for likelihoods that its `needs` does not name")
        if split == "test" and given is None:
            return self.result
        return self.harness.likelihood(split, given)

    def log_prob(
        self, x: NDArray[Any], context: Mapping[str, NDArray[Any]] | None = None
    ) -> NDArray[np.float64]:
        """Log-likelihoods of raw values, by the harness.

        Raises:
            ContractError: They are refused.
        """
        if self.result is None:
            raise ContractError("the metric asks for likelihoods that its `needs` does not name")
        return self.harness.log_prob(x, context)

    def samples(self, num: int | None = None, settings: SampleSettings | None = None) -> Samples:
        """The samples that were set; of another number or settings, what the harness draws.

        Raises:
            ContractError: They are refused.
        """
        if self.shown is None:
            raise ContractError("the metric asks for samples that its `needs` does not name")
        if num is None and settings is None:
            return self.shown
        return self.harness.samples(num, settings)

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
        if self.shown is None:
            raise ContractError("the metric draws samples, which its `needs` does not name")
        return self.harness.draw(num, seed=seed)

    def synchronize(self) -> None:
        """Nothing is ever queued."""

    def tick(self, doing: str = "") -> None:
        """Nothing ever stops it, and nobody watches."""


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
    harness = Harness(preprocessor=preprocessor, splits=case.splits, settings=SETTINGS)
    cost = TrainingCost(
        device_name="contract",
        device_kind="cpu",
        num_devices=1,
        ledger={"train": 1.0},
        charged_s=1.0,
        peak_memory=(1 << 20, "contract"),
    )
    evaluated = EvaluatedModel(model, harness, cost)
    return Stage(
        harness=evaluated,
        model=model,
        config=config,
        data=case.info,
        result=evaluated.likelihood("test"),
        shown=evaluated.samples(),
        splits=case.splits,
    )


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
