"""The one table model: what a board says, before any rendering.

A board has two voices. *Published* is the paper's: strings exactly as printed, in the paper's
layout. *Ours* is what was measured here. Each has its own best values, places and notes, and a cell
may have either, both or none.

Every text in it is final: renderings lay it out and escape it, and change no word or digit. Text
from plugins, files and logs is in it as it came, so each rendering must treat all of it as hostile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flowbench.api.data import Artifact
from flowbench.api.specs import Direction, Role, Scale
from flowbench.leaderboard.board.words import BADGES, STANDINGS

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "text", "check", "stars"]
"""What a column's cells are; checks are ``✓`` and ``×``, stars ``★`` out of five."""

_NUMBERS = {
    "published_value", "published_device_hours", "mean", "half_width", "device_hours", "sweep_hours"
}  # fmt: skip
_COUNTS = {"n", "trials"}
_FLAGS = {"published_best", "published_unlike", "best", "too_few", "unlike", "struck"}
FIELDS: dict[str, type] = {
    name: float if name in _NUMBERS else bool if name in _FLAGS else int if name in _COUNTS else str
    for name in (
        "board group method mark about model badges column dataset metric unit direction "
        "published_sign published published_value published_rank published_best published_unlike "
        "published_device_hours published_note published_remark sign value interval words status "
        "rank best too_few unlike struck mean half_width n device_hours trials sweep_hours note "
        "difference budget_share"
    ).split()
}
"""Names and types of what `Board.to_frame` says of a cell, in order."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: one value of one data set.

    Attributes:
        key: Unique on the board, e.g. ``digits/bpd``.
        label: Heading.
        detail: Muted second part of the heading, such as the size of images.
        dataset: The data; empty where each row has its own.
        metric: Name of the value; empty where each row has its own.
        title: The quantity in a title, e.g. ``Bits per dimension``; empty if it has no name.
        axis: The quantity along an axis, with its unit, e.g. ``NLL, nats``.
        unit: Unit that the cells are written in; empty for a pure number.
        direction: Which way is better; ``none`` for what is no contest.
        role: What it is: plots are of qualities, against costs.
        scale: How an axis shows it.
        decimals: Decimals of each value of ours; published ones stay as printed.
        kind: What its cells are.
        n: Runs behind each value of ours, where all have as many; 0 where each cell says it.
    """

    key: str
    label: str
    detail: str = ""
    dataset: str
    metric: str
    title: str = ""
    axis: str = ""
    unit: str
    direction: Direction
    role: Role = "quality"
    scale: Scale = "linear"
    decimals: int
    kind: Kind = "number"
    n: int = 0

    @property
    def under(self) -> str:
        """What stands under the heading."""
        return ", ".join(filter(None, (self.detail, f"n={self.n}" if self.n else "")))

    @property
    def is_quality(self) -> bool:
        """Whether it is what methods are compared for, as a number."""
        return self.role == "quality" and self.direction != "none" and self.kind == "number"


