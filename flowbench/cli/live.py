"""The live display of a run: one line for all jobs, and one for each as far as there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flowbench.cli.names import short_names, telling_names
from flowbench.cli.quantities import clock_text, percent_text, rate_text, score_text
from flowbench.cli.tally import STATES, JobState, State, Tally
from flowbench.runner.attempt import Heartbeat

GAP = 2  # cells between two columns
NAME_WIDTH = 16  # a longer name is shortened to this before a column is left out
BAR_WIDTH = 12
OTHER_LINES = 4  # the line for all jobs, the header, the count of the rest, the cursor's line
FIRST: tuple[State, ...] = ("running", "failed", "done", "waiting")  # where there is little room


class LiveView:
    """Draws a tally in the width and height that the terminal has at the moment.

    Args:
        tally: The jobs.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        states = list(tally.states.values())
        names, self._shared = telling_names([state.job.row for state in states])
        self._rows = list(zip(names, states, strict=True))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of the display."""
        width = options.max_width
        yield Text(_overall(self._tally, width), "bold", no_wrap=True, overflow="crop")
        shown = _shown(self._rows, max(1, console.height - OTHER_LINES))
        yield _table(shown, self._shared, width, "~" if options.ascii_only else "…")
        rest = Counter(s.state for _, s in self._rows) - Counter(s.state for _, s in shown)
        if rest:
            said = f"and {rest.total()} more: {_counted(rest)}"
            yield Text(said, "dim", no_wrap=True, overflow="crop")


def _overall(tally: Tally, width: int) -> str:
    """How many jobs are where and how long all take, in the most words that fit."""
    counts, left = tally.counts(), tally.left_s()
    done = f"{counts['done']} of {counts.total()}"
    failed = {"failed": counts["failed"]}
    under_way = _counted({"running": counts["running"], "waiting": counts["waiting"], **failed})
    time = "" if left is None else f"{clock_text(left)} left"
    about = f"about {time}" if time else ""
    variants = (
        (f"{done} jobs done", under_way, about),
        (f"{done} done", under_way, time),
        (f"{done} done", _counted(failed), time),
    )
    lines = [", ".join(filter(None, parts)) for parts in variants]
    return next((line for line in lines if len(line) <= width), lines[-1])


def _counted(counts: dict[State, int] | Counter[State]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts.get(state))


def _shown(rows: Sequence[tuple[str, JobState]], room: int) -> list[tuple[str, JobState]]:
    """The rows that are worth the room most, in their order."""
    if len(rows) <= room + 1:  # the one more takes the line that would count it
        return list(rows)

    def worth(index: int) -> tuple[int, int]:
        state = rows[index][1].state
        # Of what is done, the latest; of what waits, the next.
        return FIRST.index(state), -index if state == "done" else index

    chosen = sorted(range(len(rows)), key=worth)[:room]
    return [rows[index] for index in sorted(chosen)]


@dataclass(frozen=True)
class _Column:
    """A column: its cells, and the cells of the terminal that it takes."""

    header: str
    cells: list[RenderableType]
    width: int
    right: bool = False


def _table(rows: Sequence[tuple[str, JobState]], shared: str, width: int, ellipsis: str) -> Table:
    states = [state for _, state in rows]
    phases = _text_column("", (_phase(state) for state in states), 10)
    bars = _Column("", [_bar(state) for state in states], BAR_WIDTH)
    percents = _text_column("", (_percent(state) for state in states), 4, right=True)
    rates = _text_column("steps/s", (_rate(state.heartbeat) for state in states), 7, right=True)
    scores = _text_column(
        "validation", (_score(state.heartbeat) for state in states), 10, right=True
    )
    left = _text_column("left", (_left(state) for state in states), 5, right=True)
    longest = max((cell_len(name) for name, _ in rows), default=0)
    # The most columns beside which names have room; what matters least is left out first.
    for columns in (
        (phases, bars, rates, scores, left),
        (phases, bars, scores, left),
        (phases, percents, scores, left),
        (phases, percents, left),
        (phases,),
    ):
        room = width - sum(column.width + GAP for column in columns)
        if room >= min(longest, NAME_WIDTH):
            break
    wanted = max(longest, len(shared))
    room = max(4, min(room, wanted))
    names = short_names([name for name, _ in rows], room, ellipsis)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for column in (_Column(shared, list(names), room), *columns):
        table.add_column(
            column.header,
            width=column.width,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="crop",
        )
    for cells in zip(names, *(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table


def _text_column(
    header: str, cells: Iterable[str | Text], width: int, *, right: bool = False
) -> _Column:
    listed = list(cells)
    widest = max((cell_len(str(cell)) for cell in listed), default=0)
    return _Column(header, list(listed), max(width, widest), right)


def _phase(state: JobState) -> Text:
    if state.record is not None:
        return Text(state.record.status, "green" if state.state == "done" else "red")
    if state.attempt is None:
        return Text("waiting", "dim")
    return Text("preparing" if state.heartbeat is None else state.heartbeat.phase)


def _bar(state: JobState) -> RenderableType:
    """How far the phase is; of one that does not know, what is at hand."""
    if state.record is not None:
        return Text(f"in {clock_text(state.took_s)}", "dim")
    if state.heartbeat is None:
        return ""
    if state.heartbeat.done is None:
        return Text(state.heartbeat.detail, "dim")
    return ProgressBar(total=1.0, completed=min(state.heartbeat.done, 1.0), width=BAR_WIDTH)


def _percent(state: JobState) -> str:
    beat = state.heartbeat
    unknown = beat is None or beat.done is None or state.record is not None
    return "" if unknown or beat is None else percent_text(beat.done)


def _left(state: JobState) -> str:
    return "" if state.left_s is None else clock_text(state.left_s)


def _rate(beat: Heartbeat | None) -> str:
    known = beat is not None and beat.phase in ("training", "looking") and beat.steps_per_s
    return rate_text(known) if known else ""


def _score(beat: Heartbeat | None) -> str:
    return "" if beat is None or beat.score is None else score_text(beat.score, beat.score_unit)
