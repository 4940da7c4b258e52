"""The live display of a run: one line for all jobs, and one for each as far as there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flowbench.cli.columns import visible
from flowbench.cli.names import short_names, telling_names
from flowbench.cli.quantities import clock_text, percent_text, rate_text, score_text
from flowbench.cli.tally import STATES, JobState, State, Tally
from flowbench.runner.attempt import Heartbeat

GAP = 2  # cells between two columns
NAME_WIDTH = 16  # a longer name is shortened to this before a column is left out
BAR_WIDTH, MAX_BAR_WIDTH = 12, 20
OTHER_LINES = 4  # the line for all jobs, the header, the count of the rest, the cursor's line
FIRST: tuple[State, ...] = (
    "running",
    "failed",
    "stopped",
    "pruned",
    "done",
    "waiting",
)  # where there is little room
_COLOURS: dict[State, str] = {"done": "green", "pruned": "dim"}


class LiveView:
    """Draws a tally in the width and height that the terminal has at the moment.

    Args:
        tally: The jobs.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._num_jobs, self._jobs = 0, JobsView(())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of the display."""
        # A terminal echoes an interrupt as ^C behind the last line, which must not wrap by it: rich
        # goes up by as many lines as it has printed.
        width = max(1, options.max_width - len("^C"))
        if len(self._tally.states) != self._num_jobs:  # else names are what they were
            self._num_jobs = len(self._tally.states)
            self._jobs = JobsView(list(self._tally.states.values()))
        headline = _line(_overall(self._tally, width), "bold")
        yield Constrain(Group(headline, self._jobs), width)


class JobsView:
    """Draws a line for each job, as far as there is room."""

    def __init__(self, states: Sequence[JobState]) -> None:
        names, shared = telling_names([state.row for state in states])
        self._shared = visible(shared)
        self._rows = list(zip(map(visible, names), states, strict=True))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of the jobs, and how many more there are."""
        others = OTHER_LINES + (cell_len(self._shared) > NAME_WIDTH)  # it may take a line itself
        shown = _shown(self._rows, max(1, console.height - others))
        rest = Counter(s.state for _, s in self._rows) - Counter(s.state for _, s in shown)
        yield _table(shown, self._shared, options.max_width, "~" if options.ascii_only else "…")
        if rest:
            yield _line(f"and {_more(rest)}", "dim")


def _line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="crop")


def _overall(tally: Tally, width: int) -> str:
    """How many jobs are where and how long all take, in the most words that fit."""
    counts = tally.counts()
    done, time = f"{counts['done']} of {counts.total()}", time_text(tally)
    rest = _counted(counts, STATES[1:])
    variants = (
        (f"{done} job{'s' * (counts.total() > 1)} done", rest, time),
        (f"{done} done", rest, time),
        (f"{done} done", _counted(counts, ("failed",)), time),
    )
    lines = [", ".join(filter(None, parts)) for parts in variants]
    return next((line for line in lines if len(line) <= width), lines[-1])


def _counted(counts: Counter[State], which: Sequence[State] = STATES) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in which if counts[state])


def _more(rest: Counter[State]) -> str:
    if len(rest) == 1:
        ((state, count),) = rest.items()
        return f"{count} more {state}"
    return f"{rest.total()} more: {_counted(rest)}"


def time_text(tally: Tally) -> str:
    """How long all jobs still take, or took; nothing where it is not known."""
    counts, left = tally.counts(), tally.left_s()
    if counts["running"] + counts["waiting"] == 0:
        return f"in {clock_text(tally.elapsed_s())}"
    if left is None:
        return ""
    return f"{'about' if tally.knows_ends() else 'at least'} {clock_text(left)} left"


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
    percents = _text_column("", (_percent(state) for state in states), 5, right=True)
    rates = _text_column("steps/s", (_rate(state) for state in states), 7, right=True)
    scores = _text_column(
        "validation", (_score(state.heartbeat) for state in states), 10, right=True
    )
    left = _text_column("left", (_left(state) for state in states), 5, right=True)
    longest = max((cell_len(name) for name, _ in rows), default=0)
    # The most columns beside which names have room; what matters least is left out first.
    for columns in (
        # From all of them down: name, phase and time left are what one looks for.
        (phases, bars, rates, scores, left),
        (phases, bars, scores, left),
        (phases, percents, scores, left),
        (phases, percents, left),
    ):
        room = width - sum(column.width + GAP for column in columns)
        if room >= min(longest, NAME_WIDTH):
            break
    wanted = max(longest, len(shared))
    if bars in columns and room > wanted:
        more = min(room - wanted, MAX_BAR_WIDTH - BAR_WIDTH)
        columns = (phases, replace(bars, width=BAR_WIDTH + more), *columns[2:])
    # In a window of a few cells there is nothing to be read anyway; it must only not fail.
    room = max(4, min(room, wanted))
    names = short_names([name for name, _ in rows], room, ellipsis)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    (header,) = short_names([shared], room, ellipsis)
    if header != shared and cell_len(shared) <= width:  # a line of its own has room for all of it
        table.title, table.title_style, table.title_justify = shared, "dim", "left"
        header = ""
    for column in (_Column(header, list(names), room), *columns):
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
    listed = [visible(cell) if isinstance(cell, str) else cell for cell in cells]
    widest = max((cell_len(str(cell)) for cell in listed), default=0)
    return _Column(header, list(listed), max(width, widest), right)


def _phase(state: JobState) -> Text:
    if state.record is not None:
        return Text(state.record.status, _COLOURS.get(state.state, "red"))
    if state.attempt is None:
        return Text("waiting", "dim")
    return Text("preparing" if state.heartbeat is None else state.heartbeat.phase)


def _bar(state: JobState) -> RenderableType:
    """How far the phase is; of one that does not know, what is at hand."""
    if state.record is not None:
        return Text(f"in {clock_text(state.took_s)}", "dim")
    if state.heartbeat is None:
        return Text(visible(state.queued), "dim")
    if state.heartbeat.done is None:
        return Text(visible(state.heartbeat.detail), "dim")
    return ProgressBar(total=1.0, completed=min(state.heartbeat.done, 1.0))


def _percent(state: JobState) -> str:
    beat = state.heartbeat
    if beat is None or beat.done is None or state.record is not None:
        return ""
    return percent_text(beat.done)


def _left(state: JobState) -> str:
    return "" if state.left_s is None else clock_text(state.left_s)


def _rate(state: JobState) -> str:
    beat = state.heartbeat
    if beat is None or beat.steps_per_s is None or state.record is not None:
        return ""
    return rate_text(beat.steps_per_s) if beat.phase in ("training", "looking") else ""


def _score(beat: Heartbeat | None) -> str:
    return "" if beat is None or beat.score is None else score_text(beat.score, beat.score_unit)
