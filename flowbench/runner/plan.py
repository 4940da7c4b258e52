"""Suite + registry -> jobs, each with the hash of what it asks for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from flowbench.api.config import ModelConfig, unsupported_sampling
from flowbench.api.likelihood import NoLikelihood
from flowbench.api.models import DensityModel
from flowbench.api.specs import DatasetInfo
from flowbench.api.training import Training
from flowbench.budget import Budget
from flowbench.code_hash import CodeHashes
from flowbench.data.library.splits import LoadedData
from flowbench.errors import DataMissingError, PackageMissingError, SuiteError, did_you_mean
from flowbench.evaluation.evaluate import requested_metrics
from flowbench.registry import Registry
from flowbench.registry.build import load_dataset
from flowbench.registry.code import job_code
from flowbench.registry.configs import ConfiguredModel, configure
from flowbench.registry.weights import weights_here
from flowbench.runner.attempt import TrialOrder, canonical_json
from flowbench.store.records import PARTS, JobRow, Tuning
from flowbench.suite.schema import PROTOCOL_VERSION, Suite
from flowbench.suite.space import Distribution

HASH_DIGITS = 12
CodeOf = Callable[[str, str, tuple[str, ...]], CodeHashes]  # of model, dataset and metrics
LATER_SETTINGS = ("accumulate", "graph", "channels_last")  # of training


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job, ready to be run.

    Attributes:
        row: What is asked for.
        retry: Those of them that may have been unavailable for want of weights which are here now.
        ladder: Those of them that are measured along the model's sampling ladder too.
        code: Hashes of the code that it would run.
        unsupported: Why it cannot run; None if it can.
        instead_of: The attempt that ran out of memory, in whose place it stands.
        trial: Which trial of a sweep it is; None of all else.
        tuning: What it took to find its configuration; None where that is not known.
    """

    row: JobRow
    info: DatasetInfo
    metrics: tuple[str, ...]
    retry: frozenset[str] = frozenset()
    ladder: frozenset[str] = frozenset()
    code: CodeHashes
    unsupported: str | None
    instead_of: str | None = None
    trial: TrialOrder | None = None
    tuning: Tuning | None = None

    @property
    def label(self) -> str:
        """Model, preset, dataset and seed, in a few words."""
        return self.row.label


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A configured model whose settings are searched on a dataset.

    Attributes:
        base: The job without what is searched; trials have its seed.
        space: What settings are drawn from, by key.
        num_trials: How many settings are tried.
        seeds: Seeds that the best is run with.
        job: The job with some settings and a seed.
    """

    base: Job
    space: Mapping[str, Distribution]
    num_trials: int
    seeds: tuple[int, ...]
    job: Callable[[Mapping[str, Any], int], Job]


@dataclass(frozen=True, kw_only=True)
class Unprepared:
    """What cannot run on a dataset: its data, or a package of models, is not on this machine.

    Attributes:
        models: What would run on it.
        num_seeds: How often each would.
        budget: Canonical text of the budget.
        error: Why it cannot, and what to do about it.
    """

    dataset: str
    models: tuple[str, ...]
    num_seeds: int
    budget: str
    error: DataMissingError | PackageMissingError


def plan(suite: Suite, registry: Registry, data_dir: Path) -> tuple[list[Job], list[Unprepared]]:
    """`plan_all` of one suite, without what it sweeps."""
    jobs, missing, _ = plan_all([suite], registry, data_dir)
    return jobs, missing


def plan_all(
    suites: Sequence[Suite], registry: Registry, data_dir: Path
) -> tuple[list[Job], list[Unprepared], list[Swept]]:
    """Resolves every job whose data are here; nothing has started when anything is wrong.

    Returns:
        The jobs, each once, suite by suite: datasets outermost, then seeds, then models, so that
        early results compare models; what is not prepared or not installed; and what is swept.
    """
    # All that is named before any data are read: a misspelt metric must not cost an hour.
    parsed = [(suite, Budget.parse(suite.budget), _by_model(suite)) for suite in suites]
    for name in (name for suite in suites for name in suite.metrics or ()):
        registry.metric(name)
    datasets: dict[str, LoadedData | DataMissingError] = {}
    for name in dict.fromkeys(name for suite in suites for name in suite.datasets):
        try:
            datasets[name] = load_dataset(registry, name, data_dir)
        except DataMissingError as exc:
            datasets[name] = exc
    # Hundreds of jobs are of a few models, data and metrics: their code is read once.
    code_of = cache(partial(job_code, registry))
    jobs: dict[str, Job] = {}
    missing: list[Unprepared] = []
    swept: dict[str, Swept] = {}
    for suite, budget, overrides in parsed:
        for job in _plan_one(suite, budget, overrides, registry, code_of, datasets, data_dir):
            if isinstance(job, Unprepared):
                missing.append(job)
            elif isinstance(job, Swept):
                swept.setdefault(job.base.row.job_id, job)
            # `glow,glow:small` may be one configuration twice: one job, one id.
            else:
                jobs.setdefault(job.row.job_id, job)
    return list(jobs.values()), missing, list(swept.values())


def _plan_one(
    suite: Suite,
    budget: Budget,
    overrides: Mapping[str, Sequence[Mapping[str, Any]]],
    registry: Registry,
    code_of: CodeOf,
    datasets: Mapping[str, LoadedData | DataMissingError],
    data_dir: Path,
) -> Iterator[Job | Unprepared | Swept]:
    for name in suite.datasets:
        data, choices = datasets[name], suite.models_on(name)
        waiting = partial(Unprepared, dataset=name, num_seeds=len(suite.seeds), budget=str(budget))
        if isinstance(data, DataMissingError):
            yield waiting(models=choices, error=data)
            continue
        absent = [c for c in choices if c.partition(":")[0] not in registry.models]
        for package, its in suite.by_package(absent).items():
            yield waiting(models=its, error=_not_installed(package, name))
            choices = tuple(c for c in choices if c not in its)
        chosen = [(choice, one) for choice in choices for one in overrides[_model(choice)]]
        for seed in suite.seeds:
            for choice, settings in chosen:
                make = partial(
                    _job, suite, registry, code_of, data, budget, data_dir, choice, settings
                )
                one, space = make({}, seed), suite.space_of(_model(choice))
                if not space or one.unsupported is not None:
                    yield one
                elif seed == suite.seeds[0]:
                    _check_validated(configure(registry, choice, data.info, settings), data.info)
                    yield Swept(
                        base=one,
                        space=space,
                        num_trials=suite.trials,
                        seeds=suite.seeds,
                        job=make,
                    )


def _model(choice: str) -> str:
    return choice.partition(":")[0]


def _check_validated(model: ConfiguredModel, info: DatasetInfo) -> None:
    """Refuses a sweep of what validation says nothing of.

    Raises:
        SuiteError: It is such.
    """
    cls = model.entry.resolve(model.entry.spec.model)
    is_density = isinstance(cls, type) and issubclass(cls, DensityModel)
    unscored = not is_density or isinstance(model.config.likelihood(info), NoLikelihood)
    if unscored and model.config.training.select != "loss":
        raise SuiteError(
            f"{model.entry.spec.name} cannot be swept on {info.name}: it has no likelihood, and "
            "without training.select=loss nothing on validation to choose by; set values with --set"
        )


def _not_installed(package: str, dataset: str) -> PackageMissingError:
    return PackageMissingError(
        f"on {dataset} they need the package {package}, which is not installed here; "
        f"pip install {package} (in a clone ./plugins/{package})"
    )


def _by_model(suite: Suite) -> dict[str, list[dict[str, Any]]]:
    """All that is set on each model, a mapping for each combination of its grid.

    Raises:
        SuiteError: A setting is of none of them.
    """
    names = {choice.partition(":")[0] for choice in suite.models}
    flags = dict.fromkeys((*suite.overrides, *suite.grid), "--set")
    for key, flag in (flags | dict.fromkeys(suite.sweep, "--sweep")).items():
        name, _, rest = key.partition(".")
        if name not in names or not rest:
            raise SuiteError(
                f"{flag} {key!r} names none of the models that run; {did_you_mean(name, names)}"
                "(write model.key=value)"
            )
    return {name: suite.settings_of(name) for name in names}


def _job(
    suite: Suite,
    registry: Registry,
    code_of: CodeOf,
    data: LoadedData,
    budget: Budget,
    data_dir: Path,
    choice: str,
    settings: Mapping[str, Any],
    more: Mapping[str, Any],
    seed: int,
) -> Job:
    """The job of a choice of the suite with its settings, and more of them."""
    model = configure(registry, choice, data.info, {**settings, **more})
    specs = {name: entry.spec for name, entry in registry.metrics.items()}
    metrics = requested_metrics(specs, suite.metrics, data.info)
    asked: dict[str, Any] = {
        "model": model.entry.spec.name,
        "config": asked_config(model.config),
        "dataset": data.info.name,
        "dataset_sha256": data.sha256,
        "seed": seed,
        "budget": str(budget),
        "protocol_version": PROTOCOL_VERSION,
        "protocol": suite.protocol_on(data.info.name).model_dump(mode="json"),
    }
    row = JobRow(
        job_id=job_id(asked),
        preset=model.preset,
        overrides=dict(model.overrides),
        family=model.entry.spec.family,
        **asked,
    )
    unsupported = (
        model.unsupported(data.info)
        or unsupported_sampling(model.config, suite.protocol_on(data.info.name).sample, data.info)
        or unsupported_devices(model.config, suite.devices_per_job)
    )
    return Job(
        row=row,
        info=data.info,
        metrics=tuple(metrics),
        retry=frozenset(name for name in metrics if weights_here(specs[name], data_dir)),
        ladder=frozenset(
            name
            for name in metrics
            if suite.ladder and specs[name].ladder and model.config.sampling_ladder(data.info)
        ),
        code=code_of(row.model, row.dataset, tuple(metrics)),
        unsupported=unsupported,
        tuning=Tuning(preset=model.preset_facts.tuning_trials),
    )


def unsupported_devices(config: ModelConfig, num: int) -> str | None:
    """Why several devices cannot train a model together.

    Args:
        num: How many.

    Returns:
        The reason; None if they can, or there is one.
    """
    training = config.training
    if num == 1:
        return None
    if training.batch_size % (num * training.accumulate):
        parts = f", in {training.accumulate} parts" if training.accumulate > 1 else ""
        return (
            f"a batch of {training.batch_size}{parts} has no equal share for each of {num} "
            "devices; set training.batch_size or --devices-per-job"
        )
    if config.whole_batch is not None:
        return f"--devices-per-job is {num}, but {config.whole_batch}"
    if training.groups:
        return f"--devices-per-job is {num}: training.groups is for one device as yet"
    for setting in ("compile", "graph"):
        if getattr(training, setting):
            return f"--devices-per-job is {num}: training.{setting} is for one device as yet"
    return None


def asked_config(config: ModelConfig) -> dict[str, Any]:
    """A configuration as a job's id hashes it.

    Settings that came later are left out at their defaults: what was asked before has its old id.
    """
    values = config.model_dump(mode="json")
    training = values["training"]
    for name in LATER_SETTINGS:
        if training[name] == Training.model_fields[name].default:
            del training[name]
    return values


def in_parts(job: Job, num: int, instead_of: str) -> Job:
    """The job with its batches in parts, as ``--set MODEL.training.accumulate=NUM`` plans it.

    Args:
        num: Parts of a batch.
        instead_of: The attempt in whose place it stands.
    """
    row = job.row
    training = {**row.config["training"], "accumulate": num}
    changed = row.model_copy(
        update={
            "config": {**row.config, "training": training},
            "overrides": {**row.overrides, PARTS: num},
        }
    )
    return replace(job, row=with_own_id(changed), instead_of=instead_of)


def with_own_id(row: JobRow) -> JobRow:
    """A changed job with the id that it has when it is asked for so."""
    asked = row.model_dump(exclude={"job_id", "preset", "overrides", "family"})
    return row.model_copy(update={"job_id": job_id(asked)})


def job_id(asked: Mapping[str, Any]) -> str:
    """A readable id that is equal for equal requests.

    Args:
        asked: All that identifies a job; at least ``model``, ``dataset`` and ``seed``.

    Returns:
        ``<model>-<dataset>-s<seed>-<hash>``, of letters, digits, dots, dashes and underscores.
    """
    digest = hashlib.sha256(canonical_json(asked).encode()).hexdigest()[:HASH_DIGITS]
    readable = f"{asked['model']}-{asked['dataset']}-s{asked['seed']}"
    # It becomes the name of a folder; a dataset `folder:/home/x?size=64` has what no file system
    # wants.
    return f"{re.sub(r'[^a-z0-9._-]+', '_', readable)[:80]}-{digest}"
