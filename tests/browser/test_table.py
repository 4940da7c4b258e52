from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.browser.driver import Browser

pytestmark = pytest.mark.slow

ENTER, SPACE, TAB = "\ue007", " ", "\ue004"


def numbers(values: list[str | None]) -> list[float]:
    return [float(v) for v in values if v is not None]


@pytest.fixture
def board(browser: Browser, pages: Path) -> Browser:
    browser.open(pages / "board.html")
    return browser


def test_a_header_sorts_better_first_then_reversed_then_as_in_the_paper(board: Browser) -> None:
    paper = board.names()
    board.click("[data-column=c1]")
    values = board.column(1, "p")
    assert numbers(values) == sorted(numbers(values))
    assert None in values
    assert all(v is None for v in values[values.index(None) :])
    assert board.one("th.c1").get_attribute("aria-sort") == "ascending"
    board.click("[data-column=c1]")
    reverse = board.column(1, "p")
    assert numbers(reverse) == sorted(numbers(values), reverse=True)
    assert all(v is None for v in reverse[reverse.index(None) :])
    assert board.one("th.c1").get_attribute("aria-sort") == "descending"
    board.click("[data-column=c1]")
    assert board.names() == paper
    assert board.js("return document.querySelectorAll('[aria-sort]').length") == 0
    assert board.fragment() == ""


def test_sorting_is_numeric_and_stable(board: Browser) -> None:
    paper = board.names()
    board.click("[data-column=c1]")
    pairs = list(zip(board.column(1, "p"), board.names(), strict=True))
    for value in {v for v, _ in pairs}:
        tied = [name for v, name in pairs if v == value]
        assert tied == sorted(tied, key=paper.index)


def test_names_sort_by_their_numbers(board: Browser) -> None:
    board.click("[data-column=name]")
    assert board.names()[:4] == ["DenseFlow-74-10 (ours)", "Method 0", "Method 1", "Method 2"]


def test_sorting_works_from_the_keyboard_and_is_announced(board: Browser) -> None:
    board.js("document.querySelector('[data-column=c2]').focus()")
    board.press(ENTER)
    assert board.fragment() == "sort=c2"
    assert "Sorted by ImageNet" in board.said()
    board.press(SPACE)
    assert board.fragment() == "sort=c2&dir=reverse"


def test_sorted_rows_leave_their_groups_and_carry_rank_and_shape(board: Browser) -> None:
    columns = "return [...document.querySelectorAll('thead tr:last-child th')]"
    before = board.js(f"{columns}.map(h => h.getBoundingClientRect().left)")
    board.click("[data-column=c1]")
    assert board.js("return document.querySelectorAll('.group').length") == 0
    first = board.js("return document.querySelector('#board tbody tr[id] th').dataset.rank")
    assert first.startswith("1")
    marks = board.js("return document.querySelectorAll('.name + .mark').length")
    assert marks == len(board.names())
    after = board.js(f"{columns}.map(h => h.getBoundingClientRect().left)")
    assert after == pytest.approx(before, abs=8)


def test_rank_by_picks_the_number_and_sorts_the_first_column(board: Browser) -> None:
    board.js("document.querySelector('input[value=reproduced]').click()")
    values = board.column(1, "r")
    assert numbers(values) == sorted(numbers(values))
    assert board.fragment() == "by=reproduced&sort=c1"
    board.js("document.querySelector('input[value=difference]').click()")
    assert numbers(board.column(1, "d")) == sorted(numbers(board.column(1, "d")))


def test_an_unranked_value_is_sorted_and_has_no_rank(board: Browser) -> None:
    board.js("document.querySelector('input[value=reproduced]').click()")
    assert board.js("return document.getElementById('m-method-6').cells[0].dataset.rank") == "–"


def test_groups_can_be_kept_while_sorting(board: Browser) -> None:
    board.click(".menu summary")
    board.click("input[name=groups]")
    board.click(".menu summary")
    board.click("[data-column=c1]")
    assert board.js("return document.querySelectorAll('.group').length") == 5
    assert board.fragment() == "sort=c1&groups=keep"


