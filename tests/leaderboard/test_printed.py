from __future__ import annotations

import pytest

from flowbench.leaderboard.board.ranking import Like
from flowbench.leaderboard.board.table import Kind, Published
from flowbench.leaderboard.build.notes import Notes
from flowbench.leaderboard.build.printed import costs, placed, published, rank_published
from flowbench.suite.published import PublishedColumn, PublishedValue, published_table

COLUMN = PublishedColumn(key="c", header="C", metric="bpd", better="lower")


def value(text: str, qualifier: str = "") -> PublishedValue:
    given = dict.fromkeys(PublishedValue.model_fields, "")
    return PublishedValue.model_validate(
        given | {"row_order": 1, "value": text, "qualifier": qualifier}
    )


@pytest.mark.parametrize(
    ("text", "qualifier", "kind", "suffix", "line", "number"),
    [
        ("3.40", "", "number", "", "3.40", 3.4),
        ("500", "~", "number", "", "~500", 500.0),
        ("14", "<=", "number", "", "≤14", 14.0),
        ("1e-5", "<", "number", "", "<1e-5", 1e-5),
        ("10", "x", "number", "", "10×", 10.0),
        ("38", "", "number", "M", "38M", 38.0),
        ("", "n/a", "number", "M", "n/a", None),
        ("8-12", "", "number", "", "8-12", None),
        ("1", "", "check", "", "✓", 1.0),
        ("0", "", "check", "", "×", 0.0),
        ("2", "", "stars", "", "★★☆☆☆", 2.0),
        ("T=K", "", "text", "", "T=K", None),
    ],
)
def test_values_stand_as_printed(
    text: str, qualifier: str, kind: Kind, suffix: str, line: str, number: float | None
) -> None:
    column = COLUMN.model_copy(update={"type": kind, "suffix": suffix})
    found = published(value(text, qualifier), column)
    assert (found.line, found.value) == (line, number)


def test_a_spread_is_printed_after_its_value() -> None:
    assert published(value("4.11"), COLUMN, spread=value("0.08")).line == "4.11 ±0.08"


def test_equal_printed_values_share_the_best() -> None:
    cells = {
        row: (Published(text=str(v), value=v), Like())
        for row, v in (("a", 3.28), ("b", 3.28), ("c", 3.3))
    }
    places = rank_published(cells, "lower")
    assert [(p.label, p.best) for p in places] == [
        ("1=", True),
        ("1=", True),
        ("3", False),
    ]


def test_a_value_alone_is_not_the_best() -> None:
    (place,) = rank_published({"a": (Published(text="1", value=1.0), Like())}, "lower")
    assert not place.best


def test_what_is_unlike_most_has_a_note_and_no_place() -> None:
    usual, odd = Like.of(data="x"), Like.of(data="y")
    cells = {
        "a": (Published(text="2", value=2.0), usual),
        "b": (Published(text="3", value=3.0), usual),
        "c": (Published(text="1", value=1.0), odd),
    }
    places = {place.row: place for place in rank_published(cells, "lower")}
    notes = Notes()
    found = {row: placed(cell, places[row], "lower", notes) for row, (cell, _) in cells.items()}
    assert [one.best for one in found.values()] == [True, False, False]
    assert (found["c"].rank, found["c"].unlike, found["c"].note) == ("–", True, "a")
    assert notes.letters() == (
        ("a", "Not ranked with the other published values: data is y, not x."),
    )


def test_what_training_cost_the_paper() -> None:
    found = costs(published_table("denseflow-2"))
    assert found["denseflow", "74-10", "cifar10"] == 250.0
    assert found["nvae", "", "imagenet32"] == 24 * 70.0
    assert ("vflow", "", "celeba64-crop148-8bit") not in found
