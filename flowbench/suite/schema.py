"""What a suite says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, product
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from flowbench.api.frozen import Frozen
from flowbench.api.protocol import MetricSettings, Seed
from flowbench.api.specs import Direction
from flowbench.suite.find import models_of_row
from flowbench.suite.space import Distribution

PROTOCOL_VERSION = 2
"""Raised whenever the evaluation protocol changes a number; part of every job id."""


MAX_DEVICES = 1024
"""Devices of one job at most; all of them are of one machine."""

MAX_TRIALS = 10_000
"""Trials of one sweep at most."""

MAX_SEEDS = 1000
"""Seeds of one suite at most: each is a job for every model and data set."""


class OurValue(Frozen):
    """Which of our values stands beside a published one.

    Attributes:
        name: Name of a measured value; or ``device``, ``num_devices`` or ``train_hours``, which
            every record has.
        per: What it is divided by, e.g. 1e6 where the paper counts millions.
    """

    name: str
    per: float = Field(default=1.0, gt=0)


class Unlike(Frozen):
    """Values of one column that are not like the others.

    Attributes:
        columns: Keys of the columns; in a listing, names of the values.
        rows: Labels of the rows whose published values are ``here``; the others are ``there``.
        fact: What sets them apart, e.g. ``data``.
        here: How it is in those rows.
        there: How it is in the others.
        ours: Which of the two our own measurements are like.
    """

    columns: tuple[str, ...] = Field(min_length=1)
    rows: tuple[str, ...] = ()
    fact: str
    here: str
    there: str
    ours: Literal["here", "there"]


class BoardColumn(Frozen):
    """A column of a board of our own.

    Attributes:
        header: Heading.
        detail: Second part of the heading, shown muted.
        dataset: Id of the data set that its values were measured on.
        metric: Name of a measured value.
        better: Which way the best value of the column is looked for.
        per: What values are divided by, such as 1e6 for millions.
        decimals: Decimals shown.
    """

    header: str
    detail: str = ""
    dataset: str
    metric: str
    better: Direction = "lower"
    per: float = Field(default=1.0, gt=0)
    decimals: int = Field(default=3, ge=0)


class SmallScale(Frozen):
    """Small counterparts of a published table's rows.

    Attributes:
        column: Key of the published column that their order is compared with.
        dataset: Id of the data set that they ran on.
        metric: Name of the value.
        runs: Names of runs of the claims that ship with flowbench, by the rows' printed labels.
    """

    column: str
    dataset: str
    metric: str
    runs: Mapping[str, str]


class BoardLayout(Frozen):
    """How a suite's board looks.

    Attributes:
        published: Id of the published table that it mirrors; empty for a board of our own.
        rows: Which model runs a row, by the row's printed label and the data set; one for each
            column, by its key, where the columns of a data set differ. Of namesakes the label with
            the row's variant names one: ``label, variant``.
        values: Which of our values stands in a column, by the name of the published one.
        small: Small counterparts of rows, shown in a column of their own.
        unlike: Published values that must not be compared with others of their column.
        remarks: What a reader must know of a row, in one sentence by the row's label: why no model
            runs it, or how far the one that does is the paper's.
        caveats: What to keep in mind when comparing.
        columns: Columns of a board of our own over several data sets; without any, and without a
            published table, the board shows what was measured.
    """

    published: str = ""
    rows: Mapping[str, Mapping[str, str | Mapping[str, str]]] = Field(default_factory=dict)
    values: Mapping[str, OurValue] = Field(default_factory=dict)
    small: SmallScale | None = None
    unlike: tuple[Unlike, ...] = ()
    remarks: Mapping[str, str] = Field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    columns: tuple[BoardColumn, ...] = ()


class ExecutorChoice(Frozen, extra="allow"):
    """Where jobs run: the table ``[executor]``.

    Attributes:
        name: Name of the executor; every other key is an option of its own.
    """

    name: str

    @property
    def options(self) -> dict[str, str]:
        """What is asked for there."""
        return {key: str(value) for key, value in (self.model_extra or {}).items()}


class Suite(Frozen):
    """What to run.

    Attributes:
        name: Lower-case id.
        title: Its subject, as ``flowbench list suites`` shows it.
        models: ``name`` or ``name:preset``; of a board with rows, all that those name.
        datasets: Dataset ids; of a board with rows, all that those name.
        metrics: Metric names; None takes all that apply.
        budget: Training budget of each job, e.g. ``60s`` or ``60s,5000steps``.
        seeds: One job for each; each evaluates with noise of its own.
        overrides: Configuration values by dotted key, ``model.key``.
        grid: Several values by dotted key, in place of those of ``overrides``: a model is run, and
            has a row, with every combination of them.
        sweep: What settings are drawn from by dotted key: for each model that has some, the best
            of ``trials`` draws on validation is run with all seeds.
        trials: How many settings each sweep tries.
        packages: Names of models that another package brings, by the package; where it is not
            installed, they are skipped with a line that names it.
        protocol: How every row is evaluated.
        protocols: The same for single data sets, in place of ``protocol``.
        ladder: Measure samples under each setting of a model's sampling ladder too.
        devices_per_job: Devices that train each job together, its batch in equal parts.
        executor: Where its jobs run, unless a flag says otherwise; None for this machine.
        board: How its board looks; None for a suite of flags.
    """

    name: str = Field(default="flags", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str = ""
    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ("digits",)
    metrics: tuple[str, ...] | None = None
    budget: str = "60s"
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1, max_length=MAX_SEEDS)
    overrides: Mapping[str, Any] = Field(default_factory=dict)
    grid: Mapping[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    sweep: Mapping[str, Distribution] = Field(default_factory=dict)
    trials: int = Field(default=20, ge=1, le=MAX_TRIALS)
    packages: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    protocol: MetricSettings = MetricSettings()
    protocols: Mapping[str, MetricSettings] = Field(default_factory=dict)
    ladder: bool = False
    devices_per_job: int = Field(default=1, ge=1, le=MAX_DEVICES)
    executor: ExecutorChoice | None = None
    board: BoardLayout | None = None

    @property
    def lays_out(self) -> bool:
        """Whether it says which columns its board has, itself or by a published table."""
        return self.board is not None and bool(self.board.published or self.board.columns)

    @model_validator(mode="after")
    def _something_to_show(self) -> Self:
        mirrors = self.board is not None and self.board.published
        # A board that mirrors a paper shows the paper's values, whether or not anything of ours can
        # run.
        if not mirrors and not (self.models and self.datasets):
            raise ValueError("a suite needs at least one model and one dataset")
        for key in self.sweep:
            if key in self.overrides or key in self.grid:
                raise ValueError(f"{key} is both set and swept; do one of them")
        if self.lays_out and self.grid:
            raise ValueError(
                f"several values of {next(iter(self.grid))} make several rows, and the rows of "
                "this board are laid out; choose with --models, or give one value"
            )
        return self

    def models_on(self, dataset: str) -> tuple[str, ...]:
        """What runs on a data set.

        Args:
            dataset: One of the suite's.

        Returns:
            ``name`` or ``name:preset`` of each: all models, or those that the board's rows name.
        """
        if self.board is None or not self.board.rows:
            return self.models
        rows = self.board.rows.values()
        chosen = chain.from_iterable(models_of_row(row, dataset) for row in rows)
        return tuple(dict.fromkeys(chosen))

    def settings_of(self, model: str) -> list[dict[str, Any]]:
        """What is set on top of a model's presets, by key: one of each combination of its grid.

        Args:
            model: A name without preset.
        """
        of_model = f"{model}."
        own, several = (
            {key.removeprefix(of_model): v for key, v in values.items() if key.startswith(of_model)}
            for values in (self.overrides, self.grid)
        )
        # Keys stay where they are: a later one may go into what an earlier one sets.
        combinations = product(*several.values())
        return [{**own, **dict(zip(several, one, strict=True))} for one in combinations]

    def space_of(self, model: str) -> dict[str, Distribution]:
        """What settings of a model are drawn from, by key; empty where it is not swept.

        Args:
            model: A name without preset.
        """
        of_model = f"{model}."
        return {
            key.removeprefix(of_model): drawn_from
            for key, drawn_from in self.sweep.items()
            if key.startswith(of_model)
        }

    def by_package(self, choices: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Those of some models that other packages bring, by the package.

        Args:
            choices: ``name`` or ``name:preset`` of each.
        """
        found = {
            package: tuple(c for c in choices if c.partition(":")[0] in names)
            for package, names in self.packages.items()
        }
        return {package: its for package, its in found.items() if its}

    def protocol_on(self, dataset: str) -> MetricSettings:
        """How rows are evaluated on a data set of the suite."""
        return self.protocols.get(dataset, self.protocol)
