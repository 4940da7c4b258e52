"""The one builder: from a frame and its runs to a board, whoever laid the frame out."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from statistics import fmean, median

from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.ranking import Contender, Place, Ruler, rank
from flowbench.leaderboard.board.table import Board, Cell, Column, Cost, Row
from flowbench.leaderboard.build.cells import budget_share, compared, our_cell, percent, text_cell
from flowbench.leaderboard.build.details import details
from flowbench.leaderboard.build.evidence import (
    Method,
    Source,
    hardware,
    sweep_hours,
    swept,
    usual_hardware,
    values,
)
from flowbench.leaderboard.build.frame import Frame, FrameCell, FrameRow, common_budget
from flowbench.leaderboard.build.ladders import ladders
from flowbench.leaderboard.build.notes import Notes
from flowbench.leaderboard.build.printed import placed, rank_published
from flowbench.store.bundles import standing

_MAX_KEY = 40

Places = dict[tuple[tuple[str, ...], int], Place]
"""Places by the contest and the row's number in the frame."""


def fill(frame: Frame, source: Source) -> Board:
    """Fills a frame with the values of its runs.

    Args:
        frame: What belongs where.
        source: What is needed to compare and to explain the values.
    """
    return _Builder(frame, source).board()


class _Builder:
    """What the parts of one board share."""

    def __init__(self, frame: Frame, source: Source) -> None:
        self._frame, self._source, self._notes = frame, source, Notes()
        self._usual = usual_hardware(frame.records)
        self._submitted = bool(standing(frame.records))
        self._theirs: Places = {}
        self._ours: Places = {}
        self._rank()

    def board(self) -> Board:
        """The whole board."""
        asked, empty = self._frame.rows, self._frame.board
        order = self._order()
        keys = row_keys(asked[n].row.name for n in order)
        rows = {n: self._row(n, key) for n, key in zip(order, keys, strict=True)}

        def of_group(name: str) -> tuple[Row, ...]:
            return tuple(row for n, row in rows.items() if asked[n].group == name)

        columns, rows = _say_n_once(empty.columns, rows)
        groups = empty.groups
        if self._frame.best_first:
            first = list(dict.fromkeys(asked[n].group for n in order))
            groups = tuple(sorted(groups, key=lambda group: first.index(group.name)))
        return replace(
            empty,
            columns=columns,
            description=empty.description + self._why_empty(),
            facts=tuple(self._facts(list(rows.values()))),
            unshown=self._unshown(),
            groups=tuple(replace(group, rows=of_group(group.name)) for group in groups),
            notes=self._notes.letters(),
            budget=common_budget(self._frame.records),
            cost=_cost({row.key: m for n, row in rows.items() for m in asked[n].methods.values()}),
            ladders=tuple(
                ladders([(r.key, m) for n, r in rows.items() for m in asked[n].methods.values()])
            ),
        )

    def _why_empty(self) -> str:
        """What became of the runs of a board where none ended well."""
        counts = Counter(record.status for record in self._frame.records)
        if not counts or "ok" in counts:
            return ""
        came_to = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
        return f" No run ended well, so there are no values: {came_to}."

    def _unshown(self) -> str:
        """That there are results of what the board shows which stand nowhere on it."""
        chosen = self._frame.chosen
        if chosen is None or not chosen.left_out:
            return ""
        runs = words.count(chosen.left_out, "run")
        return f"{runs} of other settings, budgets or hardware not shown"

    def _order(self) -> list[int]:
        """The rows in order: the best first, or as they are."""
        rows, is_higher = self._frame.rows, self._frame.board.columns[0].direction == "higher"

        def order(number: int) -> tuple[bool, float, str]:
            place = self._ours.get((rows[number].cells[0].contest, number))
            mean = place.mean if place else None
            value = math.inf if mean is None else -mean if is_higher else mean
            return (mean is None, value, rows[number].row.name)

        as_they_are = list(range(len(rows)))
        return sorted(as_they_are, key=order) if self._frame.best_first else as_they_are

    def _rank(self) -> None:
        """Ranks published values and ours, each apart: what is struck has no place."""
        contests: dict[tuple[str, ...], dict[int, FrameCell]] = defaultdict(dict)
        for number, row in enumerate(self._frame.rows):
            for cell in row.cells:
                contests[cell.contest][number] = cell
        for contest, cells in contests.items():
            direction = next(iter(cells.values())).direction
            printed = {str(n): (c.published, c.theirs) for n, c in cells.items() if c.published}
            contenders: dict[bool, list[Contender]] = {True: [], False: []}
            for number, cell in cells.items():
                if cell.method and cell.ours and not cell.is_text:
                    one = cell.method.contender(str(number), cell.ours.name)
                    contenders[bool(self._source.struck(cell.method))].append(one)
            ruled = self._ruler(cells.values())
            # Struck rows keep their values and compete with nobody: no rank depends on what is not
            # believed.
            ours = rank(contenders[False], direction, *ruled) + rank(contenders[True], "none")
            for places, found in (
                (self._theirs, rank_published(printed, direction)),
                (self._ours, ours),
            ):
                places.update({(contest, int(place.row)): place for place in found})

    @staticmethod
    def _ruler(cells: Iterable[FrameCell]) -> tuple[Ruler, str]:
        """How the values of a contest are held against each other, and their unit."""
        found = (c.method.measured(c.ours.name) for c in cells if c.method and c.ours)
        # Of one column all values have one role and unit, or they are not alike and not ranked.
        first = next((m for m in found if m is not None), None)
        if first is None:
            return "linear", ""
        return "exact" if first.role == "count" else first.scale or "linear", first.unit

    # --- rows and cells ---

    def _row(self, number: int, key: str) -> Row:
        asked, source = self._frame.rows[number], self._source
        methods = asked.methods
        badges = dict.fromkeys(b for method in methods.values() for b in source.badges(method))
        row = replace(
            asked.row,
            key=key,
            sub="; ".join(self._about(asked)),
            badges=tuple(badges),
            cells=tuple(self._cells(number, asked)),
            model=next((cell.model for cell in asked.cells if cell.model), ""),
        )
        if not methods:
            quoted = self._submitted and any(cell.published for cell in row.cells)
            return replace(row, badges=("published",)) if quoted else row
        first = next(iter(methods.values()))
        several = Counter(dataset for dataset, _ in methods)
        return replace(
            row,
            details=tuple(
                replace(
                    details(m, source.contents, self._frame.metrics),
                    model=model if several[dataset] > 1 else "",
                )
                for (dataset, model), m in methods.items()
            ),
            contract=source.contract_of(first),
            trials=0 if (tuning := swept(first.records)) is None else tuning.trials,
            sweep_hours=sweep_hours(first.records),
            num_parameters=first.first.num_parameters,
        )

    def _about(self, asked: FrameRow) -> Iterator[str]:
        """What sets a row apart: its likelihood too, and precision and hardware of few others."""
        parts = [asked.row.sub]
        parts += dict.fromkeys(method.first.job.in_parts for method in asked.methods.values())
        for method in list(asked.methods.values())[:1]:
            machine = hardware(method.first)
            parts.append(words.likelihood(method.first.likelihood))
            parts.append(words.precision(method.first.job.config))
            parts.append(machine if machine and machine != self._usual else "")
            parts.append(words.best_of(swept(method.records)))
        return (part for part in parts if part)

    def _cells(self, number: int, row: FrameRow) -> Iterator[Cell]:
        told: set[str] = set()  # runs that failed as a whole say so once
        for asked, column in zip(row.cells, self._frame.board.columns, strict=True):
            printed = asked.published
            place = self._theirs.get((asked.contest, number))
            if printed is not None and place is not None:
                printed = placed(printed, place, asked.direction, self._notes)
            yield replace(
                compared(self._our_cell(number, asked, told), printed, asked),
                dataset="" if column.dataset else asked.dataset,
                metric="" if column.metric == asked.metric else asked.metric,
                model=asked.model,
            )

    def _our_cell(self, number: int, asked: FrameCell, told: set[str]) -> Cell:
        method, notes = asked.method, self._notes
        if method is None or asked.ours is None:
            return Cell()
        if asked.is_text:
            return text_cell(method)
        place, struck = self._ours[asked.contest, number], self._source.struck(method)
        cell = our_cell(asked, place, notes, first=method.key not in told, struck=struck)
        if cell.value or cell.words:
            told.add(method.key)
        return cell

    # --- counts ---

    def _facts(self, rows: Sequence[Row]) -> Iterator[str]:
        frame, records = self._frame, self._frame.records
        cells = [cell for row in rows for cell in row.cells]
        published = sum(cell.published is not None for cell in cells)
        if published:
            done = sum(any(cell.value for cell in row.cells) for row in rows)
            yield words.count(published, "published value")
            yield f"{sum(bool(cell.value) for cell in cells)} reproduced"
            yield f"{done} of {words.count(len(rows), 'row')} with a value of ours"
        else:
            yield words.count(len(rows), frame.noun)
            yield words.count(len(records), "run")
        failed = sum(r.status not in ("ok", "skipped") for r in records)
        if failed:
            yield f"{failed} failed"
        if frame.chosen and frame.chosen.waiting:
            yield f"{words.count(frame.chosen.waiting, 'model')} not run yet"
        if frame.chosen and frame.chosen.partial:
            yield f"{words.count(frame.chosen.partial, 'model')} run on some data sets only"
        shares = [share for cell in cells if cell.budget_share and (share := budget_share(cell))]
        if shares:
            yield f"median budget share {percent(median(shares))}"