@dataclass(frozen=True, kw_only=True)
class Published:
    """The paper's part of a cell.

    Attributes:
        text: As printed, with the suffix or interval that the paper prints (``130M``,
            ``4.11 ±0.08``); ``n/a`` where the paper says so.
        sign: Qualifier before it: ``~``, ``≤``, ``<`` or ``>``.
        value: The number, for sorting and plots; None for words.
        rank: Place among the column's like published values, as `Cell.rank`.
        best: The best of them, where at least two compete.
        unlike: Of other data, measure or conditioning than most of the column.
        note: Letter of a note that keeps it apart.
        remark: What is known of the value and does not touch its place; for the details.
        device_hours: What the paper's training cost, where it says.
    """

    text: str
    sign: str = ""
    value: float | None = None
    rank: str = ""
    best: bool = False
    unlike: bool = False
    note: str = ""
    remark: str = ""
    device_hours: float | None = None

    @property
    def line(self) -> str:
        """Qualifier and value, the same in every rendering."""
        return f"{self.sign}{self.text}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a row has in a column.

    Attributes:
        published: The paper's part; None where the paper leaves the cell blank.
        value: Our value, in the column's decimals; empty without one.
        sign: ``=``, ``≤``, ``≥`` or ``≈`` before a likelihood.
        interval: ``±.01, n=3`` or ``n=1``; empty where the value has no spread over seeds.
        words: In place of a value, e.g. ``× diverged``.
        status: ``ok``, ``none`` or why there is no value.
        rank: Our value's place among like values: ``1``, ``1=``, ``2``; ``–`` unranked; empty if
            nothing is.
        best: The best of our values, or tied with it.
        too_few: Our runs are too few to tell the value from the best or to call them equal.
        unlike: Not to be ranked with our other values of the column.
        struck: The model fails its contract or a witness refutes it: the value is shown struck
            through and has no place; its note says why.
        note: Letter of a note on our value, if it has one.
        mean: The value in full precision, in the column's unit.
        half_width: Half its 95 % interval over seeds.
        n: Runs behind it.
        difference: Ours less the paper's, signed (``+0.06``); empty unless both are of like data.
        difference_value: The same as a number.
        budget_share: Our device-hours as a share of the paper's (``0.4 %``); empty on a CPU, and
            where the paper does not state its cost.
        device_hours: Mean device-hours of the runs behind the value, with all of the sweep that
            chose their configuration.
        dataset: The data, where it is the row's and not the column's.
        metric: Name of the value, where it is the row's and not the column's.
        model: What runs it, ``name`` or ``name:preset``; empty without one.
    """

    published: Published | None = None
    value: str = ""
    sign: str = ""
    interval: str = ""
    words: str = ""
    status: str = "none"
    rank: str = ""
    best: bool = False
    too_few: bool = False
    unlike: bool = False
    struck: bool = False
    note: str = ""
    mean: float | None = None
    half_width: float | None = None
    n: int = 0
    difference: str = ""
    difference_value: float | None = None
    budget_share: str = ""
    device_hours: float | None = None
    dataset: str = ""
    metric: str = ""
    model: str = ""

    @property
    def text(self) -> str:
        """Our part of the cell in one line, the same in every rendering."""
        if not self.value:
            return self.words
        return " ".join(part for part in (self.sign, self.value, self.interval) if part)

    @property
    def printed(self) -> str:
        """The paper's part in one line; empty where the paper leaves the cell blank."""
        return self.published.line if self.published else ""

    @property
    def published_best(self) -> bool:
        """The paper's part is the best of the column, or ties with it."""
        return self.published is not None and self.published.best


@dataclass(frozen=True, kw_only=True)
class Citation:
    """A source.

    Attributes:
        key: BibTeX key.
        line: Authors, title, place and year in one line.
        bibtex: The entry.
        url: Where it is; empty if it is not known.
    """

    key: str
    line: str
    bibtex: str
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that came to nothing.

    Attributes:
        title: Which, and how it ended.
        reason: Why.
        log_tail: Last lines of its log.
        remedy: What to do about it; empty if that is not known.
    """

    title: str
    reason: str
    log_tail: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The learning curve of one run.

    Attributes:
        seed: The run's seed.
        unit: ``bits/dim``, of text ``bits/char``, or ``nats``.
        points: Charged seconds and the validation value, in order.
        devices: How many devices the run had.
    """

    seed: int
    unit: str
    points: tuple[tuple[float, float], ...]
    devices: int = 1


@dataclass(frozen=True, kw_only=True)
class SampleGrid:
    """Samples of one run.

    Attributes:
        caption: Seed and temperature.
        png: The image.
    """

    caption: str
    png: bytes


