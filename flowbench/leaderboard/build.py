"""The one builder: from a frame and its runs to a board, whoever laid the frame out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from flowbench.leaderboard import numbers, words
from flowbench.leaderboard.cells import budget_share, compared, our_cell, percent, text_cell
from flowbench.leaderboard.citations import citation
from flowbench.leaderboard.details import details
from flowbench.leaderboard.evidence import Method, Source, hardware, usual_hardware, values
from flowbench.leaderboard.frame import Frame, FrameCell, FrameRow, common_budget
from flowbench.leaderboard.notes import Notes
from flowbench.leaderboard.printed import placed, rank_published
from flowbench.leaderboard.ranking import Contender, Place, rank
from flowbench.leaderboard.table import Board, Cell, Cost, Group, Row

_MAX_BADGES = 2

Places = Mapping[tuple[tuple[str, ...], int], Place]
"""Places by the contest and the row's number in the frame."""


def build(frame: Frame, source: Source) -> Board:
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
        self._theirs, self._ours = self._places()

    def board(self) -> Board:
        frame = self._frame
        rows = {
            number: self._row(number, f"row-{index}")
            for index, number in enumerate(self._order(), start=1)
        }
        groups = (
            Group(
                name=name,
                rows=tuple(row for n, row in rows.items() if frame.rows[n].group == name),
                printed=frame.groups_printed and bool(name),
            )
            for name in frame.groups
        )
        return Board(
            slug=frame.slug,
            suite=frame.suite,
            title=frame.title,
            description=frame.description,
            facts=tuple(self._facts(list(rows.values()))),
            columns=frame.columns,
            groups=tuple(groups),
            notes=self._notes.letters(),
            budget=common_budget(frame.records),
            row_header=frame.row_header,
            group_header=frame.group_header,
            shared_unit=frame.shared_unit,
            layout=frame.layout,
            source=frame.source,
        )

    def _order(self) -> list[int]:
        """The rows in order: the best first, or as they are."""
        rows, column = self._frame.rows, self._frame.columns[0]
        sign = -1.0 if column.direction == "higher" else 1.0

        def order(number: int) -> tuple[bool, float, str, int]:
            place = self._ours.get((rows[number].cells[0].contest, number))
            mean = place.mean if place else None
            value = math.inf if mean is None else sign * mean
            return (mean is None, value, rows[number].label, number)

        numbers_ = range(len(rows))
        return sorted(numbers_, key=order) if self._frame.best_first else list(numbers_)

    # --- places ---

    def _places(self) -> tuple[Places, Places]:
        """The published values' places, and ours: models that fail their contract have none."""
        contests: dict[tuple[str, ...], dict[int, FrameCell]] = defaultdict(dict)
        for number, row in enumerate(self._frame.rows):
            for cell in row.cells:
                contests[cell.contest][number] = cell
        theirs: dict[tuple[tuple[str, ...], int], Place] = {}
        ours: dict[tuple[tuple[str, ...], int], Place] = {}
        for contest, cells in contests.items():
            direction = next(iter(cells.values())).direction
            printed = {str(n): (c.published, c.theirs) for n, c in cells.items() if c.published}
            for key, place in rank_published(printed, direction).items():
                theirs[contest, int(key)] = place
            sound: list[Contender] = []
            failing: list[Contender] = []
            for number, cell in cells.items():
                if cell.method and cell.ours and not cell.is_text:
                    fails = self._source.fails_contract(cell.method)
                    one = cell.method.contender(str(number), cell.ours.name)
                    (failing if fails else sound).append(one)
            for place in rank(sound, direction) + rank(failing, "none"):
                ours[contest, int(place.row)] = place
        return theirs, ours

    # --- rows and cells ---

    def _row(self, number: int, key: str) -> Row:
        asked, source = self._frame.rows[number], self._source
        methods = asked.methods
        badges = dict.fromkeys(b for method in methods.values() for b in source.badges(method))
        shown = {
            dataset: details(method, source.contents, self._frame.metrics)
            for dataset, method in methods.items()
        }
        row = Row(
            key=key,
            name=asked.label,
            mark=asked.mark,
            sub="; ".join(self._about(asked, methods)),
            badges=tuple(badges)[:_MAX_BADGES],
            cells=tuple(self._cells(number, asked)),
            others=tuple(list(shown.items())[1:]),
            own=asked.own,
            model=next((cell.model for cell in asked.cells if cell.model), ""),
            citation=citation(asked.bib),
            published_parameters=asked.published_parameters,
        )
        first = next(iter(methods.values()), None)
        if first is None:
            return row
        return replace(
            row,
            details=next(iter(shown.values())),
            contract=source.contract_of(first),
            num_parameters=first.first.num_parameters,
            costs=tuple(_costs(first)),
        )

    def _about(self, asked: FrameRow, methods: Mapping[str, Method]) -> Iterator[str]:
        """What sets a row apart, its likelihood, and hardware that most others did not have."""
        if asked.about:
            yield asked.about
        for method in list(methods.values())[:1]:
            yield from filter(None, (words.likelihood(method.first.likelihood),))
            machine = hardware(method.first)
            if machine is not None and machine != self._usual:
                yield machine

    def _cells(self, number: int, row: FrameRow) -> Iterator[Cell]:
        told: set[str] = set()  # runs that failed as a whole say so once
        for asked, column in zip(row.cells, self._frame.columns, strict=True):
            printed = asked.published
            place = self._theirs.get((asked.contest, number))
            if printed is not None and place is not None:
                printed = placed(printed, place, asked.direction, self._notes)
            cell = self._our_cell(number, asked, told)
            yield replace(
                compared(cell, printed, asked),
                dataset="" if column.dataset else asked.dataset,
                metric="" if column.metric == asked.metric else asked.metric,
                model=asked.model,
            )

    def _our_cell(self, number: int, asked: FrameCell, told: set[str]) -> Cell:
        if asked.method is None or asked.ours is None:
            return Cell()
        if asked.is_text:
            return text_cell(asked.method)
        cell = our_cell(
            asked,
            self._ours[asked.contest, number],
            self._notes,
            first=asked.method.key not in told,
            struck=self._source.fails_contract(asked.method),
        )
        if cell.value or cell.words:
            told.add(asked.method.key)
        return cell

    # --- counts ---

    def _facts(self, rows: Sequence[Row]) -> Iterator[str]:
        frame, cells = self._frame, [cell for row in rows for cell in row.cells]
        records = frame.records
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
        if frame.waiting:
            yield f"{words.count(frame.waiting, 'model')} not run yet"
        shares = [share for cell in cells if cell.budget_share and (share := budget_share(cell))]
        if shares:
            yield f"median budget share {percent(median(shares))}"
        if frame.left_out:
            yield f"{words.count(frame.left_out, 'run')} of other budgets or hardware not shown"