def _say_n_once(
    columns: Sequence[Column], rows: Mapping[int, Row]
) -> tuple[tuple[Column, ...], dict[int, Row]]:
    """Says in a heading how many runs there are, where all values of a column have as many."""
    headed, cells = [], {n: list(row.cells) for n, row in rows.items()}
    for place, column in enumerate(columns):
        alike = {row.cells[place].n for row in rows.values() if row.cells[place].interval}
        quoted = any(row.cells[place].published for row in rows.values())
        if len(alike) == 1 and alike != {1} and not quoted:
            column = replace(column, n=alike.pop())
            for some in cells.values():
                plain = some[place].interval.removesuffix(f", n={column.n}")
                some[place] = replace(some[place], interval=plain)
        headed.append(column)
    return tuple(headed), {n: replace(row, cells=tuple(cells[n])) for n, row in rows.items()}


def _cost(methods: Mapping[str, Method]) -> Cost | None:
    """What using models costs, where lower is better: by the first measure that there is."""
    measured = [
        (key, m.value, m)
        for key, method in methods.items()
        for record in method.ended_well
        for m in values(record).values()
        if m.value is not None and (m.role, m.direction) == ("cost", "lower")
    ]
    if not measured:
        return None
    first = measured[0][2]
    factor, unit = numbers.scale(first.unit)
    found: dict[str, list[float]] = defaultdict(list)
    for key, value, m in measured:
        if m.name == first.name:
            found[key].append(value / factor)
    axis = words.lower_first(words.with_unit(first.short or first.name, unit, " in "))
    means = {key: fmean(some) for key, some in found.items()}
    return Cost(axis=axis, scale=first.scale or "linear", values=means)


def row_keys(names: Iterable[str]) -> Iterator[str]:
    """An id for each row: its name in plain letters, numbered where names repeat."""
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^a-z0-9]+", "-", words.printable(name).lower()).strip("-")
        stem = f"m-{plain[:_MAX_KEY] or 'row'}"
        numbered = (f"{stem}-{n}" for n in count(2))
        key = next(key for key in chain([stem], numbered) if key not in taken)
        taken.add(key)
        yield key