@dataclass(frozen=True, kw_only=True)
class Details:
    """Everything behind a row.

    Attributes:
        values: All measured values: name, text, and how many runs or why there is none.
        failures: Runs that came to nothing.
        curves: Learning curves.
        ledger: Parts of the clock with their seconds, all runs together, largest first.
        samples: Samples on one picture, if there is one.
        artifacts: Samples to be heard or read, each on its own.
        command: What reproduces the row.
        facts: Pairs of what and how: likelihood, hardware, versions.
        config: The configuration, flat; the flag tells what was set by hand.
        dataset: The data set.
        model: What ran on it, where other columns of the row ran others.
    """

    values: tuple[tuple[str, str, str], ...] = ()
    failures: tuple[Failure, ...] = ()
    curves: tuple[Curve, ...] = ()
    ledger: tuple[tuple[str, float], ...] = ()
    samples: SampleGrid | None = None
    artifacts: tuple[Artifact, ...] = ()
    command: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    config: tuple[tuple[str, str, bool], ...] = ()
    dataset: str = ""
    model: str = ""

    @property
    def heading(self) -> str:
        """What sets it apart from others of its row."""
        return f"{self.dataset}, {self.model}" if self.model else self.dataset


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it costs to use the rows' models, by one measure.

    Attributes:
        axis: What an axis calls it, with its unit: ``latency in ms``.
        scale: How an axis shows it.
        values: Values in that unit, by the rows' keys.
    """

    axis: str
    scale: Scale
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What samples cost and are worth, drawn under one setting; means over runs.

    Attributes:
        sample: The setting, as ``--sample`` takes it; empty for the protocol's own.
        cost: In the ladder's unit.
        quality: In its own unit.
    """

    sample: str
    cost: float
    quality: float


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Quality against cost of samples, of models that can be sampled in more ways than one.

    Attributes:
        metric: Name of the quality's values.
        dataset: The data set.
        axis: What an axis calls the cost, with its unit.
        scale: How an axis shows it.
        rungs: By the rows' keys; of a model that is sampled in one way alone a single one.
    """

    metric: str
    dataset: str
    axis: str
    scale: Scale
    rungs: Mapping[str, tuple[Rung, ...]]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a paper's values and ours say of one claim.

    Attributes:
        row: Key of the row.
        label: What a plot calls it.
        unit: Of all numbers; ``doublings`` of ratios.
        half_width: Half the 95 % interval of the measured one over seeds.
    """

    row: str
    label: str
    unit: str
    published: float
    measured: float
    half_width: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row.

    Attributes:
        key: Unique on the board, in plain letters: its address on a page.
        name: The method, as printed.
        mark: Sign that the paper prints after the name, e.g. ``†``.
        sub: Second line: the likelihood in words, and what sets it apart from its namesakes.
        badges: Short warnings, of `BADGES`; and whose word the row is, of `STANDINGS`, where
            others have sent results.
        cells: One for each column.
        details: Everything behind it, for each data set that it ran on.
        own: The paper's own row.
        model: What runs it, ``name:preset``; empty without a plugin.
        contract: Outcome of the last ``flowbench check`` in words; empty if there was none.
        citation: The method's paper.
        trials: Settings that the sweep tried which chose its configuration; 0 without one.
        sweep_hours: Device-hours of all of these; None without any.
        num_parameters: Trainable parameters of ours.
        published_parameters: The paper's count.
        remark: Why no model runs it, or how far the one that does is the paper's.
    """

    key: str = ""
    name: str
    mark: str = ""
    sub: str = ""
    badges: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    details: tuple[Details, ...] = ()
    own: bool = False
    model: str = ""
    contract: str = ""
    citation: Citation | None = None
    trials: int = 0
    sweep_hours: float | None = None
    num_parameters: float | None = None
    published_parameters: float | None = None
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that belong together; a board without groups has one without a name.

    Attributes:
        name: Its name.
        rows: Its rows.
        printed: The paper prints the name; otherwise it only rules the blocks apart.
    """

    name: str
    rows: tuple[Row, ...] = ()
    printed: bool = True


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The published table that a board mirrors.

    Attributes:
        paper: Short name, e.g. ``DenseFlow``; boards of one paper stand together in an index.
        number: Number or heading of the table, e.g. ``Table 1``.
        provenance: Where the values were taken from, in a sentence.
        citation: The paper.
    """

    paper: str
    number: str
    provenance: str
    citation: Citation | None = None


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board.

    Attributes:
        slug: Its name in file names and addresses.
        title: Heading.
        description: A paragraph: what is compared, and how; whose numbers are whose.
        facts: Counts, one line.
        unshown: How many other runs of its models there are, in words; empty for none.
        columns: The columns.
        groups: The rows.
        notes: Letters and what they stand for.
        budget: Canonical text of the budget that all reproduced rows share; empty if none.
        row_header: Heading of the methods.
        key: How to read a cell, a sentence each, where that is unlike other boards.
        row_noun: What rows are, in the singular, where they are no methods.
        group_header: Heading of the groups, where the paper prints them as a column of their own;
            empty where a group's name stands above its rows.
        shared_unit: Unit and direction, where all columns share them; empty otherwise.
        layout: ``list`` for a listing of quantities: one column of values, no header.
        source: The table it mirrors; None for boards of our own.
        caveats: What to keep in mind when comparing, a sentence each.
        suite: The suite that it shows; empty for a board of whatever is in the store.
        cost: What using its models costs, lower being better; None if that is not known.
        ladders: How the quality of samples grows with what is spent on them, where that was
            measured.
        effects: Of a board of claims, those that the paper and we have both measured.
    """

    slug: str
    title: str
    description: str
    facts: tuple[str, ...] = ()
    unshown: str = ""
    columns: tuple[Column, ...]
    groups: tuple[Group, ...] = (Group(name=""),)
    notes: tuple[tuple[str, str], ...] = ()
    budget: str = ""
    row_header: str = "Method"
    key: tuple[str, ...] = ()
    row_noun: str = "method"
    group_header: str = ""
    shared_unit: str = ""
    layout: Literal["grid", "list"] = "grid"
    source: Origin | None = None
    caveats: tuple[str, ...] = ()
    suite: str = ""
    cost: Cost | None = None
    ladders: tuple[Ladder, ...] = ()
    effects: tuple[Effect, ...] = ()

    @property
    def rows(self) -> Iterator[Row]:
        """All rows in order."""
        return (row for group in self.groups for row in group.rows)

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of rows, each behind the row's name, and once."""
        told = (f"{row.name}{row.mark}: {row.remark}" for row in self.rows if row.remark)
        return list(dict.fromkeys(told))

    @property
    def cells(self) -> list[Cell]:
        """All cells, row by row."""
        return [cell for row in self.rows for cell in row.cells]

    @property
    def badges(self) -> list[tuple[str, str]]:
        """The badges that rows have, and what each says."""
        there = {badge for row in self.rows for badge in row.badges}
        return [(badge, text) for badge, text in (BADGES | STANDINGS).items() if badge in there]

    @property
    def is_mirrored(self) -> bool:
        """Whether any cell has a published value."""
        return any(cell.published for cell in self.cells)

    @property
    def has_ours(self) -> bool:
        """Whether anything of it was tried here."""
        return any(cell.value or cell.words for cell in self.cells)

    @property
    def noun(self) -> str:
        """What its rows are, in the singular."""
        return "value" if self.layout == "list" else self.row_noun

    def to_frame(self) -> pd.DataFrame:
        """All cells as a table of pandas: a line a cell, as shown and in full precision.

        Returns:
            A column for each of `FIELDS`, in that order; what a cell does not have is missing.
        """
        import pandas as pd

        kinds = {str: "string", float: "Float64", int: "Int64", bool: "boolean"}
        lines = list(self._lines())
        columns = {
            name: pd.array([line[name] for line in lines], dtype=kinds[kind])
            for name, kind in FIELDS.items()
        }
        return pd.DataFrame(columns)

    def _lines(self) -> Iterator[dict[str, object]]:
        notes = dict(self.notes) | {"": ""}
        for group in self.groups:
            for row in group.rows:
                of_row: dict[str, object] = {"board": self.slug, "group": group.name}
                of_row |= {"method": row.name}
                of_row |= {"trials": row.trials, "sweep_hours": row.sweep_hours}
                of_row |= {"mark": row.mark, "about": row.sub, "badges": ", ".join(row.badges)}
                for column, cell in zip(self.columns, row.cells, strict=True):
                    theirs = cell.published or Published(text="")
                    printed = {f"published_{name}": value for name, value in vars(theirs).items()}
                    yield (
                        vars(column) | of_row | vars(cell) | printed | {
                            "column": f"{column.label} {column.detail}".strip(),
                            "dataset": cell.dataset or column.dataset,
                            "metric": cell.metric or column.metric,
                            "note": notes[cell.note],
                            "published": theirs.text,
                            "published_note": notes[theirs.note],
                        }
                    )  # fmt: skip
