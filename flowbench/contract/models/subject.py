"""A configured model on a case, built afresh for every check that asks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from flowbench.api.config import ModelConfig
from flowbench.api.likelihood import Likelihood, NoLikelihood
from flowbench.api.models import (
    Batch,
    DensityModel,
    GenerativeModel,
    InvertibleModel,
    Step,
    split_info,
)
from flowbench.api.protocol import SamplingOptions
from flowbench.api.specs import DatasetInfo
from flowbench.contract.checking.cases import Case
from flowbench.contract.checking.checks import DoesNotApplyError
from flowbench.contract.models.brief_training import train
from flowbench.data.preprocess import Preprocessor
from flowbench.registry import Registry
from flowbench.registry.configs import ConfiguredModel
from flowbench.training.seeds import seed_globals

MadeT = TypeVar("MadeT")

# Noise on a weight is this over the root of its fan-in: enough that no zero-initialised layer is
# the identity any more, and so little that a deep flow stays well conditioned.
PERTURBATION = 0.2
PERTURBATION_SEED, BUILD_SEED, INPUT_SEED, INIT_SEED = 11, 12, 13, 14
NUM_STEPS, TRAINING_LIMIT_S = 200, 1.0  # so that little is left as it was at the start
INIT_EXAMPLES = 64  # few, and enough for the spread of each channel


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Preprocessed test examples, and what they are conditioned on (None for nothing)."""

    x: Tensor
    context: Mapping[str, Tensor] | None

    def rows(self, index: Any) -> Inputs:
        """Some of the examples."""
        context = self.context
        chosen = None if context is None else {k: v[index] for k, v in context.items()}
        return Inputs(x=self.x[index], context=chosen)


