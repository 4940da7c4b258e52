from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.browser.driver import Browser

DIGITS = Path(__file__).parents[2] / "leaderboards" / "digits" / "index.html"

pytestmark = pytest.mark.slow

large = pytest.param("large.html", marks=pytest.mark.long)
LOCAL = ("file:", "data:", "blob:", "about:")
MIB = 2**20


@pytest.fixture(autouse=True)
def _large_page(request: pytest.FixtureRequest) -> None:
    """Only what is asked of the page of 500 rows, which takes a while to make, is long here."""
    if request.node.get_closest_marker("long") is not None:
        request.getfixturevalue("large")


@pytest.mark.parametrize("name", ["board.html", large, "hostile.html", "index.html"])
def test_a_page_says_nothing_in_the_console_and_asks_for_nothing(
    browser: Browser, pages: Path, name: str
) -> None:
    browser.open(pages / name)
    assert browser.logs() == []
    asked = browser.requests()
    assert asked
    assert [url for url in asked if not url.startswith(LOCAL)] == []


@pytest.mark.parametrize("name", ["board.html", "typed.html", "hostile.html", "index.html"])
@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1280, 1920])
def test_no_page_scrolls_sideways(browser: Browser, pages: Path, name: str, width: int) -> None:
    browser.open(pages / name, size=(width, 800))
    assert browser.js("return document.documentElement.scrollWidth") <= width


def background(browser: Browser) -> tuple[int, ...]:
    with Image.open(io.BytesIO(browser.screenshot())) as image:
        pixel = image.convert("RGB").getpixel((2, 2))
    assert isinstance(pixel, tuple)
    return tuple(int(value) for value in pixel)


def test_the_theme_follows_the_system_until_the_reader_chooses(
    browser: Browser, pages: Path
) -> None:
    browser.open(pages / "board.html")
    light = background(browser)
    browser.open(pages / "board.html", theme="dark")
    dark = background(browser)
    assert min(light) > 240
    assert max(dark) < 40
    browser.click(".theme")
    assert browser.one(".theme").text == "Theme: light"
    assert background(browser) == light
    assert browser.fragment() == "theme=light"
    browser.click(".theme")
    assert background(browser) == dark
    browser.click(".theme")
    assert browser.fragment() == ""


def test_plots_follow_the_theme(browser: Browser, pages: Path) -> None:
    colour = "return getComputedStyle(document.querySelector('.figure .fill-ink')).fill"
    browser.open(pages / "board.html")
    light = browser.js(colour)
    browser.open(pages / "board.html", theme="dark")
    assert browser.js(colour) != light
    assert browser.js(colour) != "rgb(0, 0, 0)"


def test_without_scripts_the_table_is_whole_and_the_controls_are_gone(
    browser: Browser, pages: Path
) -> None:
    browser.open(pages / "board.html", scripts=False)
    tree = browser.accessibility_tree()
    roles = [node.get("role", {}).get("value") for node in tree]
    names = {node.get("name", {}).get("value") for node in tree}
    assert roles.count("rowheader") >= 31
    assert "button" not in roles
    assert "searchbox" not in roles
    assert "Method 0" in names or any("Method 0" in str(name) for name in names)
    assert any("Bits per dim" in str(name) for name in names)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("fragment", ["", "row=m-method-3", "sort=c1&by=reproduced"])
def test_axe_finds_nothing_serious(
    browser: Browser, pages: Path, axe_source: str, theme: str, width: int, fragment: str
) -> None:
    from tests.browser.driver import in_words

    browser.open(pages / "board.html", fragment, size=(width, 860), theme=theme)
    found = browser.axe(axe_source)
    assert not found, in_words(found)


