"""The one table model: what a board says, before any rendering.

Every text in it is final: renderings lay it out and escape it, and change no word or digit. Text
from plugins, files and logs is in it as it came, so each rendering must treat all of it as hostile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flowbench.api.specs import Direction


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: one value of one data set.

    Attributes:
        key: Unique on the board, e.g. ``digits/bpd``.
        label: Heading.
        detail: Muted second part of the heading, such as the size of images.
        dataset: The data.
        metric: Name of the value.
        unit: Unit that the cells are written in; empty for a pure number.
        direction: Which way is better.
        decimals: Decimals of every value.
    """

    key: str
    label: str
    detail: str = ""
    dataset: str
    metric: str
    unit: str
    direction: Direction
    decimals: int


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a row has in a column.

    Attributes:
        value: Our value, in the column's decimals; empty without one.
        sign: ``=``, ``≤``, ``≥`` or ``≈`` before a likelihood.
        interval: ``±.01`` or ``n=1``; empty where the value has no spread over seeds.
        words: In place of a value, e.g. ``× diverged``.
        status: ``ok``, ``none`` or why there is no value.
        rank: Place among like values: ``1``, ``1=``, ``2``; ``–`` unranked; empty if nothing is.
        best: The best, or tied with it.
        unlike: Not to be ranked with the column's other values.
        note: Letter of a note, if it has one.
        mean: The value in full precision, in the column's unit.
        half_width: Half its 95 % interval over seeds.
        n: Runs behind it.
        published: The paper's value as printed.
        difference: Ours less the paper's.
        budget_share: What our training cost of what the paper's did.
    """

    value: str = ""
    sign: str = ""
    interval: str = ""
    words: str = ""
    status: str = "none"
    rank: str = ""
    best: bool = False
    unlike: bool = False
    note: str = ""
    mean: float | None = None
    half_width: float | None = None
    n: int = 0
    published: str = ""
    difference: str = ""
    budget_share: str = ""

    @property
    def text(self) -> str:
        """Our part of the cell in one line, the same in every rendering."""
        if not self.value:
            return self.words
        return " ".join(part for part in (self.sign, self.value, self.interval) if part)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that came to nothing.

    Attributes:
        title: Which, and how it ended.
        reason: Why.
        log_tail: Last lines of its log.
    """

    title: str
    reason: str
    log_tail: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The learning curve of one run.

    Attributes:
        seed: The run's seed.
        unit: ``bits/dim`` or ``nats``.
        points: Charged seconds and the validation value, in order.
    """

    seed: int
    unit: str
    points: tuple[tuple[float, float], ...]


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
        samples: Samples, if there are any.
        command: What reproduces the row.
        facts: Pairs of what and how: likelihood, hardware, versions.
        config: The configuration, flat; the flag tells what was set by hand.
    """

    values: tuple[tuple[str, str, str], ...] = ()
    failures: tuple[Failure, ...] = ()
    curves: tuple[Curve, ...] = ()
    ledger: tuple[tuple[str, float], ...] = ()
    samples: SampleGrid | None = None
    command: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    config: tuple[tuple[str, str, bool], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row.

    Attributes:
        key: Unique on the board and stable between renderings.
        name: The method.
        sub: Second line: the likelihood in words, and what sets it apart from its namesakes.
        badges: Short warnings, e.g. ``mixed code``.
        cells: One for each column.
        details: Everything behind it.
    """

    key: str
    name: str
    sub: str = ""
    badges: tuple[str, ...] = ()
    cells: tuple[Cell, ...]
    details: Details = Details()


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that belong together; a board without groups has one without a name."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board.

    Attributes:
        slug: Its name in file names and addresses.
        title: Heading.
        description: A paragraph: what is compared, and how.
        facts: Counts, one line.
        columns: The columns.
        groups: The rows.
        notes: Letters and what they stand for.
        budget: Canonical text of the budget that all rows share; empty if they share none.
    """

    slug: str
    title: str
    description: str
    facts: tuple[str, ...]
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[tuple[str, str], ...] = ()
    budget: str = ""

    @property
    def rows(self) -> Iterator[Row]:
        """All rows in order."""
        return (row for group in self.groups for row in group.rows)