@dataclass(frozen=True, kw_only=True)
class ModelSubject:
    """What the checks of models look at.

    Attributes:
        registry: The plugins, for resolving presets.
        configured: The model with its preset.
    """

    registry: Registry
    configured: ConfiguredModel
    case: Case
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, name: str, make: Callable[[], MadeT]) -> MadeT:
        """Something costly that several checks look at, and that none of them changes.

        Args:
            make: Makes it.

        Returns:
            What the first call made.
        """
        if name not in self._made:
            self._made[name] = make()
        made: MadeT = self._made[name]
        return made

    @property
    def info(self) -> DatasetInfo:
        """Facts of the data."""
        return self.case.info

    @cached_property
    def config(self) -> ModelConfig:
        """The configuration, never compiled: that would take longer than all the checks."""
        config = self.configured.config
        training = config.training.model_copy(update={"compile": False})
        return config.model_copy(update={"training": training})

    @cached_property
    def model_class(self) -> type[GenerativeModel]:
        """The model's class."""
        entry = self.configured.entry
        cls: type[GenerativeModel] = entry.resolve(entry.spec.model)
        return cls

    @cached_property
    def kind(self) -> Likelihood | None:
        """What the model says its likelihood is; None without one."""
        if not issubclass(self.model_class, DensityModel):
            return None
        kind = self.config.likelihood(self.info)
        return None if isinstance(kind, NoLikelihood) else kind

    @property
    def is_estimated(self) -> bool:
        """Whether a draw of the likelihood is an estimate of it, and no function of its parts."""
        return self.kind is not None and self.kind.noise == "estimates"

    @property
    def is_discrete(self) -> bool:
        """Whether the model gets integers."""
        return self.config.preprocessing.support == "discrete"

    def preprocessor(self, dtype: torch.dtype = torch.float32) -> Preprocessor:
        """The harness's preprocessing, fitted.

        Args:
            dtype: Of the values that it gives.

        Returns:
            The preprocessor.
        """
        preprocessor = Preprocessor(self.config.preprocessing, self.info, dtype=dtype)
        preprocessor.fit(self.case.splits.train)
        return preprocessor

    def inputs(
        self,
        num: int,
        dtype: torch.dtype = torch.float32,
        *,
        of: Literal["train", "test", "fresh"] = "test",
    ) -> Inputs:
        """The first examples of a split, in the model's space.

        Args:
            num: How many.
            dtype: Of the values.
            of: ``fresh`` examples are in no split, and there are as many as of train.

        Returns:
            The examples, with the context that the likelihood is given.
        """
        split = self.case.fresh if of == "fresh" else self.case.splits[of]
        raw = torch.from_numpy(split.x[:num])
        # Always float32 preprocessing: checks that compare dtypes must see the same values.
        x, _ = self.preprocessor().forward(raw, generator(INPUT_SEED))
        context = {name: torch.from_numpy(v[:num]) for name, v in split.context.items()}
        context = {k: v.to(dtype) if v.is_floating_point() else v for k, v in context.items()}
        return Inputs(x=x.to(dtype) if x.is_floating_point() else x, context=self.given(context))

    def given(self, context: Mapping[str, Tensor] | None) -> Mapping[str, Tensor] | None:
        """What of a context the likelihood is conditioned on; None for nothing."""
        names = () if self.kind is None else self.kind.given
        return {name: (context or {})[name] for name in names} or None

    def batch(self, num: int) -> Batch:
        """A training batch."""
        split = self.case.splits.train
        x, _ = self.preprocessor().forward(torch.from_numpy(split.x[:num]), generator(INPUT_SEED))
        context = {name: torch.from_numpy(v[:num]) for name, v in split.context.items()}
        return Batch(x=x, context=context)

    def sample_context(self, num: int) -> dict[str, Tensor] | None:
        """What samples are conditioned on, as the harness gives it."""
        split = self.case.splits.train
        rows = np.arange(num) % len(split)  # more samples than examples begin anew
        return {k: torch.from_numpy(v[rows]) for k, v in split.context.items()} or None

    def construct(self, seed: int = BUILD_SEED) -> GenerativeModel:
        """The model as its constructor leaves it."""
        seed_globals(seed)
        return self.model_class(self.config, self.info)

    def build_anew(self, seed: int = BUILD_SEED) -> GenerativeModel:
        """The model after data-dependent initialisation, in eval mode."""
        model = self.construct(seed)
        self.initialize(model)
        return model

    def build(self) -> GenerativeModel:
        """The same as a copy, which takes a fraction of the time."""
        return self._copy_of("built", self.build_anew)

    def _copy_of(self, name: str, make: Callable[[], GenerativeModel]) -> GenerativeModel:
        original = self.once(name, make)
        # As after a build: what draws from the global generators, as dropout does, draws the same.
        seed_globals(BUILD_SEED)
        return copy.deepcopy(original)

    def initialize(self, model: GenerativeModel) -> None:
        """Data-dependent initialisation, as the harness does it; leaves the model in eval mode."""
        with torch.no_grad():
            model.initialize(self.batch(INIT_EXAMPLES), generator=generator(INIT_SEED))
        model.eval()

    def perturbed(self, dtype: torch.dtype = torch.float32) -> GenerativeModel:
        """The model with noise on every weight, so that nothing is trivial at its start.

        Args:
            dtype: What it is cast to afterwards.

        Returns:
            The model in eval mode.
        """
        return self._copy_of("perturbed", self._perturbed).to(dtype).eval()

    def _perturbed(self) -> GenerativeModel:
        model = self.build()
        noise = generator(PERTURBATION_SEED)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad and parameter.is_floating_point():
                    fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 16
                    draw = torch.randn(parameter.shape, generator=noise)
                    parameter.add_(PERTURBATION / fan_in**0.5 * draw.to(parameter.dtype))
            for group in model.optimizer_groups():
                model.after_step(step(group))  # projections, such as onto Lipschitz bounds
        return model

    def perturbed_density(self, dtype: torch.dtype = torch.float32) -> DensityModel:
        """`perturbed`, for checks that need a density.

        Raises:
            DoesNotApplyError: The model has none.
        """
        return self.with_likelihood(self.perturbed(dtype))[0]

    def with_likelihood(self, model: GenerativeModel) -> tuple[DensityModel, Likelihood]:
        """A model that is known to have a density, and what kind it is.

        Raises:
            DoesNotApplyError: It has none.
        """
        if self.kind is None or not isinstance(model, DensityModel):
            raise DoesNotApplyError("the model has no likelihood")
        return model, self.kind

    def perturbed_flow(self, dtype: torch.dtype = torch.float32) -> InvertibleModel:
        """`perturbed`, for checks that need an inverse.

        Raises:
            DoesNotApplyError: The model has none.
        """
        return self.with_inverse(self.perturbed(dtype))

    def with_inverse(self, model: GenerativeModel) -> InvertibleModel:
        """A model that is known to have an inverse.

        Raises:
            DoesNotApplyError: It has none.
        """
        if not isinstance(model, InvertibleModel):
            raise DoesNotApplyError("the model has no latents and no inverse")
        return model

    def trained(self) -> GenerativeModel:
        """The model after some hundred steps of the harness's own loop, in eval mode; one for all.

        None of the checks changes it.
        """
        return self.once("trained", lambda: self.trained_for(NUM_STEPS, TRAINING_LIMIT_S))

    def trained_for(self, num_steps: int, limit_s: float) -> GenerativeModel:
        """The model after some steps of the harness's own training loop, in eval mode.

        Args:
            num_steps: Optimizer steps.
            limit_s: Seconds after which training ends all the same.

        Returns:
            The model.
        """
        model = self.build()
        train(model, self.preprocessor(), self.case.splits.train, num_steps, limit_s)
        return model.eval()