def test_filters_combine_and_their_count_is_announced(board: Browser) -> None:
    board.one("#find").send_keys("method 1")
    assert set(board.names()) == {n for n in board.names() if "Method 1" in n}
    assert board.one(".count").text == "11 of 31 methods"
    board.js(
        "const s = document.getElementById('status'); s.value = 'reproduced';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert board.names() == ["Method 12", "Method 15", "Method 18"]
    assert board.said() == "3 of 31 methods"
    assert board.one("tbody:not([hidden]) .tally").text == "1 of 6 methods shown"
    board.click(".reset")
    assert len(board.names()) == 31
    assert board.fragment() == ""


def test_a_group_can_be_picked(board: Browser) -> None:
    board.js(
        "const s = document.getElementById('group'); s.value = '3';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert board.names() == [f"Method {i}" for i in range(19, 25)]


def test_no_match_says_so_and_can_be_cleared(board: Browser) -> None:
    board.one("#find").send_keys("nothing like it")
    assert board.names() == []
    assert board.one(".empty").is_displayed()
    board.click(".clear")
    assert len(board.names()) == 31
    assert board.focused() == ""
    assert board.js("return document.activeElement.id") == "find"


def test_columns_and_parts_can_be_hidden_but_never_the_last(board: Browser) -> None:
    board.click(".menu summary")
    for column in ("c1", "c2", "c3"):
        board.click(f"input[name=columns][value={column}]")
    board.click("input[name=parts][value=difference]")
    assert not board.one("th.c1").is_displayed()
    assert not board.one("#m-method-0 td.c1").is_displayed()
    assert board.one("th.c4").is_displayed()
    assert not board.one("input[name=columns][value=c4]").is_enabled()
    assert board.fragment() == "columns=c1,c2,c3&parts=difference"
    assert not board.js("return [...document.querySelectorAll('.d')].some(e => e.offsetHeight)")


def test_hiding_the_sorted_column_restores_the_order(board: Browser) -> None:
    paper = board.names()
    board.click("[data-column=c1]")
    board.click(".menu summary")
    board.click("input[name=columns][value=c1]")
    assert board.names() == paper
    assert board.fragment() == "columns=c1"


def test_a_link_brings_everything_back(board: Browser, pages: Path) -> None:
    fragment = "q=method&status=reproduced&by=reproduced&sort=c2&dir=reverse&columns=c3&theme=dark"
    board.open(pages / "board.html", fragment)
    names = board.names()
    assert len(names) == 10
    values = numbers(board.column(2, "r"))
    assert values == sorted(values, reverse=True)
    assert not board.one("th.c3").is_displayed()
    assert board.js("return document.documentElement.dataset.theme") == "dark"
    assert board.one("#find").get_attribute("value") == "method"
    board.driver.refresh()
    assert board.names() == names
    parts = sorted(board.fragment().split("&"))
    assert parts == sorted(fragment.split("&"))


def test_unknown_values_of_a_link_are_ignored(board: Browser, pages: Path) -> None:
    paper = board.names()
    board.open(pages / "board.html", "sort=c99&by=magic&columns=c1,zz&row=nobody&theme=pink&x=1")
    assert board.names() == paper
    assert not board.one("th.c1").is_displayed()
    assert not board.js("return document.querySelector('.drawer').open")
    assert board.logs() == []


def test_the_header_stays_in_sight(board: Browser) -> None:
    board.js("scrollTo(0, 700)")
    assert board.js("return document.querySelector('thead').getBoundingClientRect().top") == 0


def test_a_footnote_moves_there_and_keeps_the_link(board: Browser) -> None:
    board.click("[data-column=c1]")
    board.click(".letter")
    assert board.js("return document.activeElement.id") == "note-a"
    assert board.fragment() == "sort=c1"


def test_a_board_of_published_values_alone_sorts_by_them(browser: Browser, pages: Path) -> None:
    browser.open(pages / "typed.html", "sort=c1")
    values = numbers(browser.column(2, "p"))
    assert len(values) > 3
    assert values == sorted(values)
    assert browser.js("return document.querySelector('tbody tr[id] th').dataset.rank")
    assert not browser.js("return document.querySelector('[name=by]')")
    browser.open(pages / "typed.html", "columns=c1")
    assert not browser.one("th.c1").is_displayed()
    assert browser.one("td.type").text == "Variational Autoencoders"
