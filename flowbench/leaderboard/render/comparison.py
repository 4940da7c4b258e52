"""Two rows compared, in a terminal, with rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import (
    Console,
    ConsoleOptions,
    Group,
    JustifyMethod,
    RenderableType,
    RenderResult,
)
from rich.table import Table
from rich.text import Text

from flowbench.api.units import LIKELIHOOD_UNITS
from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.ranking import MOST_SEEDS
from flowbench.leaderboard.board.words import printable
from flowbench.leaderboard.build.compared import ComparedRow, ComparedValue, Comparison

_SMALLEST_P = 0.001
_DECIMALS = 3  # of likelihoods
_HEADINGS = ("Value", "A", "B", "A − B", "p (Holm)", "Verdict")
_DIFFERENCE = 3  # place of the column that can fold before its interval
_GAP = 2  # characters between columns


def render(comparisons: Sequence[Comparison]) -> RenderableType:
    """Lays comparisons out as something that ``rich.print`` prints."""
    parts: list[RenderableType] = []
    for one in comparisons:
        title = f"A less B on {one.dataset}, {words.budget(one.budget)}"
        parts += [Text(printable(title), "bold"), _row("A", one.a), _row("B", one.b), _Table(one)]
        parts += [Text(printable(line), "dim") for line in _notes(one)] + [Text("")]
    return Group(*parts[:-1])


def _row(letter: str, row: ComparedRow) -> Text:
    overrides = "".join(f" {key}={value}" for key, value in row.overrides.items())
    seeds = " ".join(map(str, row.job_ids))
    text = Text(
        printable(f"{letter}  {row.name}{overrides}, seed{'s'[: len(row.job_ids) > 1]} {seeds}")
    )
    for seed, status in row.failed.items():
        text.append(printable(f", seed {seed} {status}"), "red")
    for warning in row.warnings:
        text.append(printable(f" [{warning}]"), "yellow")
    return text


class _Table:
    """The values. Where there is no room names fold between words, and then intervals go under."""

    def __init__(self, one: Comparison) -> None:
        self._rows = [list(_cells(value)) for value in one.values]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        under = [
            [*row[:_DIFFERENCE], row[_DIFFERENCE].replace(" ", "\n", 1), *row[_DIFFERENCE + 1 :]]
            for row in self._rows
        ]
        for rows, folds in ((self._rows, False), (self._rows, True), (under, True)):
            columns = list(zip(_HEADINGS, *rows, strict=True))
            widths = [_width(column, folds and i == 0) for i, column in enumerate(columns)]
            if sum(widths) + _GAP * (len(widths) - 1) <= options.max_width:
                break
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading, width in zip(_HEADINGS, widths, strict=True):
            justify: JustifyMethod = "left" if heading in ("Value", "Verdict") else "right"
            table.add_column(
                heading, justify=justify, min_width=width, no_wrap=heading != _HEADINGS[0]
            )
        for row in rows:
            table.add_row(*row)
        yield table


def _width(column: Sequence[str], folds: bool) -> int:
    """The least room of a column: its longest word if it folds, else its longest line."""
    return max(len(part) for text in column for part in (text.split(" " if folds else "\n")))


def _cells(v: ComparedValue) -> Iterator[str]:
    factor, unit = numbers.scale(v.unit)
    decimals = numbers.decimals_for([v.mean_a / factor, v.mean_b / factor], unit)
    yield printable(words.with_unit(v.label, unit, ", "))
    for sign, mean in ((v.sign_a, v.mean_a), (v.sign_b, v.mean_b)):
        yield f"{sign} {numbers.number(mean / factor, decimals)}".strip()
    yield _difference(v, factor, decimals)
    p = v.p_adjusted
    yield "" if p is None else f"<{_SMALLEST_P}" if p < _SMALLEST_P else f"{p:.3f}"
    yield _verdict(v)


def _difference(v: ComparedValue, factor: float, decimals: int) -> str:
    if v.value is None:
        return ""
    if v.form == "A / B":
        ends = "" if v.low is None else f" [{v.low:.3g}, {v.high:.3g}]"
        return f"×{v.value:.3g}{ends}"
    text = numbers.signed(v.value / factor, decimals)
    if v.low is None or v.high is None:
        return text
    return f"{text} {numbers.interval((v.high - v.low) / 2 / factor, decimals)}"


def _verdict(v: ComparedValue) -> str:
    if v.verdict == "open":
        return f">{MOST_SEEDS:,} seeds" if v.seeds_needed is None else f"~{v.seeds_needed} seeds"
    return f"{v.verdict} better" if v.verdict in ("A", "B") else v.verdict


def _notes(one: Comparison) -> Iterator[str]:
    """What the columns are of."""
    for seeds, paired in sorted({(v.seeds, v.paired) for v in one.values if v.seeds}):
        a, b = seeds
        how = f"{a} seeds, paired" if paired else f"{a} and {words.count(b, 'seed')}, not paired"
        yield f"± and [ ]: 95 % interval over {how}."
    if any(v.form == "A / B" for v in one.values):
        yield "×: A over B, on a log scale."
    num_tests = sum(v.p_value is not None for v in one.values)
    if num_tests:
        yield f"p: two-sided t-test, adjusted by Holm over {words.count(num_tests, 'value')}."
    verdicts = {v.verdict: v for v in one.values}
    if "open" in verdicts:
        yield "seeds: open; so many each would settle it, if mean and spread stay as they are."
    if "equal" in verdicts:
        yield "equal: 0 is in an interval of at most ±0.05 bits or nats, or ±10 %."
    if "one seed" in verdicts:
        yield "one seed: nothing is known of the randomness of training; run more (--seeds 0-2)."
    for letter, row in (("A", one.a), ("B", one.b)):
        if row.struck:
            yield f"{letter} is not to be trusted, so nothing is decided. {row.struck}"
    for value in one.values:
        yield from _note(value)


def _note(v: ComparedValue) -> Iterator[str]:
    """What is to be known of one value."""
    if v.unlike:
        yield f"{v.label} is not alike: {v.unlike}."
    elif v.examples_half_width is None:
        if v.unit in LIKELIHOOD_UNITS and v.verdict:
            yield f"{v.label}: test examples were not kept one by one; paired by seed at most."
    elif v.seeds is None:
        yield f"{v.label}: the interval is over {v.examples:,} test examples, paired."
    else:
        width = numbers.interval(v.examples_half_width, _DECIMALS)
        yield f"{v.label}: other test data would change it by {width} (paired by {v.examples:,})."
