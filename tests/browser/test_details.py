from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.browser.driver import Browser

pytestmark = pytest.mark.slow

ENTER, ESCAPE = "\ue007", "\ue00c"


@pytest.fixture
def board(browser: Browser, pages: Path) -> Browser:
    browser.open(pages / "board.html")
    return browser


def is_open(board: Browser) -> bool:
    return bool(board.js("return document.querySelector('.drawer').open"))


def test_a_name_opens_its_details_and_the_heading_has_the_focus(board: Browser) -> None:
    board.js("document.querySelector('#m-method-3 .name').focus()")
    board.press(ENTER)
    assert is_open(board)
    assert board.focused() == "Method 3"
    assert board.fragment() == "row=m-method-3"
    assert "selected" in str(board.one("#m-method-3").get_attribute("class"))
    button = board.one("#m-method-3 button.name")
    assert button.get_attribute("aria-expanded") == "true"
    shown = "return getComputedStyle(arguments[0], '::after').content"
    assert "›" in board.js(shown, button)
    text = board.one(".drawer").text
    for part in (
        "≤ 3.22 n=1", "Seed 2 × out of memory", "A smaller preset", "Learning curve", "3 seeds",
        "Where the time went", "train 82 %", "Samples",
        "flowbench run --models glow:3ch", "14 checks passed", "H200", "torch 2.10.0",
        "training.lr",
    ):  # fmt: skip
        assert part in text
    assert board.js("return document.querySelector('.drawer img').naturalWidth") == 134


def test_the_drawer_does_not_cover_the_table(board: Browser) -> None:
    board.click("#m-method-0 .name")
    right = board.js("return document.getElementById('board').getBoundingClientRect().right")
    left = board.js("return document.querySelector('.drawer').getBoundingClientRect().left")
    assert right <= left


def test_escape_closes_and_gives_the_focus_back(board: Browser) -> None:
    board.click("#m-method-3 .name")
    board.press(ESCAPE)
    board.js("return new Promise(r => setTimeout(r, 100))")
    assert not is_open(board)
    assert board.focused() == "Method 3"
    assert board.fragment() == ""
    assert board.one("#m-method-3 button.name").get_attribute("aria-expanded") == "false"


def test_back_closes_and_forward_opens_again(board: Browser) -> None:
    board.click("[data-column=c1]")
    board.click("#m-method-3 .name")
    board.driver.back()
    assert not is_open(board)
    assert board.fragment() == "sort=c1"
    board.driver.forward()
    assert is_open(board)


def test_next_and_previous_go_by_what_is_seen(board: Browser) -> None:
    board.js(
        "const s = document.getElementById('status'); s.value = 'reproduced';"
        "s.dispatchEvent(new Event('change'))"
    )
    board.click("#m-method-0 .name")
    assert not board.one("[data-step='-1']").is_enabled()
    board.click("[data-step='1']")
    assert board.one(".drawer h2").text == "Method 3"
    assert board.focused() == "Next method"
    board.click("[data-step='-1']")
    assert board.one(".drawer h2").text == "Method 0"


def test_a_link_opens_a_row_and_close_stays_on_the_page(board: Browser, pages: Path) -> None:
    board.open(pages / "board.html", "row=m-method-6")
    assert board.one(".drawer h2").text == "Method 6"
    board.click(".drawer .close")
    assert not is_open(board)
    assert board.fragment() == ""
    assert board.js("return location.pathname").endswith("board.html")


def test_the_open_row_stands_out_in_the_plots(board: Browser) -> None:
    board.click("#m-method-9 .name")
    shown = board.js(
        "return [...document.querySelectorAll('.rail .figure .shown')].map(e => e.dataset.row)"
    )
    assert shown
    assert set(shown) == {"m-method-9"}
    labels = board.js(
        "return [...document.querySelectorAll('.rail .figure text')].map(e => e.textContent)"
    )
    assert "Method 9" in labels


def test_the_command_can_be_copied(board: Browser) -> None:
    board.cdp(
        "Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
    )
    board.click("#m-method-3 .name")
    board.click(".drawer .copy")
    board.js("return new Promise(r => setTimeout(r, 200))")
    assert board.said() == "Copied"


def test_on_a_phone_the_details_fill_the_window_and_are_modal(board: Browser, pages: Path) -> None:
    board.open(pages / "board.html", size=(390, 844))
    board.click("#m-method-3 .name")
    assert board.js("return document.querySelector('.drawer').matches(':modal')")
    assert board.js("return document.querySelector('.drawer').offsetWidth") == 390
    board.press(ESCAPE)
    board.js("return new Promise(r => setTimeout(r, 100))")
    assert not is_open(board)
