"""One job, start to end: data -> model -> train -> evaluate."""

from __future__ import annotations

import importlib
import io
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from flowbench.api.config import MetricSettings
from flowbench.api.models import Batch, GenerativeModel
from flowbench.api.specs import DatasetInfo, MetricSpec, MetricValue
from flowbench.api.units import bits_per_dim
from flowbench.data.batches import TrainBatches
from flowbench.data.library.splits import LoadedData
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import DataError
from flowbench.evaluation.evaluate import EvaluatedModel, measure
from flowbench.provenance import code_sha256, processor_name, provenance
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.registry.build import build_model, load_dataset
from flowbench.runner.attempt import (
    CHECKPOINT,
    CURVES,
    GRID,
    LIKELIHOODS,
    MODEL,
    SAMPLES,
    AttemptDir,
    WorkOrder,
)
from flowbench.runner.grid import sample_grid
from flowbench.runner.pulse import Pulse
from flowbench.runner.turnstile import Turnstile
from flowbench.store.records import CurvePoint, MeasurementRow
from flowbench.training.budget import Budget
from flowbench.training.checkpoint import load_checkpoint, save_checkpoint
from flowbench.training.clock import Clock
from flowbench.training.device import Device
from flowbench.training.loop import Preempted, Trainer, ValidationPoint

CHECKPOINT_EVERY_S = 300.0
PAUSE_CHECK_EVERY_S = 0.25


@dataclass
class Outcome:
    """What an attempt's record says beyond its order, its clock and its status."""

    device_kind: str | None = None
    device_name: str | None = None
    num_devices: int = 1
    steps: int = 0
    examples: int = 0
    skipped_steps: int = 0
    num_parameters: int | None = None
    weights: Literal["raw", "ema"] | None = None
    best_step: int | None = None
    likelihood: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    code_sha256: str | None = None
    model_code_sha256: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    measurements: tuple[MeasurementRow, ...] = ()