@pytest.mark.parametrize(
    ("name", "theme", "fragment"),
    [
        ("index.html", "light", ""),
        ("hostile.html", "light", ""),
        ("claims.html", "light", ""),
        ("claims.html", "dark", "row=m-better-digits"),
    ],
)
def test_axe_finds_nothing_serious_on_other_pages(
    browser: Browser, pages: Path, axe_source: str, name: str, theme: str, fragment: str
) -> None:
    from tests.browser.driver import in_words

    browser.open(pages / name, fragment, theme=theme)
    found = browser.axe(axe_source)
    assert not found, in_words(found)


def test_hostile_text_stays_text(browser: Browser, pages: Path) -> None:
    browser.open(pages / "hostile.html")
    keys = browser.js("return [...document.querySelectorAll('#board tbody tr[id]')].map(r => r.id)")
    assert len(keys) == 6
    for key in keys:
        browser.open(pages / "hostile.html", f"row={key}")
        assert browser.js("return document.querySelector('.drawer').open")
        for opener in browser.js("return [...document.querySelectorAll('.drawer details')]"):
            browser.js("arguments[0].open = true", opener)
        assert browser.js("return window.pwned ?? null") is None
        assert (
            browser.js("return document.querySelectorAll('.drawer script, .drawer b').length") == 0
        )
        assert browser.js(
            "return [...document.querySelectorAll('img')].every(i => i.src.startsWith('data:'))"
        )
        assert browser.js("return document.documentElement.scrollWidth") <= 1280
        drawer = browser.js(
            "const d = document.querySelector('.drawer'); return d.scrollWidth - d.clientWidth"
        )
        assert drawer <= 0
        assert browser.logs() == []
    text = browser.js("return document.body.textContent")
    assert "window.pwned=1" in text
    assert not set("\x1b\u202e\u2066\u200f") & set(text)


