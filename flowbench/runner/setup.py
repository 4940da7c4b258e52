"""Set-up of a job: plugins, data and device, then the model, built and initialised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flowbench.api.models import Batch, GenerativeModel
from flowbench.api.protocol import MAX_SEED, MetricSettings
from flowbench.api.specs import DatasetInfo
from flowbench.data.batches import TrainBatches
from flowbench.data.library.splits import LoadedData
from flowbench.data.preprocess import Preprocessor
from flowbench.data.segments import segments_of
from flowbench.data.target import TargetDensity
from flowbench.errors import DataError
from flowbench.evaluation.harness import Harness, likelihood_kind
from flowbench.provenance import processor_name, provenance
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.registry.build import build_model, load_dataset
from flowbench.registry.code import job_code
from flowbench.runner.attempt import WorkOrder
from flowbench.runner.under_way import Attempt
from flowbench.store.records import JobRow
from flowbench.training.accumulate import whole_batch
from flowbench.training.device import Device
from flowbench.training.seeds import seed_globals


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What a job stands on."""

    registry: Registry
    data: LoadedData
    device: Device


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model that is ready to be trained, or to take up weights.

    Attributes:
        model: The model on its device; initialised, unless an earlier attempt's state comes.
        harness: What it is measured in, with the preprocessing that training uses too.
    """

    model: GenerativeModel
    harness: Harness


def open_ground(attempt: Attempt) -> Ground:
    """Loads plugins and data, chooses the device, and notes what they are.

    Returns:
        What the job stands on.

    Raises:
        DataError: The data are not those that the job was planned with.
    """
    order, job = attempt.order, attempt.job
    # What the parent had loaded, not what is installed: a plugin that was left out stays out.
    registry = load_registry(plugin_selection(order))
    attempt.directory.keep_plugin_files(order.plugin_files)
    attempt.runs(job_code(registry, job.model, job.dataset, order.metrics))
    data = load_dataset(registry, job.dataset, order.data_dir)
    # The id of the job holds this hash: on other data it would be the result of another job.
    if data.sha256 != job.dataset_sha256:
        raise DataError(
            f"dataset {job.dataset!r} changed on disk since the job was planned; run the same "
            "command again"
        )
    device = Device.select(order.device, processor_name())
    used = ((p.source.distribution, p.source.version) for p in registry.plugins if p.cause is None)
    made_by = {**provenance(list(order.command), used), "driver": device.driver()}
    if order.instead_of is not None:
        made_by["instead_of"] = order.instead_of
    if order.executor is not None:
        made_by["executor"] = order.executor
    attempt.note(
        device_kind=device.kind,
        device_name=device.name,
        data=data_facts(data.info),
        provenance=made_by,
    )
    return Ground(registry=registry, data=data, device=device)


def build(attempt: Attempt, ground: Ground) -> Built:
    """Builds the model and its preprocessing, and initialises both on training data.

    Args:
        attempt: The attempt; one that goes on from another finds its state there.
        ground: What the job stands on.

    Returns:
        The model, in its harness.
    """
    attempt.now("preparing", "the model")
    job, data, device = attempt.job, ground.data, ground.device
    seed_globals(job.seed)  # of initial weights, of dropout, and of a compiled loss's noise
    model = build_model(ground.registry, job.model, job.config, data.info)
    attempt.pulse.whole_batch = whole_batch(model)
    model = device.place(model, channels_last=model.config.training.channels_last)
    preprocessor = Preprocessor(model.config.preprocessing, data.info, device.torch_device)
    if attempt.source is None:  # else its state, these statistics among it, replaces all of this
        preprocessor.fit(data.splits.train)
        note_preprocessing(attempt, preprocessor)
        _initialize(model, preprocessor, ground, job.seed)
    kind = likelihood_kind(model)
    attempt.note(
        num_parameters=model.num_parameters(),
        num_parameters_training=model.num_parameters_training(),
        likelihood=None if kind is None else kind.model_dump(mode="json"),
    )
    harness = Harness(
        preprocessor=preprocessor,
        splits=data.splits,
        target=target_density(ground.registry, data.info, preprocessor),
        settings=evaluation_settings(job),
        window=model.config.training.window,
        data_sha256=data.sha256,
        data_dir=Path(attempt.order.data_dir),
        synchronize=device.synchronize,
        tick=attempt.breathe,
        progress=attempt.pulse.within,
        announce=partial(attempt.now, "measuring"),
    )
    return Built(model=model, harness=harness)


def target_density(
    registry: Registry, info: DatasetInfo, preprocessor: Preprocessor
) -> TargetDensity | None:
    """The target of a dataset as a model sees it; None for a dataset of examples."""
    if info.target is None:
        return None
    log_density = registry.dataset(info.name).resolve(info.target.log_density)
    return TargetDensity(log_density=log_density, preprocessor=preprocessor)


def _initialize(
    model: GenerativeModel, preprocessor: Preprocessor, ground: Ground, seed: int
) -> None:
    """Hands the model its first examples, once."""
    train, device = ground.data.splits.train, ground.device
    wanted = model.config.training.init_examples
    # A batch that is larger than the split would hold examples twice.
    size = len(train) if wanted is None else min(wanted, len(train))
    segments = segments_of(model.data, model.config.training.window)
    stream = TrainBatches(train, size, seed, device.torch_device, prefetch=False, segments=segments)
    raw, context = stream.next()
    generator = device.generator(seed)
    x, _ = preprocessor.forward(raw, generator)
    with torch.no_grad():
        model.initialize(Batch(x=x, context=context), generator=generator)


def evaluation_settings(job: JobRow) -> MetricSettings:
    """The protocol of a job with the noise of its own seed.

    Evaluation noise that all seeds shared would be missing from their spread.

    Returns:
        The protocol, whose seed is the protocol's plus the job's, modulo 2^63.
    """
    settings = MetricSettings.model_validate(job.protocol)
    return settings.model_copy(update={"seed": (settings.seed + job.seed) % (MAX_SEED + 1)})


def plugin_selection(order: WorkOrder) -> PluginSelection:
    """The plugins that the parent had loaded."""
    return PluginSelection(
        only=order.plugins_only,
        exclude=order.plugins_excluded,
        files=tuple(Path(name) for name in order.plugin_files),
    )


def note_preprocessing(attempt: Attempt, preprocessor: Preprocessor) -> None:
    """Notes among the facts of the data what the preprocessing could not scale."""
    if preprocessor.without_spread is not None:
        facts = {**attempt.known["data"], "without_spread": preprocessor.without_spread}
        attempt.note(data=facts)


def data_facts(info: DatasetInfo) -> dict[str, Any]:
    """The facts of a dataset that a record keeps."""
    left_out = ("name", "context", "target")  # its spec says what it is
    facts = {name: value for name, value in vars(info).items() if name not in left_out}
    return {
        **facts,
        "event_shape": list(info.event_shape),
        "num_classes": info.num_classes,
    }