def _costs(method: Method) -> Iterator[Cost]:
    """What using a row's model costs, where lower is better: of the first run that has it."""
    names = dict.fromkeys(name for record in method.records for name in values(record))
    for name in names:
        found = (values(record).get(name) for record in method.records)
        m = next((m for m in found if m is not None and m.value is not None), None)
        if m is None or m.value is None or (m.role, m.direction) != ("cost", "lower"):
            continue
        factor, unit = numbers.scale(m.unit)
        axis = words.lower_first(words.with_unit(m.short or name, unit, " in "))
        yield Cost(metric=name, axis=axis, scale=m.scale or "linear", value=m.value / factor)


@dataclass(frozen=True)
class Problem:
    """What keeps a board from being taken at its word; see `problems`."""

    row: str
    column: str
    text: str


def problems(board: Board) -> list[Problem]:
    """All that a strict reader would not accept of our part of a board.

    Returns:
        Cells that a model could fill and that are empty, failed, of a single run, of a model that
        fails its contract, or made by code that has been replaced.
    """
    found = []
    for row in board.rows:
        badges = [badge for badge in row.badges if badge in ("contract ×", "stale")]
        found += [Problem(row.name, "", badge) for badge in badges]
        failed = {cell.model for cell in row.cells if cell.words}
        for column, cell in zip(board.columns, row.cells, strict=True):
            if cell.words:
                found.append(Problem(row.name, column.label, cell.words))
            elif cell.interval == "n=1":
                found.append(Problem(row.name, column.label, "n=1"))
            elif cell.model and not cell.value and cell.model not in failed:
                found.append(Problem(row.name, column.label, "no value"))
    return found
