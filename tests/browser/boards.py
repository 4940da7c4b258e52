"""Boards for the browser, made by hand: every kind of cell, without a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from flowbench.leaderboard.board.table import (
    Board,
    Cell,
    Citation,
    Column,
    Cost,
    Curve,
    Details,
    Failure,
    Group,
    Origin,
    Published,
    Row,
    SampleGrid,
)
from tests.store.attempts import png

HOSTILE = (
    "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=2>'\"`&lt;|${1}"
    "\x1b[31m\u202eevil\u2066" + "\u200f"
)
LONG = "x" * 10_000

COLUMNS = tuple(
    Column(
        key=f"{name}/bpd", label=label, detail=size, dataset=name, metric="bpd", unit="bits/dim",
        title="Bits per dimension", axis="bits per dim", direction="lower", decimals=2,
    )
    for name, label, size in (
        ("cifar10", "CIFAR-10", "32×32"),
        ("imagenet32", "ImageNet", "32×32"),
        ("celeba64-crop148-8bit", "CelebA", "64×64"),
        ("imagenet64", "ImageNet", "64×64"),
    )
)  # fmt: skip

GROUPS = (
    "Variational Autoencoders",
    "Diffusion models",
    "Autoregressive Models",
    "Normalizing Flows",
    "Hybrid Architectures",
)
_FAILURES = ("× out of memory", "× diverged", "× timed out")


def mirrored(num_rows: int = 31, *, samples: int = 4000, every: int = 3) -> Board:
    """A board like DenseFlow's first table, with reproductions in some rows.

    Args:
        num_rows: Methods.
        samples: Bytes of samples in each reproduced row, about.
        every: Every how many rows there is a reproduction.
    """
    sizes = [num_rows // len(GROUPS) + (i < num_rows % len(GROUPS)) for i in range(len(GROUPS))]
    numbers = iter(range(num_rows))
    rows = [tuple(_row(next(numbers), samples, every) for _ in range(size)) for size in sizes]
    groups = [Group(name=name, rows=some) for name, some in zip(GROUPS, rows, strict=True)]
    last = replace(groups[-1].rows[-1], name="DenseFlow-74-10 (ours)", own=True)
    groups[-1] = replace(groups[-1], rows=groups[-1].rows[:-1])
    latency = {f"m-method-{number}": 2.0 * (1 + number) for number in range(0, num_rows, every)}
    citation = Citation(
        key="grcic2021densely",
        line="Grcić, Grubišić, Šegvić. Densely connected normalizing flows. NeurIPS 2021.",
        bibtex="@inproceedings{grcic2021densely,\n  title = {Densely connected}\n}",
        url="https://arxiv.org/abs/2106.04627",
    )
    return Board(
        slug="denseflow-1",
        title="Bits per dimension of likelihood-based image models",
        description=(
            "Mirrors Table 1 of Densely connected normalizing flows. Published numbers are quoted "
            "as printed; reproduced numbers are ours, at a fraction of the budget."
        ),
        facts=(
            f"{2 * num_rows} published cells",
            f"{num_rows // 3} reproduced",
            "3 failed",
            "median budget 0.9 %",
        ),
        columns=COLUMNS,
        groups=(*groups, Group(name="", rows=(last,))),
        notes=(("a", "Measured on the downsampled ImageNet of image-net.org. Not ranked."),),
        shared_unit="Bits per dimension, lower is better",
        source=Origin(
            paper="DenseFlow", number="Table 1", provenance="text of the paper.",
            caveats=("Blank cells were aligned by hand.",), citation=citation,
        ),
        suite="denseflow-1",
        cost=Cost(axis="latency in ms", scale="log", values=latency),
    )  # fmt: skip


def _row(number: int, samples: int, every: int) -> Row:
    reproduced = number % every == 0
    cells = tuple(_cells(number, reproduced=reproduced))
    return Row(
        key=f"m-method-{number}",
        name=f"Method {number}",
        sub="variational bound, 16 draws" if reproduced else "",
        badges=("contract ×",) if number == 6 else ("stale",) if number == 9 else (),
        cells=cells,
        details=(_details(number, samples),) if reproduced else (),
        model="glow:512ch" if reproduced else "",
        contract="14 checks passed" if reproduced else "",
        num_parameters=1e6 * (1 + number) if reproduced else None,
        published_parameters=4e6 * (1 + number) if number % 2 else None,
    )


def _cells(number: int, *, reproduced: bool) -> Iterator[Cell]:
    for place in range(len(COLUMNS)):
        printed = 2.5 + 0.07 * ((7 * number) % 16) + 0.31 * place
        unlike = place == 1 and number == 3
        published = Published(
            text=f"{printed:.2f}",
            value=printed,
            rank="–" if unlike else str(1 + (7 * number) % 16),
            best=place == 0 and (7 * number) % 16 == 0,
            unlike=unlike,
            note="a" if unlike else "",
            remark="quoted from another paper" if number == 4 and place == 0 else "",
            device_hours=300.0 * (1 + number) if number % 2 else None,
        )
        shown = published if (number + place) % 4 != 3 else None
        yield _cell(number, place, shown, printed) if reproduced else Cell(published=shown)


def _cell(number: int, place: int, published: Published | None, printed: float) -> Cell:
    if place == 3:
        return Cell(published=published, words=_FAILURES[number % 3], status="oom")
    if place == 2:
        return Cell(published=published, words="– no data", status="unavailable")
    mean = printed + 0.06 + 0.001 * number
    single = place == 1
    return Cell(
        published=published,
        value=f"{mean:.2f}",
        sign="≤",
        interval="n=1" if single else "±.01",
        status="ok",
        rank="–" if number == 6 else str(1 + number // 3),
        best=number == 0,
        struck=number == 6,
        mean=mean,
        half_width=None if single else 0.01,
        n=1 if single else 3,
        difference="+0.06" if published else "",
        difference_value=0.06 + 0.001 * number if published else None,
        budget_share="0.4 %" if published and published.device_hours else "",
        device_hours=1.0 + number,
    )


def _details(number: int, samples: int) -> Details:
    seconds = [60.0 * i for i in range(60)]
    failures = (
        Failure(
            title="Seed 2 × out of memory",
            reason="needs 12 GiB",
            log_tail="Traceback\nMemoryError",
            remedy="A smaller preset needs less memory.",
        ),
    )
    return Details(
        values=(("bpd", "≤ 3.412 ±.010 bits/dim", "3 runs, 10,000 test examples"),),
        failures=failures if number % 2 else (),
        curves=tuple(
            Curve(
                seed=seed, unit="bits/dim",
                points=tuple((s, 3.3 + 0.01 * seed + 200 / (100 + s)) for s in seconds),
            )
            for seed in range(3)
        ),
        ledger=(("train", 300.0), ("eval", 40.0), ("compile", 20.0), ("data", 5.0)),
        samples=SampleGrid(caption="seed 0, temperature 1", png=png(number) + bytes(samples)),
        command=f"flowbench run --models glow:{number}ch --datasets cifar10 --budget 2gpuh",
        facts=(("Hardware", "H200"), ("Versions", "flowbench 0.1.0, torch 2.10.0")),
        config=(("width", "512", False), ("training.lr", "0.001", True)),
        dataset="cifar10",
    )  # fmt: skip


def typed() -> Board:
    """A board with nothing reproduced, whose groups are a column of their own."""
    board = mirrored(12, every=100)
    groups = tuple(replace(g, rows=tuple(r for r in g.rows if not r.details)) for g in board.groups)
    return replace(board, groups=groups, group_header="Type")


def hostile(texts: Sequence[str] = (HOSTILE, LONG)) -> Board:
    """A board whose every text from plugins, files and logs is hostile."""
    board = mirrored(6)
    said = texts[0]
    details = replace(
        _details(1, 0),
        values=((said, said, said),),
        failures=(Failure(title=said, reason=said, log_tail=said + "\n" + texts[-1]),),
        command=f"flowbench run --models {said}",
        facts=((said, said), ("Versions", texts[-1])),
        config=((said, said, True), ("other", texts[-1], False)),
    )
    names = [said, texts[-1], "\u202eLTR", "a:b:c", "__proto__", '"><b>bold</b>']
    numbers = iter(range(len(names)))

    def spoil(row: Row) -> Row:
        name = names[next(numbers)]
        return replace(
            row, name=name, sub=said, badges=(said[:30],), details=(details,), contract=said
        )

    groups = tuple(
        Group(name=said if g.name else "", rows=tuple(spoil(row) for row in g.rows))
        for g in board.groups
    )
    return replace(
        board, title=said, description=texts[-1] + said, groups=groups, notes=(("a", said),)
    )