def test_a_hostile_search_stays_text(browser: Browser, pages: Path) -> None:
    browser.open(pages / "board.html", "q=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    assert browser.names() == []
    # Pictures of samples are data in the page itself; the search would have brought another.
    sources = browser.js("return Array.from(document.images, image => image.src.slice(0, 5))")
    assert set(sources) <= {"data:"}
    assert browser.logs() == []


def test_figures_can_be_saved(browser: Browser, pages: Path, tmp_path: Path) -> None:
    browser.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.open(pages / "board.html", theme="dark")
    for kind in ("svg", "png"):
        browser.click(f".rail [data-save={kind}]")
    expected = [tmp_path / f"denseflow-1-device-hours.{kind}" for kind in ("svg", "png")]
    deadline = time.monotonic() + 20
    while not all(path.exists() for path in expected) and time.monotonic() < deadline:
        time.sleep(0.1)
    svg = expected[0].read_text(encoding="utf-8")
    assert "<text" in svg
    assert "device-hours, log scale" in svg
    assert "var(--" not in svg
    assert "rgb(10, 88, 163)" in svg  # the accent of the light theme
    with Image.open(expected[1]) as image:
        assert image.width == 3 * (360 + 16)
        colours = {count_colour[1] for count_colour in image.convert("RGB").getcolors(10**6) or []}
    assert (10, 88, 163) in colours
    assert (253, 253, 251) in colours
    assert browser.logs() == []


@pytest.mark.parametrize(
    ("name", "most"), [("board.html", 1.5), pytest.param("large.html", 4, marks=pytest.mark.long)]
)
def test_pages_are_small(pages: Path, name: str, most: float) -> None:
    assert (pages / name).stat().st_size < most * MIB


@pytest.mark.long
def test_five_hundred_rows_are_usable(browser: Browser, pages: Path) -> None:
    browser.open(pages / "large.html", size=(320, 800))
    assert browser.js("return document.documentElement.scrollWidth") <= 320
    browser.open(pages / "large.html")
    browser.click("[data-column=c1]")
    values = [float(v) for v in browser.column(1, "p") if v is not None]
    assert values == sorted(values)
    browser.one("#find").send_keys("Method 499")
    assert len(browser.names()) <= 1


@pytest.mark.parametrize("name", ["board.html", large])
def test_details_that_come_packed_open_as_others_do(
    browser: Browser, pages: Path, name: str
) -> None:
    browser.open(pages / name)
    count = browser.js("return document.querySelectorAll('template[id^=details-]').length")
    assert count == browser.js("return document.querySelectorAll('button.name').length") > 0
    key = browser.js("return document.querySelector('button.name').closest('tr').id")
    browser.open(pages / name, f"row={key}")
    said = browser.js("return document.querySelector('.drawer .content').textContent")
    assert "Reproduce" in said
    assert browser.js("return document.querySelector('.drawer svg, .drawer img') !== null")
    assert browser.logs() == []


@pytest.mark.long
def test_rows_have_few_elements(browser: Browser, pages: Path) -> None:
    browser.open(pages / "large.html")
    counts = browser.js(
        "return [...document.querySelectorAll('#board tbody tr[id]')]"
        ".map(r => r.querySelectorAll('*').length)"
    )
    assert max(counts) <= 35


def test_print_shows_the_table_with_its_headers_and_no_controls(
    browser: Browser, pages: Path
) -> None:
    browser.open(pages / "board.html", theme="dark")
    browser.cdp("Emulation.setEmulatedMedia", media="print", features=[])
    assert not browser.one(".controls").is_displayed()
    assert browser.one("th.c1 .plain").is_displayed()
    assert not browser.one("th.c1 .sort").is_displayed()
    assert min(background(browser)) > 240


def test_a_phone_is_told_that_the_table_scrolls(browser: Browser) -> None:
    browser.open(DIGITS, size=(390, 844))
    assert "scroll sideways" in browser.one(".sideways").text
    faded = "return document.querySelector('.box').classList.contains('more-right')"
    assert browser.js(faded)
    browser.js("const b = document.querySelector('.box'); b.scrollLeft = b.scrollWidth")
    browser.js("return new Promise(r => setTimeout(r, 100))")
    assert not browser.js(faded)  # it goes on no further
    browser.open(DIGITS, size=(1280, 860))
    assert not browser.one(".sideways").is_displayed()


def test_a_table_that_fits_does_not_fade_where_a_mark_stands_out(browser: Browser) -> None:
    browser.open(DIGITS, size=(1280, 860))
    faded = browser.js(
        """const mark = document.createElement('i');
        mark.style = 'position: absolute; right: -9px; width: 9px; height: 9px';
        const cell = document.querySelector('#board tbody tr td:last-child');
        cell.style.position = 'relative';
        cell.append(mark);
        dispatchEvent(new Event('resize'));
        const box = document.querySelector('.box');
        return [box.scrollWidth > box.clientWidth, box.classList.contains('more-right')]"""
    )
    assert faded == [True, False]


def test_letters_of_notes_stay_where_intervals_leave(browser: Browser) -> None:
    for fragment, size in (("", (390, 844)), ("parts=interval", (1280, 860))):
        browser.open(DIGITS, fragment, size=size)
        shown = "return [...document.querySelectorAll(arguments[0])].map(e => e.offsetHeight)"
        letters = browser.js(shown, "#board td .v .letter")
        assert letters
        assert all(letters)
        assert not any(browser.js(shown, "#board td .v:not(.warn) > span"))


def test_the_rail_stands_beside_the_table_of_digits_at_1280(browser: Browser) -> None:
    browser.open(DIGITS, size=(1280, 860))
    right = browser.js("return document.getElementById('board').getBoundingClientRect().right")
    left = browser.js("return document.querySelector('.rail').getBoundingClientRect().left")
    assert right < left


def test_samples_in_details_are_those_of_the_page(browser: Browser) -> None:
    browser.open(DIGITS)
    browser.click("#m-glow-tiny .name")
    source = "return document.querySelector(arguments[0]).src"
    shown = browser.js(source, ".drawer img.samples")
    assert shown == browser.js(source, ".gallery [data-samples^='m-glow-tiny ']")
    assert shown.startswith("data:image/")
