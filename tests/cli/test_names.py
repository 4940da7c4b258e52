from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flowbench.cli.names import short_names, telling_names
from tests.store import attempts as make


def test_a_name_says_only_what_tells_jobs_apart() -> None:
    rows = [make.job("glow", 1, preset="tiny"), make.job("nice", 1, preset="tiny")]
    assert telling_names(rows) == (["glow:tiny", "nice:tiny"], "on digits, seed 1")
    rows.append(make.job("nice", 2, preset="tiny"))
    assert telling_names(rows) == (["glow:tiny s1", "nice:tiny s1", "nice:tiny s2"], "on digits")
    rows.append(make.job("nice", 2, preset="tiny", dataset="mnist"))
    names, shared = telling_names(rows)
    assert names[-2:] == ["nice:tiny digits s2", "nice:tiny mnist s2"]
    assert shared == ""


def test_a_batch_in_parts_is_part_of_the_name() -> None:
    config = {"training": {"accumulate": 2}}
    whole, parted = make.job("glow", preset="tiny"), make.job("glow", preset="tiny", config=config)
    names = ["glow:tiny", "glow:tiny batch in 2 parts"]
    assert telling_names([whole, parted]) == (names, "on digits, seed 0")
    assert telling_names([parted]) == (["glow:tiny"], "on digits, seed 0, batch in 2 parts")
    assert parted.label == "glow:tiny on digits, seed 0, batch in 2 parts"


def test_settings_are_part_of_the_name_where_they_differ() -> None:
    rows = [make.job("glow", preset="tiny", overrides={"width": width}) for width in (32, 64)]
    expected = ["glow:tiny width=32", "glow:tiny width=64"]
    assert telling_names(rows) == (expected, "on digits, seed 0")
    assert telling_names(rows[:1]) == (["glow:tiny"], "on digits, seed 0")


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["glow:tiny", "nice:tiny"], ["glow:tiny", "nice:tiny"]),
        (
            ["denseflow:74-10 cifar10 s0", "denseflow:74-10 cifar10 s1"],
            ["densef…r10 s0", "densef…r10 s1"],
        ),
        # The middle alone differs: it is cut elsewhere.
        (["folder:left/same s0", "folder:rest/same s0"], ["folder:l…e s0", "folder:r…e s0"]),
        (["a" * 9 + "x" + "b" * 20, "a" * 9 + "y" + "b" * 20], ["aaaaaaaaax…bb", "aaaaaaaaay…bb"]),
        # Nothing short of the whole tells them apart.
        (
            ["a" * 20 + "x" + "b" * 20, "a" * 20 + "y" + "b" * 20],
            ["aaaaaa…bbbb…1", "aaaaaa…bbbb…2"],
        ),
    ],
)
def test_long_names_are_cut_in_the_middle_and_stay_distinct(
    names: list[str], short: list[str]
) -> None:
    assert short_names(names, 13) == short


@given(
    st.lists(st.text("abcäß数据:-", min_size=1, max_size=40), min_size=1, max_size=9, unique=True),
    st.integers(5, 30),
)
def test_short_names_are_distinct_and_fit(names: list[str], width: int) -> None:
    short = short_names(names, width)
    assert all(cell_len(name) <= width for name in short)
    assert len(set(short)) == len(names)
