"""What a model is measured in: its preprocessing, its data, the protocol and the device's numerics.

A harness belongs to a job, not to weights: the raw and the averaged model of one training are
scored in the same one, before anything is known of what the training will cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from flowbench.api.data import DataSplits, Split
from flowbench.api.likelihood import Likelihood, NoLikelihood
from flowbench.api.metrics import LikelihoodResult
from flowbench.api.models import DensityModel, GenerativeModel, InvertibleModel
from flowbench.api.protocol import MetricSettings
from flowbench.api.specs import SplitName
from flowbench.data.preprocess import Preprocessor
from flowbench.data.segments import Segments, first_segments, segments_of
from flowbench.data.target import TargetDensity
from flowbench.errors import ContractError
from flowbench.evaluation.likelihood import evaluate_likelihood
from flowbench.evaluation.loss import mean_loss

LOOK_EXAMPLES = 1000  # of validation, at most: they choose among weights and are no result
# Each use of noise has its own stream, so that one metric's draws do not move another's.
STREAMS = {"validation": 1, "test": 2, "train": 3, "samples": 4, "preprocess": 5, "draw": 6}


@dataclass(frozen=True, kw_only=True)
class Harness:
    """The setting in which weights of one model are evaluated and drawn from.

    Attributes:
        preprocessor: The harness's preprocessing, fitted.
        target: The density that models are fitted to; None for data.
        window: Length of segments, as ``training.window`` gives it.
        data_sha256: Content hash of the data; empty for data that no later run can recognise.
        tick: Called between pieces of work; may raise to stop.
        progress: Told how far the evaluation of the test split, or the drawing of samples, is.
        announce: Told what a metric is doing.
        numerics: Entered while a model is evaluated or drawn from; a worker needs none, as it keeps
            to float32 for its whole life.
    """

    preprocessor: Preprocessor
    splits: DataSplits
    settings: MetricSettings
    target: TargetDensity | None = None
    window: int | None = None
    data_sha256: str = ""
    data_dir: Path = Path()
    synchronize: Callable[[], None] = lambda: None
    tick: Callable[[], None] = lambda: None
    progress: Callable[[Literal["evaluating", "sampling"], float], None] = lambda *_: None
    announce: Callable[[str], None] = lambda _: None
    numerics: Callable[[], AbstractContextManager[Any]] = nullcontext

    def evaluate(
        self,
        model: GenerativeModel,
        split: SplitName,
        examples: Split[Any] | None = None,
        *,
        given: tuple[str, ...] | None = None,
    ) -> LikelihoodResult:
        """Evaluates the likelihood protocol.

        Args:
            model: The model, in eval mode.
            split: The split, which decides the number of draws and their noise.
            examples: Raw examples to evaluate in place of the split's own.
            given: Context inputs that it is conditioned on; None for the likelihood itself.

        Returns:
            The likelihood of every example.

        Raises:
            ContractError: The model has no likelihood.
        """
        kind = likelihood_kind(model)
        if kind is None or not isinstance(model, DensityModel):
            raise ContractError(f"{type(model).__name__} has no likelihood to evaluate")
        if given is not None:
            kind = kind.model_copy(update={"given": given})
        with self.numerics():
            return evaluate_likelihood(
                model,
                self.preprocessor,
                self.splits[split] if examples is None else examples,
                name=split,
                likelihood=kind,
                draws=self.draws(model, split),
                generator=noise_of(model, split, self.settings.seed),
                batch_size=self.settings.batch_size,
                tick=partial(self._passing, split),
            )

    def _passing(self, split: SplitName, part: float) -> None:
        self.tick()
        if split == "test":  # the others are looks of a second
            self.progress("evaluating", part)

    def score(self, model: GenerativeModel, part: float = 1.0) -> float:
        """Mean negative log-likelihood on validation, for choosing among weights of one model.

        Where there is a target, the divergence from it, less the log-normaliser: the mean over
        samples, always from the same noise, of their log-density less the target's.

        Args:
            model: The model with the weights to score, in eval mode.
            part: Part of what is looked at; see `looked_at`.

        Returns:
            Nats per example, or per segment of data of different lengths; infinite if any example's
            likelihood is not finite.

        Raises:
            ContractError: The model cannot be fitted to a target.
        """
        if self.target is not None:
            if not isinstance(model, InvertibleModel):
                raise ContractError(f"{type(model).__name__} has no inverse to fit a target with")
            mean = self._evidence(model, self.target, len(self.looked_at(part)))
        else:
            found = self.evaluate(model, "validation", self.looked_at(part))
            mean = float(found.log_prob.mean())
            if self.preprocessor.info.ragged:  # a segment's, or long examples would count for more
                mean = float((found.log_prob / found.num_dims).mean()) * model.data.num_dims
        # Never chosen: weights with a single impossible example have no likelihood at all.
        return -mean if math.isfinite(mean) else math.inf

    def loss(self, model: GenerativeModel, part: float = 1.0) -> float:
        """Mean training loss on validation, always with the same noise; see `mean_loss`.

        Args:
            model: The model with the weights to score, in eval mode.
            part: Part of what is looked at; see `looked_at`.
        """
        examples, segments = self.looked_at(part), self.segments
        if segments is not None:  # the first of each, as metrics see them
            rows = np.flatnonzero(segments.num_starts(examples.x.lengths))
            examples = segments.cut(examples, rows, np.zeros_like(rows))
        noise = noise_of(model, "validation", self.settings.seed)
        with self.numerics():
            return mean_loss(
                model, self.preprocessor, examples, target=self.target, generator=noise
            )

    @torch.no_grad()
    def _evidence(self, model: InvertibleModel, target: TargetDensity, num: int) -> float:
        """The evidence lower bound from samples of the model, in nats."""
        noise = noise_of(model, "validation", self.settings.seed)
        with self.numerics():
            latents = model.sample_base(num, temperature=1.0, generator=noise, device=noise.device)
            x, ladj = model.from_latent_with_ladj(latents)
            log_q = model.base_log_prob(latents) + ladj
            return float((target(x) - log_q).double().mean())

    @cached_property
    def segments(self) -> Segments | None:
        """The segments that models train on and draw; None for examples of one length."""
        return segments_of(self.preprocessor.info, self.window)

    @cached_property
    def shown(self) -> DataSplits:
        """The splits as metrics see them: arrays, whatever the lengths of examples."""
        return first_segments(self.splits, self.segments)

    def draws(self, model: GenerativeModel, split: SplitName) -> int:
        """Noise draws for each example of a split; a deterministic likelihood takes one."""
        kind, settings = likelihood_kind(model), self.settings
        if kind is None or not kind.stochastic:
            return 1
        return settings.eval_draws if split == "test" else settings.validation_draws

    def tests_per_look(self, model: GenerativeModel) -> float:
        """How many times the passes of a `score` the likelihood of the test split takes."""
        passes = len(self.splits.test) * self.draws(model, "test")
        return passes / (len(self.looked_at()) * self.draws(model, "validation"))

    def looked_at(self, part: float = 1.0) -> Split[Any]:
        """The validation examples of a look: of a large split `LOOK_EXAMPLES`, always the same.

        Args:
            part: Part of them; a larger one has all that are in a smaller one.
        """
        validation = self.splits["validation"]
        num = math.ceil(part * min(len(validation), LOOK_EXAMPLES))
        if num == len(validation):
            return validation
        chosen = np.random.default_rng(0).permutation(len(validation))[:num]
        # Sorted: rows of a memory map are read in the order in which they lie.
        return validation.take(np.sort(chosen))


def likelihood_kind(model: GenerativeModel) -> Likelihood | None:
    """What a model's likelihood is; None for a model without one."""
    kind = model.config.likelihood(model.data) if isinstance(model, DensityModel) else None
    return None if isinstance(kind, NoLikelihood) else kind


def noise_of(model: GenerativeModel, stream: str, seed: int) -> torch.Generator:
    """A source of noise on the device of a model.

    Args:
        model: The model; one without parameters and buffers is on the CPU.
        stream: What the noise is for, of `STREAMS`.
    """
    parameters = next(iter(model.parameters()), None)
    # A model that is fitted, and not trained, has buffers alone.
    anchor = parameters if parameters is not None else next(iter(model.buffers()), None)
    device = anchor.device if anchor is not None else torch.device("cpu")
    # A prime apart, so that the seeds of one stream are not those of the next one for a seed
    # nearby.
    return torch.Generator(device).manual_seed(1_000_003 * STREAMS[stream] + seed)