def generator(seed: int) -> torch.Generator:
    """A seeded source of noise on the CPU.

    Returns:
        The generator.
    """
    return torch.Generator().manual_seed(seed)


def step(group: str, seed: int = 0) -> Step:
    """The first step of training.

    Args:
        seed: Seed of its noise.

    Returns:
        The step.
    """
    progress = torch.zeros(())
    return Step(progress=progress, phase=0, group=group, generator=generator(seed), seed=seed)


def rows_of(batch: Batch, index: Any) -> Batch:
    """Some of the examples of a batch."""
    context = {name: values[index] for name, values in batch.context.items()}
    return Batch(x=batch.x[index], context=context)


@torch.no_grad()
def log_probs(model: DensityModel, inputs: Inputs, noise: torch.Generator | int = 0) -> Tensor:
    """A model's log-weights, shape (B,), without what it says beside them.

    Args:
        noise: Source of the noise, or its seed.
    """
    source = generator(noise) if isinstance(noise, int) else noise
    return split_info(model.log_prob(inputs.x, inputs.context, generator=source))[0]


def loss(model: GenerativeModel, batch: Batch, at: Step) -> Tensor:
    """A model's loss, shape ()."""
    return split_info(model.loss(batch, at))[0]


@torch.no_grad()
def draw(
    subject: ModelSubject,
    model: GenerativeModel,
    num: int,
    seed: int = 0,
    options: SamplingOptions | None = None,
) -> Tensor:
    """Samples (B, *event_shape), conditioned as the harness does it.

    Args:
        subject: Gives the context.
        num: Number B of samples.
        seed: Of the noise.
        options: How; None takes the model's defaults.
    """
    settings = subject.config.sampling() if options is None else options
    context = subject.sample_context(num)
    drawn = model.sample(num, context, settings=settings, generator=generator(seed))
    return split_info(drawn)[0]


def outputs(
    subject: ModelSubject, model: GenerativeModel, num: int, seed: int = 0
) -> dict[str, Tensor]:
    """What the harness asks of a trained model: samples, and log-weights of test examples."""
    results = {"sample": draw(subject, model, num, seed)}
    if isinstance(model, DensityModel):
        results["log_prob"] = log_probs(model, subject.inputs(num), seed)
    return results
