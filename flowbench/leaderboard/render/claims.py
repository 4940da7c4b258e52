"""Verdicts on claims, in a terminal, with rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.verdicts import LEVEL
from flowbench.leaderboard.board.words import printable
from flowbench.leaderboard.build.claimed import JudgedTest, expected_false
from flowbench.suite.claims import Claim
from flowbench.suite.published import paper_name

_COLORS = {"supported": "green", "contradicted": "red"}
_INDENT = (0, 0, 0, 4)


def render(claims: Sequence[Claim], judged: Sequence[JudgedTest]) -> RenderableType:
    """Lays verdicts out as something that ``rich.print`` prints.

    Args:
        claims: The claims to show, in order.
        judged: All tests of their file.
    """
    parts: list[RenderableType] = []
    for paper, some in groupby(claims, key=lambda claim: claim.paper):
        parts += [Text(printable(paper_name(paper)), "bold")]
        for claim in some:
            parts += list(_claim(claim, [one for one in judged if one.claim.id == claim.id]))
        parts.append(Text(""))
    return Group(*parts, *(Text(line, "dim") for line in summary(judged)))


def summary(judged: Sequence[JudgedTest]) -> Iterator[str]:
    """What the verdicts of a whole file come to, and how many of them chance alone may have."""
    tests = len(judged)
    run = sum(one.judgement.n > 1 for one in judged)
    if not run:
        yield f"None of {words.count(tests, 'test')} has run with two seeds (flowbench claims)."
        return
    counts = [
        (name, sum(one.verdict == name for one in judged))
        for name in ("supported", "contradicted", "undecided")
    ]
    yield f"{run} of {words.count(tests, 'test')} judged: " + (
        ", ".join(f"{count} {name}" for name, count in counts) + "."
    )
    yield (
        f"By chance at most {expected_false(judged):.1f} verdicts are false, at {100 * LEVEL:g} % "
        f"each; * stands after Holm's correction over all tests of the file."
    )


def _claim(claim: Claim, judged: Sequence[JudgedTest]) -> Iterator[RenderableType]:
    yield Padding(Text(printable(f"{claim.id}: {claim.says}")), (0, 0, 0, 2))
    if claim.test is None:
        yield Padding(Text(printable(f"untestable here: {claim.untestable}"), "dim"), _INDENT)
    for one in judged:
        yield Padding(_verdict(one), _INDENT)
        if one.judgement.n:
            yield from (Padding(Text(printable(r), "dim"), (0, 0, 0, 6)) for r in one.remarks)


def _verdict(one: JudgedTest) -> Text:
    text = Text(printable(f"{one.dataset}: "))
    star = "*" if one.survives else ""
    text.append(one.verdict + star, f"bold {_COLORS.get(one.verdict, '')}".strip())
    if one.judgement.n:
        seeds = words.count(one.judgement.n, "seed")
        text.append(printable(f", {one.measured}, claimed {one.claimed}; {seeds}"))
    if one.published is not None and one.judgement.n:
        text.append(printable(f"; paper {one.effect_text(one.published)}"))
    if one.judgement.more_seeds is not None:
        text.append(printable(f"; {words.count(one.judgement.more_seeds, 'more seed')} may decide"))
    return text
