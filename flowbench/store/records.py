"""What one attempt leaves behind: the schema of ``record.json``, ``curves.jsonl`` and the store.

The worker writes these, the parent ingests them, boards read them back. Unit and direction are
stored with every value. JSON has no NaN: a value that is not finite cannot be stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from flowbench.api.frozen import Frozen
from flowbench.api.likelihood import likelihood_as_version_2
from flowbench.api.specs import Role, Scale
from flowbench.budget import Budget

RECORD_VERSION = 2  # 1: likelihoods as version 1 of the plugin API stated them, no checksum
CONTENDED_SHARE = 0.1  # of the charged time
PARTS = "training.accumulate"  # the setting of a job that takes its batches in parts
INFO = "info/"
"""With this begin names of what a model says of its own work, which no metric measures."""
RUNG = "rung"
"""In the protocol of a value of a sampling ladder: the settings, as ``--sample`` takes them."""


def on_rung(name: str, rung: str) -> str:
    """The name of a value under one setting of a sampling ladder."""
    return f"{name} [{rung}]"


AttemptStatus = Literal[
    "ok", "timeout", "oom", "diverged", "crashed", "killed", "preempted", "pruned", "skipped"
]
"""How an attempt ended.

``skipped`` is a job that was never tried, with its reason; ``pruned`` a trial of a sweep that was
given up since it lay behind others: no failure.
"""


def assigned(values: Mapping[str, Any]) -> str:
    """Settings as people write them, sorted: ``training.lr=0.001 width=64``."""
    return " ".join(f"{key}={value}" for key, value in sorted(values.items()))


LikelihoodFacts = Annotated[dict[str, Any], AfterValidator(likelihood_as_version_2)]
"""Facts that hold a likelihood, as the present API states it; older records are mapped."""


# What the database's columns hold: DuckDB makes NULL of a number that does not fit.
Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]

JobId = Annotated[str, Field(pattern=r"^[\w.-]*\w$")]
"""An id is the name of a folder and never a path."""


class JobRow(Frozen):
    """A job: what was asked for, not where or by which code it ran.

    Attributes:
        job_id: Hash of everything below but ``preset`` and ``overrides``, which ``config`` implies,
            and ``family``.
        model: Model name.
        preset: The preset it started from.
        overrides: What was set on top of it, by dotted key.
        config: The resolved configuration.
        dataset: Dataset name.
        dataset_sha256: Hash of the dataset's content.
        seed: Seed of initialisation, batches and noise.
        budget: Canonical text of the budget, e.g. ``60s,5000steps``.
        protocol_version: Version of the evaluation protocol.
        protocol: Its settings.
        family: The kind of model, as its plugin called it; None where it did not, and in records
            made before it was kept.
    """

    job_id: JobId
    model: str
    preset: str
    overrides: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any]
    dataset: str
    dataset_sha256: str
    seed: Int64
    budget: str
    protocol_version: Int32
    protocol: dict[str, Any]
    family: str | None = None

    @property
    def num_parts(self) -> int:
        """Equal parts in which its batches go through the model (``training.accumulate``)."""
        training = self.config.get("training")
        # Left out of a configuration that does not ask for it; and a record may hold anything.
        parts = training.get("accumulate", 1) if isinstance(training, dict) else 1
        return parts if isinstance(parts, int) else 1

    @property
    def in_parts(self) -> str:
        """How its batches are taken, in words; nothing where they are taken whole."""
        return f"batch in {self.num_parts} parts" if self.num_parts > 1 else ""

    @property
    def settings(self) -> str:
        """What was set on top of the preset, sorted: ``training.lr=0.001 width=64``."""
        # How batches are taken is said in words, and is the same training.
        return assigned({key: value for key, value in self.overrides.items() if key != PARTS})

    @property
    def configured(self) -> str:
        """Model, preset and what was set on top of it."""
        return f"{self.model}:{self.preset} {self.settings}".rstrip()

    @property
    def label(self) -> str:
        """Model, preset, settings, dataset, seed and what sets its batches apart, in few words."""
        label = f"{self.configured} on {self.dataset}, seed {self.seed}"
        return f"{label}, {self.in_parts}" if self.in_parts else label


class MeasurementRow(Frozen):
    """One value of one metric.

    Attributes:
        metric: Name of the metric that computed it.
        name: Name of the value.
        value: The value; None unless ``status`` is ``ok``.
        direction: Which way is better.
        status: Whether there is a value.
        reason: Why there is none.
        split: The data it was measured on.
        n: How many examples or repeats it is a mean (or quantile) of.
        stderr: Standard error over those.
        protocol: All that two values must share to be compared.
        label: What a title calls it, and below how it is shown: see `MetricSpec`. None, as all of
            these, in records made before they were kept.
        short: The same where room is scarce.
        role: What it is on a board.
        scale: How an axis shows it.
        decimals: Decimals of a column; None also for three significant digits.
        code: Hash of the metric's own code; None in records made before it was kept.
        refutes: Why the value refutes its row, in words: see `Limits`. None if it does not.
    """

    metric: str
    name: str
    value: float | None
    unit: str
    direction: Literal["lower", "higher", "none"]
    status: Literal["ok", "unavailable", "failed"] = "ok"
    reason: str | None = None
    split: str | None = None
    n: Int64 | None = None
    stderr: float | None = None
    protocol: LikelihoodFacts = Field(default_factory=dict)
    label: str | None = None
    short: str | None = None
    role: Role | None = None
    scale: Scale | None = None
    decimals: Int32 | None = None
    code: str | None = None
    refutes: str | None = None


class CurvePoint(Frozen):
    """One validation during training; a line of ``curves.jsonl``.

    Attributes:
        step: Optimizer steps done.
        examples: Training examples seen.
        charged_s: Seconds charged to the budget.
        progress: Part of the budget used.
        loss: Mean training loss since the last point; None without one.
        bpd: Validation bits per dimension (discrete data), raw weights.
        bpd_ema: The same for the averaged weights.
        nll: Validation negative log-likelihood in nats (other data), raw weights; of a target the
            negative evidence lower bound.
        nll_ema: The same for the averaged weights.
        info: Means of what the model's ``loss`` says beside its value, since the last point.
    """

    step: Int64
    examples: Int64
    charged_s: float
    progress: float
    loss: float | None = None
    bpd: float | None = None
    bpd_ema: float | None = None
    nll: float | None = None
    nll_ema: float | None = None
    info: dict[str, float] | None = None

    def score(self, weights: str | None) -> tuple[float, str] | None:
        """The validation value of raw or averaged (``ema``) weights, and its unit."""
        is_ema = weights == "ema"
        bits, nats = (self.bpd_ema, self.nll_ema) if is_ema else (self.bpd, self.nll)
        # A point has one of the two: bits of levels, nats of all other data.
        if bits is not None:
            return bits, "bits/dim"
        return None if nats is None else (nats, "nats")

    def chosen_by(self, weights: str) -> tuple[float, str] | None:
        """What weights are chosen by, lower is better, and its unit: the score, else the loss."""
        loss = (self.info or {}).get(f"validation_loss/{weights}")
        return self.score(weights) or (None if loss is None else (loss, "loss"))

    @property
    def best(self) -> tuple[float, str] | None:
        """The better of raw and averaged weights, by what they are chosen by."""
        return min(filter(None, map(self.chosen_by, ("raw", "ema"))), default=None)


def value_of_kept(
    points: Sequence[CurvePoint], weights: str | None, step: int | None
) -> tuple[float, str] | None:
    """The validation value of the weights that a training kept, and its unit; None without one.

    Args:
        points: Its curve.
        weights: Whether they are ``raw`` or averaged (``ema``).
        step: The step that they are of.
    """
    found = (p.chosen_by(weights) for p in reversed(points) if weights and p.step == step)
    return next(found, None)


class Trial(Frozen):
    """What makes an attempt a trial of a sweep: nothing of it was measured on test data.

    Attributes:
        sweep: Id of the sweep.
        number: Which of its trials, from 0.
        value: The validation value of the weights that were kept, lower is better; None unless it
            ended well.
        unit: Its unit; ``loss`` where a model has no likelihood.
    """

    sweep: str
    number: Int32
    value: float | None = None
    unit: str | None = None


class Tuning(Frozen):
    """What it took to find a configuration.

    Attributes:
        preset: Configurations that were tried before the preset was chosen.
        sweep: Id of the sweep that chose what is set on top of it; None where none did.
        space: What it drew each setting from, by key.
        trials: Settings that it tried.
        pruned: Those of them that were given up early.
        failed: Those that came to nothing.
        charged_s: Charged seconds of all of them.
    """

    preset: Int32 = 0
    sweep: str | None = None
    space: dict[str, str] = Field(default_factory=dict)
    trials: Int32 = 0
    pruned: Int32 = 0
    failed: Int32 = 0
    charged_s: float = 0.0


class AttemptRow(Frozen):
    """One try at a job, whatever became of it.

    Attributes:
        record_version: Schema of this record.
        attempt_id: ``<job_id>-<number>``.
        number: 1 for the job's first attempt.
        job: What was asked for.
        status: How it ended.
        reason: Why, unless ``ok``.
        log_tail: Last lines of the log of an attempt that failed.
        started: UTC, ISO 8601.
        ended: UTC, ISO 8601.
        device_kind: ``cpu``, ``cuda`` or ``mps``; None if it never got that far.
        device_name: Device model.
        num_devices: Devices used.
        num_threads: CPU threads of the worker.
        steps: Optimizer steps done.
        examples: Training examples seen.
        skipped_steps: Steps without a finite loss and gradient.
        charged_s: Seconds charged to the budget.
        wall_s: Seconds from spawn to the end.
        ledger: Seconds of each part of the clock.
        run_delay_s: Seconds of the charged ones in which training waited for a core, over all
            attempts at the job; None where the system does not say it.
        load: What else the machine had to do: its load average at the ``start`` and the ``end``,
            its ``cores``, those that the job may use (``usable``), and how many cores' worth of
            time its control group leaves it (``quota``; None without a limit).
        num_parameters: Trainable parameters that evaluation and sampling need.
        num_parameters_training: Those with the ones that training alone needs; None in records made
            before they were counted.
        weights: The weights that were measured: ``raw`` or ``ema``, the better on validation.
        best_step: The step they were taken at.
        looks: How validation was looked at while it trained: at last in ``examples`` of how many
            (``of``), the number of looks ``num``, their ``seconds``, and whether averaged weights
            were scored alone; ``selected_by`` says what the weights that are kept were chosen by:
            ``likelihood`` or ``loss``, or for being the ``last``. None where it is not known.
        data: Facts of the data: ``modality``, ``event_shape``, ``levels`` and the sizes of the
            splits, by their names in `DatasetInfo`; ``without_spread`` names dims that were
            centred and left unscaled.
        code_sha256: Hash of the code that trained: core, model and dataset.
        model_code_sha256: Hash of core and model alone: a check of the model has the same. None in
            records made before it was kept, as are the three below.
        core_code: Hash of the core's code.
        model_code: Hash of the model's own code.
        dataset_code: Hash of the dataset's own code.
        trial: Which trial of which sweep it is; None of all else.
        tuning: What it took to find its configuration; None of trials, and in records made before
            it was kept.
        provenance: Versions, git state, driver, command line, plugin distributions.
        measurements: All measured values.
    """

    record_version: Annotated[Int32, Field(le=RECORD_VERSION)] = RECORD_VERSION
    attempt_id: str
    number: Int32
    job: JobRow
    status: AttemptStatus
    reason: str | None = None
    log_tail: str | None = None
    started: str
    ended: str
    device_kind: str | None = None
    device_name: str | None = None
    num_devices: Int32 = 1
    num_threads: Int32 | None = None
    steps: Int64 = 0
    examples: Int64 = 0
    skipped_steps: Int64 = 0
    charged_s: float = 0.0
    wall_s: float = 0.0
    ledger: dict[str, float] = Field(default_factory=dict)
    run_delay_s: float | None = None
    load: dict[str, float | None] | None = None
    num_parameters: Int64 | None = None
    num_parameters_training: Int64 | None = None
    weights: Literal["raw", "ema"] | None = None
    best_step: Int64 | None = None
    likelihood: LikelihoodFacts | None = None
    looks: dict[str, Any] | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    code_sha256: str | None = None
    model_code_sha256: str | None = None
    core_code: str | None = None
    model_code: str | None = None
    dataset_code: str | None = None
    trial: Trial | None = None
    tuning: Tuning | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)
    measurements: tuple[MeasurementRow, ...] = ()

    @property
    def contended(self) -> bool:
        """Whether its budget is of time, much of which it waited for a core of a busy machine."""
        waited = (
            self.run_delay_s is not None and self.run_delay_s > CONTENDED_SHARE * self.charged_s
        )
        return waited and Budget.parse(self.job.budget).time_like

    @property
    def refuted(self) -> str | None:
        """Why its values are not to be believed, by all witnesses that speak against it."""
        return "; ".join(m.refutes for m in self.measurements if m.refutes) or None

    def values_by_name(self) -> dict[str, MeasurementRow]:
        """The measured values by name.

        Returns:
            The values in their order; where one name was measured on several splits, that on test.
        """
        values = {m.name: m for m in self.measurements}
        # `|` keeps the first order and takes the later value.
        return values | {m.name: m for m in self.measurements if m.split == "test"}
