"""A trained model in its harness, and the metrics that are computed on it."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.config import (
    Likelihood,
    MetricSettings,
    ModelConfig,
    NoLikelihood,
    SampleSettings,
    sampling_options,
)
from flowbench.api.data import DataSplits, Split
from flowbench.api.metrics import LikelihoodResult, Samples
from flowbench.api.models import (
    DensityModel,
    GenerativeModel,
    InvertibleModel,
    without_info,
)
from flowbench.api.progress import progress_to
from flowbench.api.specs import DatasetInfo, MetricSpec, MetricValue, SplitName
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ContractError
from flowbench.evaluation.likelihood import evaluate_likelihood

# Each use of noise has its own stream, so that one metric's draws do not move another's.
STREAMS = {"validation": 1, "test": 2, "train": 3, "samples": 4, "preprocess": 5, "draw": 6}

Compute = Callable[["EvaluatedModel", DataSplits, MetricSettings], list[MetricValue]]


class EvaluatedModel:
    """A trained model with its preprocessing, data and protocol; a `flowbench.api.TrainedModel`.

    Args:
        model: The model, in eval mode on its device.
        preprocessor: The harness's preprocessing, fitted.
        splits: The data.
        settings: The protocol.
        data_sha256: Content hash of the data; empty for data that no later run can recognise.
        data_dir: Folder of prepared data.
        synchronize: Waits for the device.
        tick: Called between pieces of work; may raise to stop.
        progress: Told the part of the protocol's samples that is drawn.
        announce: Told what a metric is doing.
        numerics: Entered while the model is evaluated or drawn from; a worker needs none, as it
            keeps to float32 for its whole life.
    """

    weights: Literal["raw", "ema"] | None = None
    device_name: str
    device_kind: str
    num_devices: int
    ledger: Mapping[str, float]
    charged_s: float
    peak_memory_bytes: int | None
    peak_memory_source: str

    def __init__(
        self,
        model: GenerativeModel,
        preprocessor: Preprocessor,
        splits: DataSplits,
        settings: MetricSettings,
        *,
        data_sha256: str = "",
        data_dir: Path = Path(),
        synchronize: Callable[[], None],
        tick: Callable[[], None] = lambda: None,
        progress: Callable[[float], None] = lambda _: None,
        announce: Callable[[str], None] = lambda _: None,
        numerics: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.model: GenerativeModel = model
        self.config: ModelConfig = model.config
        self.data: DatasetInfo = model.data
        self.data_sha256, self.data_dir = data_sha256, data_dir
        self._preprocessor = preprocessor
        self._splits = splits
        self._settings = settings
        self._synchronize = synchronize
        self._tick, self._progress, self._announce = tick, progress, announce
        self._numerics = numerics
        self._likelihoods: dict[tuple[SplitName, tuple[str, ...] | None], LikelihoodResult] = {}
        self._samples: dict[str, Samples] = {}

    def describe_training(
        self,
        *,
        device_name: str,
        device_kind: str,
        num_devices: int,
        ledger: Mapping[str, float],
        charged_s: float,
        peak_memory: tuple[int | None, str],
    ) -> None:
        """Notes what training took, for the metrics that report it.

        Args:
            device_name: Device model.
            device_kind: ``cpu``, ``cuda`` or ``mps``.
            num_devices: Devices that were held.
            ledger: Seconds of each part of the clock.
            charged_s: Seconds charged to the budget.
            peak_memory: Most bytes held in training, and what they count.
        """
        self.device_name, self.device_kind, self.num_devices = device_name, device_kind, num_devices
        self.ledger, self.charged_s = dict(ledger), charged_s
        self.peak_memory_bytes, self.peak_memory_source = peak_memory

    @property
    def likelihood_kind(self) -> Likelihood | None:
        """What the likelihood is; None for a model without one."""
        if not isinstance(self.model, DensityModel):
            return None
        kind = self.config.likelihood(self.data)
        return None if isinstance(kind, NoLikelihood) else kind

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
            names = ", ".join(given)
            raise ContractError(f"{type(self.model).__name__} has no likelihood given {names}")
        if (split, given) not in self._likelihoods:
            self._likelihoods[split, given] = self._evaluate(self.model, split, given=given)
        return self._likelihoods[split, given]

    def score(self, model: GenerativeModel) -> float:
        """Mean negative log-likelihood on validation, for choosing among weights of one model.

        Args:
            model: The model with the weights to score.

        Returns:
            Nats per example; infinite if any example's likelihood is not finite.
        """
        mean = float(self._evaluate(model, "validation").log_prob.mean())
        return -mean if math.isfinite(mean) else math.inf

    def log_prob(
        self, x: NDArray[Any], context: Mapping[str, NDArray[Any]] | None = None
    ) -> NDArray[np.float64]:
        """Evaluates the likelihood protocol on any raw values, as on the test split.

        Args:
            x: Raw values, shape (N, *event_shape).
            context: Inputs that it is conditioned on, each of shape (N, *context_shape); None for
                the likelihood itself.

        Returns:
            Log-likelihoods in nats, shape (N,).

        Raises:
            ContractError: The model has no likelihood, or none given that.
        """
        given = None if context is None else tuple(sorted(context))
        known = {tuple(sorted(names)) for names in self.config.also_given(self.data)}
        if given is not None and given not in known:
            names = ", ".join(given)
            raise ContractError(f"{type(self.model).__name__} has no likelihood given {names}")
        examples = Split(x=x, context=context or {})
        return self._evaluate(self.model, "test", examples, given=given).log_prob

    def _evaluate(
        self,
        model: GenerativeModel,
        split: SplitName,
        examples: Split | None = None,
        *,
        given: tuple[str, ...] | None = None,
    ) -> LikelihoodResult:
        kind = self.likelihood_kind
        if kind is None or not isinstance(model, DensityModel):
            raise ContractError(f"{type(model).__name__} has no likelihood to evaluate")
        if given is not None:
            kind = kind.model_copy(update={"given": given})
        settings = self._settings
        with self._numerics():
            return evaluate_likelihood(
                model,
                self._preprocessor,
                self._splits[split] if examples is None else examples,
                name=split,
                likelihood=kind,
                draws=settings.eval_draws if split == "test" else settings.validation_draws,
                generator=self._generator(split, settings.seed),
                batch_size=settings.batch_size,
                tick=self._tick,
            )

    def samples(self, num: int | None = None, settings: SampleSettings | None = None) -> Samples:
        """Draws samples on the raw scale, once for each number and settings.

        Args:
            num: How many; None takes the protocol's number.
            settings: How; None takes the protocol's settings.

        Returns:
            The samples; labels, where the data have any, follow the training frequencies.
        """
        num = self._settings.num_samples if num is None else num
        settings = self._settings.sample if settings is None else settings
        key = f"{num} {settings.model_dump_json()}"
        if key not in self._samples:
            self._samples[key] = self._draw_samples(num, settings)
        return self._samples[key]

    def preprocess(self, x: NDArray[Any], *, seed: int) -> Tensor:
        """Maps raw values to the model's space.

        Args:
            x: Raw values, shape (N, *event_shape).
            seed: Seed of the noise.

        Returns:
            Values in the model's space, on its device.
        """
        generator = self._generator("preprocess", seed)
        raw = torch.from_numpy(np.ascontiguousarray(x)).to(generator.device)
        return self._preprocessor.forward(raw, generator)[0]

    def draw(self, num: int, *, seed: int) -> Tensor:
        """Draws samples in the model's space, and waits for the device.

        Args:
            num: Number of samples.
            seed: Seed of the noise.

        Returns:
            Samples, shape (num, *event_shape).
        """
        labels = np.random.default_rng(seed)
        generator = self._generator("draw", seed)
        y = self._sample(num, self._settings.sample, generator, labels)[0]
        self.synchronize()
        return y

    def synchronize(self) -> None:
        """Waits until the device has finished its work."""
        self._synchronize()

    def tick(self, doing: str = "") -> None:
        """To be called between pieces of long work; stops a job that was asked to stop.

        Args:
            doing: What is being done, in a few words.
        """
        self._tick()
        if doing:
            self._announce(doing)

    def _generator(self, stream: str, seed: int) -> torch.Generator:
        parameters = next(iter(self.model.parameters()), None)
        buffers = next(iter(self.model.buffers()), None)
        anchor = parameters if parameters is not None else buffers
        device = anchor.device if anchor is not None else torch.device("cpu")
        return torch.Generator(device).manual_seed(1_000_003 * STREAMS[stream] + seed)

    @torch.no_grad()
    def _sample(
        self,
        num: int,
        settings: SampleSettings,
        generator: torch.Generator,
        picks: np.random.Generator,
    ) -> tuple[Tensor, dict[str, NDArray[Any]]]:
        train = self._splits.train
        rows = picks.integers(len(train), size=num)  # labels follow the training frequencies
        context = {name: values[rows] for name, values in train.context.items()}
        tensors = {k: torch.from_numpy(v).to(generator.device) for k, v in context.items()}
        options = sampling_options(self.config, settings, self.data)
        with self._numerics():
            returned = self.model.sample(
                num, tensors or None, settings=options, generator=generator
            )
        y = without_info("sample", self.model, returned)
        expected = (num, *self.data.event_shape)
        if tuple(y.shape) != expected:
            raise ContractError(
                f"sample of {type(self.model).__name__} returned shape {tuple(y.shape)}; "
                f"expected {expected}"
            )
        return y, context

    def _sampling_progress(self, before: float, share: float) -> Callable[[float], None]:
        """Passes on how much of a batch is drawn, as a part of all samples."""

        def report(part: float) -> None:
            self._tick()
            self._progress(before + part * share)

        report(0.0)
        return report

    def _draw_samples(self, num: int, settings: SampleSettings) -> Samples:
        generator = self._generator("samples", self._settings.seed)
        picks = np.random.default_rng(self._settings.seed)
        size = self._settings.batch_size
        raws, contexts, clipped, nonfinite = [], [], 0, 0
        for start in range(0, num, size):
            size = min(size, num - start)
            with progress_to(self._sampling_progress(start / num, size / num)):
                y, context = self._sample(size, settings, generator, picks)
            restored = self._preprocessor.inverse(y)
            raws.append(restored.raw.cpu().numpy())
            contexts.append(context)
            clipped += restored.num_clipped
            nonfinite += restored.num_nonfinite
        return Samples(
            x=np.concatenate(raws),
            context={k: np.concatenate([c[k] for c in contexts]) for k in contexts[0]},
            num_clipped=clipped,
            num_nonfinite=nonfinite,
            temperature=settings.temperature,
            seed=self._settings.seed,
        )


def not_applicable(
    spec: MetricSpec, data: DatasetInfo, model: type[GenerativeModel] | None = None
) -> str | None:
    """Why a metric is not defined for a dataset or a kind of model.

    Args:
        spec: The metric.
        data: The dataset.
        model: The model's class, where it is known already.

    Returns:
        The reason; None if it applies.
    """
    if data.modality not in spec.modalities:
        return f"{spec.name} is defined for {', '.join(sorted(spec.modalities))} data"
    kind = "continuous" if data.levels is None else "discrete"
    if spec.data not in (None, kind):
        return f"{spec.name} is defined for {spec.data} data, {data.name} is {kind}"
    if spec.num_dims not in (None, data.num_dims):
        return f"{spec.name} is defined for {spec.num_dims} dims, {data.name} has {data.num_dims}"
    if spec.datasets is not None and data.name not in spec.datasets:
        return f"{spec.name} is defined for {', '.join(sorted(spec.datasets))}"
    if "label" in spec.needs and data.num_classes is None:
        return f"{spec.name} is defined for data with class labels, {data.name} has none"
    if model is None:
        return None
    if "likelihood" in spec.needs and not issubclass(model, DensityModel):
        return f"{model.__name__} has no likelihood"
    if "inverse" in spec.needs and not issubclass(model, InvertibleModel):
        return f"{model.__name__} has no inverse"
    return None


def measure(
    spec: MetricSpec,
    compute: Compute,
    trained: EvaluatedModel,
    splits: DataSplits,
    settings: MetricSettings,
    exclusive: Callable[[], AbstractContextManager[Any]],
) -> tuple[list[MetricValue], str | None]:
    """Computes one metric; whatever goes wrong becomes a value that says so.

    Args:
        spec: The metric.
        compute: The function that computes it.
        trained: The trained model.
        splits: The data.
        settings: The protocol.
        exclusive: Pauses the machine's other jobs, for metrics that are timed.

    Returns:
        The values, and the traceback of a failure for the log.
    """
    reason = not_applicable(spec, trained.data, type(trained.model))
    if reason is not None:
        return [MetricValue.unavailable(spec, reason)], None
    try:
        if spec.exclusive:
            with exclusive():
                values = compute(trained, splits, settings)
        else:
            values = compute(trained, splits, settings)
        return [_finite(value) for value in values], None
    except Exception as exc:  # a border: one failed metric must not cost the others
        text = " ".join(f"{type(exc).__name__}: {exc}".split())
        failed = MetricValue(
            name=spec.name,
            value=None,
            unit=spec.unit,
            direction=spec.direction,
            status="failed",
            reason=text[:500],
        )
        return [failed], traceback.format_exc()


def _finite(given: MetricValue) -> MetricValue:
    """NaN and infinity are never stored: the value is None and the status says why."""
    if given.value is None:
        return given
    if not math.isfinite(given.value):
        reason = f"the value is {given.value}"
        return replace(given, value=None, stderr=None, status="failed", reason=reason)
    bad_error = given.stderr is not None and not math.isfinite(given.stderr)
    return replace(given, stderr=None) if bad_error else given


def requested_metrics(
    specs: Mapping[str, MetricSpec], names: Iterable[str] | None, data: DatasetInfo
) -> list[str]:
    """The metrics of a job: those named, or the defaults that are defined for its data.

    Args:
        specs: All metrics by name.
        names: What the suite names; None takes all defaults that apply.
        data: The dataset.

    Returns:
        Metric names, in order of registration or as named.
    """
    if names is not None:
        return list(names)
    return [
        name for name, spec in specs.items() if spec.default and not_applicable(spec, data) is None
    ]