class Execution:
    """Runs a work order; ``outcome`` holds what is known so far, however it ends.

    Args:
        order: What to do.
        directory: Where to write.
        clock: The ledger.
        turnstile: The machine's turnstile.
        pulse: The heartbeat.
        stop: Set when the process is asked to stop.
    """

    def __init__(
        self,
        order: WorkOrder,
        directory: AttemptDir,
        clock: Clock,
        turnstile: Turnstile,
        pulse: Pulse,
        stop: threading.Event,
    ) -> None:
        self.outcome = Outcome()
        self._order, self._directory, self._clock = order, directory, clock
        self._turnstile, self._pulse, self._stop = turnstile, pulse, stop
        self._job = order.job
        self._resume = None if order.resume is None else AttemptDir(Path(order.resume))
        self._next_look = 0.0
        self._next_save = time.monotonic() + CHECKPOINT_EVERY_S

    def run(self) -> None:
        """Does the whole job.

        Raises:
            Preempted: It was asked to stop.
            DataError: The data are not those that the job was planned with.
        """
        torch.set_num_threads(self._order.num_threads)
        importlib.import_module("torch._dynamo")  # the first optimizer imports it: two seconds
        registry = load_registry(plugin_selection(self._order))
        data = load_dataset(registry, self._job.dataset, self._order.data_dir)
        if data.sha256 != self._job.dataset_sha256:
            raise DataError(f"{self._job.dataset!r} changed on disk since the job was planned")
        device = self._describe(registry, data.info)
        with device.numerics("float32"):  # of all but training steps, which choose their own
            self._run_on(device, registry, data)

    def _run_on(self, device: Device, registry: Registry, data: LoadedData) -> None:
        with self._clock.timing("setup"):
            model, preprocessor = self._build(registry, data, device)
        self._clock.switch("other")
        trained = EvaluatedModel(
            model,
            preprocessor,
            data.splits,
            MetricSettings.model_validate(self._job.protocol),
            data_sha256=data.sha256,
            data_dir=Path(self._order.data_dir),
            synchronize=device.synchronize,
            tick=self._breathe,
            progress=self._note_samples,
            announce=self._announce,
        )
        self._describe_model(trained)
        self._train(trained, preprocessor, data, device)
        trained.weights = self.outcome.weights
        with self._clock.timing("eval"):
            self._measure(registry, trained, data)

    # --- set-up -----------------------------------------------------------------------------------

    def _describe(self, registry: Registry, info: DatasetInfo) -> Device:
        device = Device.select(self._order.device, processor_name())
        model = registry.model(self._job.model).spec.model
        modules = [model, registry.dataset(self._job.dataset).source.module]
        modules += [registry.metric(name).spec.compute for name in self._order.metrics]
        sources = {p.source for p in registry.plugins if p.cause is None}
        self.outcome.device_kind, self.outcome.device_name = device.kind, device.name
        self.outcome.data = data_facts(info)
        self.outcome.code_sha256 = code_sha256(modules)
        self.outcome.model_code_sha256 = code_sha256([model])
        versions = ((source.distribution, source.version) for source in sources)
        facts = provenance(list(self._order.command), versions)
        self.outcome.provenance = {**facts, "driver": device.driver()}
        return device

    def _build(
        self, registry: Registry, data: LoadedData, device: Device
    ) -> tuple[GenerativeModel, Preprocessor]:
        self._pulse.doing = "building the model"
        torch.manual_seed(self._job.seed)
        model = build_model(registry, self._job.model, self._job.config, data.info)
        model = model.to(device.torch_device)
        preprocessor = Preprocessor(model.config.preprocessing, data.info, device.torch_device)
        if self._resume is None:
            preprocessor.fit(data.splits.train)
            self._initialize(model, preprocessor, data, device)
        return model, preprocessor

    def _initialize(
        self, model: GenerativeModel, preprocessor: Preprocessor, data: LoadedData, device: Device
    ) -> None:
        train = data.splits.train
        wanted = model.config.training.init_examples
        size = len(train) if wanted is None else min(wanted, len(train))
        raw, context = TrainBatches(train, size, self._job.seed, device.torch_device).next()
        generator = device.generator(self._job.seed)
        x, _ = preprocessor.forward(raw, generator)
        with torch.no_grad():
            model.initialize(Batch(x=x, context=context), generator=generator)

    def _describe_model(self, trained: EvaluatedModel) -> None:
        kind = trained.likelihood_kind
        self.outcome.num_parameters = trained.model.num_parameters()
        self.outcome.likelihood = None if kind is None else kind.model_dump(mode="json")

    # --- training ---------------------------------------------------------------------------------

    def _train(
        self,
        trained: EvaluatedModel,
        preprocessor: Preprocessor,
        data: LoadedData,
        device: Device,
    ) -> None:
        if self._resume is not None and (self._resume.path / MODEL).exists():
            self._take_trained(trained, preprocessor, self._resume)
            return
        with self._clock.timing("setup"):
            trainer = self._trainer(trained, preprocessor, data, device)
        self._take_up(trainer)
        self._pulse.doing = "training"
        device.reset_peak_memory()
        try:
            trainer.run()
        finally:
            self._count(trainer)
        self.outcome.weights, self.outcome.best_step = trainer.load_best()
        self._keep_trained(trained, preprocessor, device)

    def _trainer(
        self,
        trained: EvaluatedModel,
        preprocessor: Preprocessor,
        data: LoadedData,
        device: Device,
    ) -> Trainer:
        training = trained.config.training

        def stream(seed: int) -> TrainBatches:
            place, augment = device.torch_device, training.augment
            return TrainBatches(data.splits.train, training.batch_size, seed, place, augment)

        return Trainer(
            trained.model,
            preprocessor,
            stream,
            budget=Budget.parse(self._job.budget),
            clock=self._clock,
            device=device,
            seed=self._job.seed,
            validate=trained.score if trained.likelihood_kind else None,
            observer=_Watch(self, trained),
        )

    def _take_up(self, trainer: Trainer) -> None:
        if self._resume is None:
            return
        with self._clock.timing("checkpoint"):
            trainer.load_state_dict(load_checkpoint(self._resume.path / CHECKPOINT))
            shutil.copyfile(self._resume.path / CURVES, self._directory.path / CURVES)

    def _count(self, trainer: Trainer) -> None:
        self.outcome.steps, self.outcome.examples = trainer.num_steps, trainer.num_examples
        self.outcome.skipped_steps = trainer.num_skipped

    def _keep_trained(
        self, trained: EvaluatedModel, preprocessor: Preprocessor, device: Device
    ) -> None:
        """Writes the trained weights with what they cost, so that evaluation can be repeated."""
        outcome = self.outcome
        cost = {
            "device_name": device.name,
            "device_kind": device.kind,
            "num_devices": outcome.num_devices,
            "ledger": self._clock.ledger(),
            "charged_s": self._clock.charged_s,
            "peak_memory": device.peak_memory(),
        }
        with self._clock.timing("checkpoint"):
            counts = {
                name: getattr(outcome, name)
                for name in ("steps", "examples", "skipped_steps", "weights", "best_step")
            }
            state = {
                "model": trained.model.state_dict(),
                "preprocessor": preprocessor.state_dict(),
                "cost": cost,
                "counts": counts,
            }
            save_checkpoint(self._directory.path / MODEL, state)
        trained.model.eval()
        trained.describe_training(**cost)  # type: ignore[arg-type]

    def _take_trained(
        self, trained: EvaluatedModel, preprocessor: Preprocessor, source: AttemptDir
    ) -> None:
        """Goes on with the weights of an earlier attempt, whose training is charged to this one."""
        with self._clock.timing("checkpoint"):
            state = load_checkpoint(source.path / MODEL)
            trained.model.load_state_dict(state["model"])
            preprocessor.load_state_dict(state["preprocessor"])
            for name in (MODEL, CURVES):
                if (source.path / name).exists():
                    shutil.copyfile(source.path / name, self._directory.path / name)
        self._clock.carry(state["cost"]["ledger"])
        for name, value in state["counts"].items():
            setattr(self.outcome, name, value)
        trained.model.eval()
        trained.describe_training(**state["cost"])

    # --- evaluation -------------------------------------------------------------------------------

    def _measure(self, registry: Registry, trained: EvaluatedModel, data: LoadedData) -> None:
        settings = MetricSettings.model_validate(self._job.protocol)
        for name in self._order.metrics:
            self._breathe()
            self._pulse.doing = f"measuring {name}"
            entry = registry.metric(name)
            compute = entry.resolve(entry.spec.compute)
            values, failure = measure(
                entry.spec, compute, trained, data.splits, settings, self._turnstile.alone
            )
            self.outcome.measurements += tuple(measurement_row(entry.spec, v) for v in values)
            if failure is not None:
                print(f"metric {name} failed:\n{failure}", file=sys.stderr)
        self._keep_likelihoods(trained)
        self._keep_samples(trained, data)

    def _keep_likelihoods(self, trained: EvaluatedModel) -> None:
        if trained.likelihood_kind is None:
            return
        self._pulse.doing = "keeping likelihoods"
        result = trained.likelihood("test")
        self.outcome.likelihood = result.likelihood.model_dump(mode="json")
        self._write_arrays(LIKELIHOODS, test=result.log_prob, test_elbo=result.elbo)

    def _keep_samples(self, trained: EvaluatedModel, data: LoadedData) -> None:
        self._pulse.doing = "keeping samples"
        samples = trained.samples()
        self._write_arrays(SAMPLES, x=samples.x, **samples.context)
        grid = sample_grid(samples.x, data)
        if grid is not None:
            self._directory.write(GRID, grid)

    def _write_arrays(self, name: str, **arrays: Any) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        self._directory.write(name, buffer.getvalue())

    # --- being watched ----------------------------------------------------------------------------

    def _breathe(self) -> None:
        """Between two pieces of work: stop if asked to, pause if another job measures.

        Raises:
            Preempted: The process was asked to stop.
        """
        if self.asked_to_stop():
            raise Preempted

    def asked_to_stop(self) -> bool:
        """Looks at the stop flag, and waits while another job has the machine alone."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + PAUSE_CHECK_EVERY_S
            before = self._clock.part
            self._turnstile.pause_if_asked(waiting=lambda: self._clock.switch("wait"))
            if self._clock.part == "wait":
                self._clock.switch(before)
        return self._stop.is_set()

    def note_step(self, step: int, progress: float) -> None:
        """Passes on where training stands."""
        self._pulse.step, self._pulse.progress = step, progress

    def _announce(self, doing: str) -> None:
        self._pulse.doing = doing

    def _note_samples(self, part: float) -> None:
        """Passes on how far a slow sampler is; what is done with the samples is named again."""
        self._pulse.doing = f"drawing samples, {part:.0%}"

    def note_point(self, point: CurvePoint) -> None:
        """Adds a point to the learning curve."""
        scores = (point.bpd, point.bpd_ema, point.nll, point.nll_ema)
        known = [score for score in scores if score is not None]
        self._pulse.score = min(known) if known else None
        self._pulse.score_unit = "nats" if point.bpd is None and point.bpd_ema is None else "bpd"
        path = self._directory.path / CURVES
        lines = path.read_text() if path.exists() else ""
        self._directory.write(CURVES, f"{lines}{point.model_dump_json(exclude_none=True)}\n")

    def checkpoint_due(self) -> bool:
        """Whether the last checkpoint is old enough."""
        return time.monotonic() >= self._next_save

    def save(self, state: dict[str, Any]) -> None:
        """Writes the resumable state."""
        save_checkpoint(self._directory.path / CHECKPOINT, state)
        self._next_save = time.monotonic() + CHECKPOINT_EVERY_S


class _Watch:
    """The training loop's observer."""

    def __init__(self, execution: Execution, trained: EvaluatedModel) -> None:
        self._execution = execution
        self._num_dims = trained.data.num_dims
        kind = trained.likelihood_kind
        # The density of real-valued or of noisy data has no bits per dimension.
        self._unit = "bpd" if kind is not None and kind.measure == "discrete" else "nll"
        self.checkpoint_due = execution.checkpoint_due
        self.save = execution.save

    def tick(self, step: int, progress: float) -> bool:
        self._execution.note_step(step, progress)
        return self._execution.asked_to_stop()

    def validated(self, point: ValidationPoint) -> None:
        raw, ema = self._score(point.raw), self._score(point.ema)
        scores = {self._unit: raw, f"{self._unit}_ema": ema}
        loss = point.loss if point.loss is not None and np.isfinite(point.loss) else None
        self._execution.note_point(
            CurvePoint(
                step=point.step,
                examples=point.examples,
                charged_s=point.charged_s,
                progress=point.progress,
                loss=loss,
                **scores,
            )
        )

    def _score(self, nats: float | None) -> float | None:
        if nats is None or not np.isfinite(nats):
            return None
        return nats if self._unit == "nll" else bits_per_dim(-nats, self._num_dims)


def plugin_selection(order: WorkOrder) -> PluginSelection:
    """The plugins that the parent had loaded.

    Args:
        order: The work order.

    Returns:
        The selection.
    """
    return PluginSelection(
        only=order.plugins_only,
        exclude=order.plugins_excluded,
        files=tuple(Path(name) for name in order.plugin_files),
    )


def data_facts(info: DatasetInfo) -> dict[str, Any]:
    """The facts of a dataset that a record keeps.

    Args:
        info: The dataset.

    Returns:
        Plain data.
    """
    facts = {name: value for name, value in vars(info).items() if name not in ("name", "context")}
    facts |= {"num_classes": info.num_classes}
    return {**facts, "event_shape": list(info.event_shape)}


def measurement_row(spec: MetricSpec, value: MetricValue) -> MeasurementRow:
    """A metric's value as it is stored, with how it is to be shown.

    Args:
        spec: The metric that computed it.
        value: The value.

    Returns:
        The row.
    """
    fields = vars(value).copy()
    fields["n"] = fields.pop("num_examples")
    fields["protocol"] = dict(value.protocol)
    shown = spec.presentation(value.name, value.unit)
    return MeasurementRow(metric=spec.name, **fields, **shown)
