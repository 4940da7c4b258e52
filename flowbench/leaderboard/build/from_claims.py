"""A board of claims: what a paper found, what was found here, and the verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.table import (
    Board,
    Cell,
    Column,
    Details,
    Effect,
    Group,
    Published,
    Row,
)
from flowbench.leaderboard.board.verdicts import LEVEL
from flowbench.leaderboard.build.citations import citation
from flowbench.leaderboard.build.claimed import CLAIMS_BOARD, JudgedTest, expected_false
from flowbench.leaderboard.build.details import details
from flowbench.leaderboard.build.evidence import Source
from flowbench.leaderboard.build.fill import row_keys
from flowbench.leaderboard.build.notes import Notes
from flowbench.suite.claims import Bound, Claim, ClaimsFile
from flowbench.suite.published import paper_name, published_paper

DESCRIPTION = (
    "What papers claim, tested on data that everybody has, at a small size and budget: the effect "
    "that the paper’s values show, and below it the one measured here, of runs that differ in the "
    "claim’s subject alone. A verdict is of this data, size and budget."
)
KEY = (
    "Effect: the paper’s, and below it ours with its 95 % interval over n seeds; positive, or a "
    "factor above 1, where the claim is right.",
    "Claimed: what the effect has to be.",
    "Supported: all of the interval lies there; contradicted: all of it elsewhere.",
    "An asterisk marks verdicts that stand after Holm’s correction over all tests.",
)
CAVEATS = (
    "A paper’s effect is of other data, another size and another budget, and is compared with "
    "nothing here; FID and FD are different measures.",
)


def board_of_claims(file: ClaimsFile, judged: Sequence[JudgedTest], source: Source) -> Board:
    """Lays out the board of a claims file.

    Args:
        file: The claims.
        judged: All its tests.
        source: What is known of their runs.
    """
    notes = Notes()
    keys = iter(row_keys([f"{c.id} {d}" for c in file.claim for d in _datasets(c)]))
    rows = [
        (claim.paper, row)
        for claim in file.claim
        for row in _rows(claim, [one for one in judged if one.claim.id == claim.id], source, notes)
    ]
    rows = [(paper, replace(row, key=key)) for (paper, row), key in zip(rows, keys, strict=True)]
    return Board(
        slug=CLAIMS_BOARD,
        suite=CLAIMS_BOARD,
        title=file.title,
        description=DESCRIPTION,
        facts=tuple(_facts(file, judged)),
        columns=(
            _column("effect", "Effect"),
            _column("claimed", "Claimed"),
            _column("verdict", "Verdict"),
        ),
        groups=tuple(
            Group(name=paper_name(paper), rows=tuple(row for _, row in some))
            for paper, some in groupby(rows, key=lambda pair: pair[0])
        ),
        notes=notes.letters(),
        row_header="Claim",
        key=KEY,
        row_noun="test",
        caveats=(*CAVEATS, f"By chance at most {expected_false(judged):.1f} verdicts are false."),
        effects=tuple(_effects(judged, [row for _, row in rows])),
    )


def _datasets(claim: Claim) -> tuple[str, ...]:
    return claim.test.datasets if claim.test else ("",)


def _column(key: str, label: str) -> Column:
    about: dict[str, Any] = {"dataset": "", "metric": "", "unit": "", "decimals": 0}
    return Column(key=key, label=label, direction="none", role="count", kind="text", **about)


def _facts(file: ClaimsFile, judged: Sequence[JudgedTest]) -> Iterator[str]:
    yield words.count(len(file.claim), "claim")
    yield words.count(len(judged), "test")
    counts = Counter(one.verdict for one in judged)
    for name in ("supported", "contradicted", "undecided", "not run"):
        if counts[name]:
            yield f"{counts[name]} {name}"
    if untestable := sum(claim.test is None for claim in file.claim):
        yield f"{untestable} untestable here"
    surviving = sum(one.survives for one in judged)
    yield f"{surviving} stand after Holm’s correction at {100 * LEVEL:g} %"


def _rows(
    claim: Claim, judged: Sequence[JudgedTest], source: Source, notes: Notes
) -> Iterator[Row]:
    paper = published_paper(claim.paper)
    source_of = None if paper is None else citation(paper.bib)
    if claim.test is None:
        printed = Published(text=", ".join(_printed(claim))) if claim.published else None
        cells = (Cell(published=printed), Cell(), Cell(words="– untestable"))
        sub = f"{claim.id}; {claim.place}; missing: {claim.untestable}"
        yield Row(name=claim.says, sub=sub, cells=cells, citation=source_of)
    for one in judged:
        yield Row(
            name=claim.says,
            sub=f"{claim.id}; {claim.place}; {one.dataset}",
            badges=tuple(dict.fromkeys(b for m in one.methods.values() for b in source.badges(m))),
            cells=(_effect(one), Cell(published=Published(text=one.claimed)), _verdict(one, notes)),
            details=tuple(_details(one, source)),
            citation=source_of,
        )


def _printed(claim: Claim) -> Iterator[str]:
    for ref in claim.published:
        number = ref.number()
        yield "" if number is None else f"{number:g}"


def _effect(one: JudgedTest) -> Cell:
    text = one.effect_text(one.published)
    printed = Published(text=text, value=one.published) if text else None
    judgement = one.judgement
    if judgement.effect is None:
        return Cell(published=printed)
    spread = f"{one.interval}, " if one.interval else ""
    return Cell(
        published=printed,
        value=" ".join(filter(None, (one.effect_text(judgement.effect), one.unit))),
        interval=f"{spread}n={judgement.n}",
        status="ok",
        mean=judgement.effect,
        half_width=None if judgement.high is None else judgement.high - judgement.effect,
        n=judgement.n,
        dataset=one.dataset,
        metric=one.test.metric,
    )


def _verdict(one: JudgedTest, notes: Notes) -> Cell:
    note = notes.letter(" ".join(one.remarks)) if one.judgement.n else ""
    if not one.judgement.n:
        return Cell(words="– not run")
    text = one.verdict + ("*" if one.survives else "")
    more = one.judgement.more_seeds
    after = "" if more is None else f"~{words.count(more, 'more seed')}"
    return Cell(value=text, interval=after, status="ok", note=note)


def _details(one: JudgedTest, source: Source) -> Iterator[Details]:
    """The test, then each of its runs."""
    facts = [("Runs differ in", one.test.apart), ("In the paper", one.claim.place)]
    facts += [("Note", one.claim.note)] if one.claim.note else []
    facts += [("Of the verdict", remark) for remark in one.remarks]
    p = one.judgement.p_value
    if p is not None and one.judgement.n > 1:
        facts += [("p-value", f"{p:.2g}, {one.p_adjusted:.2g} after Holm’s correction")]
    yield Details(facts=tuple(facts), dataset="The test")
    for label, method in one.labelled:
        # Samples of every run of every claim would be most of the page.
        found = details(method, source.contents)
        yield replace(found, samples=None, artifacts=(), model=label)


def _effects(judged: Sequence[JudgedTest], rows: Sequence[Row]) -> Iterator[Effect]:
    """What was published beside what was measured, where both are differences or ratios."""
    tested = [row for row in rows if row.details]
    for one, row in zip(judged, tested, strict=True):
        judgement = one.judgement
        if one.published is None or judgement.effect is None or isinstance(one.test, Bound):
            continue
        # A factor is as far from 1 as its logarithm is from 0.
        log2 = math.log(2.0) if one.test.form == "ratio" else one.factor
        half = 0.0 if judgement.high is None else judgement.high - judgement.effect
        yield Effect(
            row=row.key,
            label=one.claim.id,
            unit="doublings" if one.test.form == "ratio" else one.unit,
            published=one.published / log2,
            measured=judgement.effect / log2,
            half_width=half / log2,
        )
