"""A suite's board: the paper's table with our values in it, or a table of our own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from flowbench.leaderboard import numbers, words
from flowbench.leaderboard.cells import our_cell, our_places
from flowbench.leaderboard.citations import citation, paper_citation, short_name
from flowbench.leaderboard.details import details
from flowbench.leaderboard.evidence import Method, Source, hardware
from flowbench.leaderboard.notes import Notes
from flowbench.leaderboard.printed import placed, rank_published
from flowbench.leaderboard.ranking import Place
from flowbench.leaderboard.rows import contract_of, latency_s
from flowbench.leaderboard.slots import Frame, Line, Slot, mirrored_frame, own_frame
from flowbench.leaderboard.standing import Pair, choose
from flowbench.leaderboard.table import Board, Cell, Column, Group, Origin, Published, Row
from flowbench.store.records import AttemptRow
from flowbench.suite.published import PublishedTable, published_table
from flowbench.suite.schema import BoardLayout, Suite

_SUBJECTS = {
    "bpd": "Bits per dimension",
    "nll": "Negative log-likelihood in nats",
    "fid": "Fréchet Inception distance",
    "ll_nats_per_dim": "Log-likelihood in nats per sample",
}
_SHORT_PAPERS = {"denseflow": "DenseFlow", "tarflow": "TarFlow", "nanoflow": "NanoFlow"}
_MAX_BADGES = 2
_COSTS = frozenset({"params", "num_devices", "train_hours", "device_hours", "gpu_hours"})


def suite_board(suite: Suite, source: Source) -> Board:
    """Lays out a suite's board.

    Args:
        suite: A suite with a board that mirrors a published table or names its columns.
        source: Records, and what is needed to compare them; there may be none.

    Returns:
        The board.
    """
    layout = suite.board or BoardLayout()
    table = published_table(layout.published) if layout.published else None
    frame = own_frame(suite) if table is None else mirrored_frame(table, layout)
    return _Builder(suite=suite, table=table, frame=frame, source=source).board()


class _Builder:
    """What the parts of one board share."""

    def __init__(
        self, *, suite: Suite, table: PublishedTable | None, frame: Frame, source: Source
    ) -> None:
        self._suite, self._table, self._frame, self._source = suite, table, frame, source
        pairs = [_pair(slot) for line in frame.lines for slot in line.slots if slot.model]
        self._runs, self._left_out = choose(suite, source, pairs)
        self._num_pairs = len(set(pairs))
        self._notes = Notes()
        self._theirs, self._ours = _their_places(frame), self._our_places()

    def board(self) -> Board:
        """The whole board."""
        rows = {line.key: self._row(line) for line in self._frame.lines}
        table = self._table
        return Board(
            slug=self._suite.name,
            suite=self._suite.name,
            title=self._suite.title or self._suite.name,
            description=self._description(),
            facts=tuple(self._facts(list(rows.values()))),
            columns=self._frame.columns,
            groups=tuple(self._groups(rows)),
            notes=self._notes.letters(),
            budget=self._budget(),
            row_header=table.row_header if table else "Model",
            group_header=table.group_header if table and table.group_as_column else "",
            shared_unit=_shared_unit(self._frame.columns),
            layout=table.layout if table else "grid",
            source=_origin(table, self._suite) if table else None,
        )

    def _groups(self, rows: Mapping[str, Row]) -> Iterator[Group]:
        printed = self._table is None or self._table.groups_printed
        for name in self._frame.groups:
            members = tuple(rows[line.key] for line in self._frame.lines if line.group == name)
            yield Group(name=name, rows=members, printed=printed and bool(name))

    # --- rows and cells ---

    def _row(self, line: Line) -> Row:
        runs = {
            slot.dataset: self._runs[_pair(slot)]
            for slot in line.slots
            if _pair(slot) in self._runs
        }
        methods = list(runs.values())
        first = methods[0] if methods else None
        contents, metrics = self._source.contents, self._suite.metrics
        shown = {d: details(method, contents, metrics) for d, method in runs.items()}
        badges = dict.fromkeys(b for method in methods for b in self._source.badges(method))
        said = words.likelihood(first.first.likelihood) if first else ""
        row = Row(
            key=line.key,
            name=line.label,
            mark=line.mark,
            sub="; ".join(part for part in (line.sub, said) if part),
            badges=tuple(badges)[:_MAX_BADGES],
            cells=tuple(self._cells(line)),
            others=tuple(list(shown.items())[1:]),
            own=line.own,
            model=next((slot.model for slot in line.slots if slot.model), ""),
            citation=citation(line.bib),
            published_parameters=line.published_parameters,
        )
        if first is None:
            return row
        return replace(
            row,
            details=next(iter(shown.values())),
            contract=contract_of(self._source, first),
            num_parameters=first.first.num_parameters,
            latency_s=latency_s(first),
        )

    def _cells(self, line: Line) -> Iterator[Cell]:
        told: set[Pair] = set()  # runs that failed as a whole say so once
        for slot, column in zip(line.slots, self._frame.columns, strict=True):
            printed = slot.published
            place = self._theirs.get((slot.contest, line.key))
            if printed is not None and place is not None:
                printed = placed(printed, place, slot.direction, self._notes)
            cell = self._our_cell(line, slot, first=_pair(slot) not in told)
            if _pair(slot) in self._runs and (cell.value or cell.words):
                told.add(_pair(slot))
            cell = _compared(cell, printed, slot, self._runs.get(_pair(slot)))
            yield replace(
                cell,
                dataset="" if column.dataset else slot.dataset,
                metric="" if column.metric == slot.metric else slot.metric,
                model=slot.model,
            )

    def _our_cell(self, line: Line, slot: Slot, *, first: bool) -> Cell:
        method = self._runs.get(_pair(slot))
        if method is None or slot.ours is None:
            return Cell()
        if slot.text:
            machine = hardware(method.first)
            return Cell(value=machine, status="ok") if machine else Cell()
        return our_cell(
            method,
            slot.ours.name,
            self._ours[slot.contest][line.key],
            self._notes,
            decimals=slot.decimals,
            ranked=slot.direction != "none",
            first=first,
            struck=self._source.fails_contract(method),
            per=slot.ours.per,
            remark=_apart(slot) if slot.published else "",
        )

    def _our_places(self) -> dict[tuple[str, ...], dict[str, Place]]:
        contests: dict[tuple[str, ...], list[tuple[Line, Slot]]] = defaultdict(list)
        for line in self._frame.lines:
            for slot in line.slots:
                if slot.ours and not slot.text and _pair(slot) in self._runs:
                    contests[slot.contest].append((line, slot))
        places = {}
        for contest, members in contests.items():
            methods = {line.key: self._runs[_pair(slot)] for line, slot in members}
            entries = [
                methods[line.key].entry(line.key, slot.ours.name)
                for line, slot in members
                if slot.ours
            ]
            failing = (key for key, m in methods.items() if self._source.fails_contract(m))
            places[contest] = our_places(entries, members[0][1].direction, frozenset(failing))
        return places

    # --- words ---

    def _shown(self) -> list[AttemptRow]:
        return [record for method in self._runs.values() for record in method.records]

    def _budget(self) -> str:
        budgets = {record.job.budget for record in self._shown()}
        return budgets.pop() if len(budgets) == 1 else ""

    def _description(self) -> str:
        said = []
        if self._table is not None:
            paper = self._table.paper
            number = self._table.number
            number = "Running text" if number == "text" else number[:1].upper() + number[1:]
            where = f"{number} of {short_name(paper)}"
            said += [f"{where}: {self._table.caption}", "Published values stand as printed."]
        shown = self._shown()
        if shown:
            who = "Every model was" if self._table is None else "Ours were"
            budget = self._budget()
            trained = f"trained for {words.budget(budget)}{_where(shown)} and " if budget else ""
            said.append(f"{who} {trained}measured by flowbench’s protocol.")
        else:
            said.append("Nothing of it has been reproduced here yet.")
        return " ".join(said)

    def _facts(self, rows: Sequence[Row]) -> Iterator[str]:
        cells = [cell for row in rows for cell in row.cells]
        published = sum(cell.published is not None for cell in cells)
        if published:
            yield _count(published, "published value")
        if self._table is None:
            yield _count(len(rows), "model")
            yield _count(len(self._shown()), "run")
        else:
            yield f"{sum(bool(cell.value) for cell in cells)} reproduced"
            done = sum(any(cell.value for cell in row.cells) for row in rows)
            yield f"{done} of {_count(len(rows), 'row')} with a value of ours"
        failed = sum(r.status not in ("ok", "skipped") for r in self._shown())
        if failed:
            yield f"{failed} failed"
        waiting = self._num_pairs - len(self._runs)
        if waiting:
            yield f"{_count(waiting, 'model')} not run yet"
        shown = (_share(cell) for cell in cells if cell.budget_share)
        shares = [share for share in shown if share is not None]
        if shares:
            yield f"median budget share {_percent(median(shares))}"
        if self._left_out:
            yield f"{_count(self._left_out, 'run')} of other budgets or hardware not shown"


def _where(records: Sequence[AttemptRow]) -> str:
    """The hardware, if all ran on the same."""
    machines = {said for record in records if (said := hardware(record))}
    return f" on {machines.pop()}," if len(machines) == 1 else ""


def _pair(slot: Slot) -> Pair:
    return slot.dataset, slot.model


def _their_places(frame: Frame) -> dict[tuple[tuple[str, ...], str], Place]:
    contests: dict[tuple[str, ...], dict[str, Slot]] = defaultdict(dict)
    for line in frame.lines:
        for slot in line.slots:
            if slot.published is not None:
                contests[slot.contest][line.key] = slot
    found = {}
    for contest, slots in contests.items():
        cells = {k: (s.published, s.theirs) for k, s in slots.items() if s.published is not None}
        direction = next(iter(slots.values())).direction
        for row, place in rank_published(cells, direction).items():
            found[contest, row] = place
    return found


def _apart(slot: Slot) -> str:
    said = (f"our {fact} is {ours}, the paper’s is {theirs}" for fact, ours, theirs in slot.apart)
    told = "; ".join(said)
    return f"Not compared with the published value: {told}." if told else ""


def _compared(cell: Cell, published: Published | None, slot: Slot, method: Method | None) -> Cell:
    """Both parts of a cell, with what lies between them."""
    mean = cell.mean
    cell = replace(cell, published=published)
    if published is None or method is None or mean is None:
        return cell
    if published.value is not None and not slot.apart:
        gap = mean - published.value
        cell = replace(cell, difference=numbers.signed(gap, slot.decimals), difference_value=gap)
    share = _share(cell)
    on_gpus = all(r.device_kind == "cuda" for r in method.records if r.status == "ok")
    # Hours of a CPU are no share of hours of a GPU; and a cost is not what the budget bought.
    if share is None or not on_gpus or (slot.ours and slot.ours.name in _COSTS):
        return cell
    return replace(cell, budget_share=_percent(share))


def _share(cell: Cell) -> float | None:
    paper = cell.published.device_hours if cell.published else None
    return None if paper is None or cell.device_hours is None else cell.device_hours / paper


def _percent(share: float) -> str:
    percent = 100 * share
    if percent < 0.01:
        return f"<0.01{numbers.NO_BREAK}%"
    decimals = 0 if percent >= 10 else 1 if percent >= 0.1 else 2
    return f"{percent:,.{decimals}f}{numbers.NO_BREAK}%"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _shared_unit(columns: Sequence[Column]) -> str:
    shared = {(column.metric, column.direction) for column in columns}
    if len(shared) != 1:
        return ""
    metric, direction = shared.pop()
    better = words.better(direction)
    return f"{_SUBJECTS[metric]}, {better}" if metric in _SUBJECTS and better else ""


def _origin(table: PublishedTable, suite: Suite) -> Origin:
    return Origin(
        paper=_SHORT_PAPERS.get(table.paper.id, table.paper.title),
        number=table.number[:1].upper() + table.number[1:],
        provenance=f"Published values: {table.paper.source}.",
        caveats=suite.board.caveats if suite.board else (),
        citation=paper_citation(table.paper),
    )


@dataclass(frozen=True)
class Problem:
    """What keeps a board from being taken at its word; see `problems`."""

    row: str
    column: str
    text: str


def problems(board: Board) -> list[Problem]:
    """All that a strict reader would not accept of our part of a board.

    Args:
        board: The board.

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
