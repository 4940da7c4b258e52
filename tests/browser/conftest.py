from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowbench.leaderboard.render import html, index
from tests.browser.boards import hostile, mirrored, typed
from tests.leaderboard.claimed import claimed

if TYPE_CHECKING:
    from tests.browser.driver import Browser

REQUIRED = "FLOWBENCH_REQUIRE_TOOLS"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser a module; without one the tests skip, or fail where it is required."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if importlib.util.find_spec("selenium") is None:
        missing.append("the package selenium")
    if missing:
        said = f"no {' and no '.join(missing)}; install it to test pages in a browser"
        if os.environ.get(REQUIRED):
            pytest.fail(said)
        pytest.skip(said)
    from tests.browser.driver import Browser

    opened = Browser()
    yield opened
    opened.quit()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pages: `board.html`, `typed.html`, `hostile.html`, `claims.html` and a list."""
    folder = tmp_path_factory.mktemp("pages")
    boards = {"board": mirrored(), "typed": typed(), "hostile": hostile(), "claims": claimed()}
    for name, board in boards.items():
        page = html.render(board, home="index.html")
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    listed = {name: index.entry(board, f"{name}.html") for name, board in boards.items()}
    (folder / "index.html").write_text(html.render_index(listed), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def large(pages: Path) -> None:
    """Adds `large.html`, which has 500 rows and takes a while."""
    page = html.render(mirrored(500, samples=40_000, every=1), home="index.html")
    (pages / "large.html").write_text(page, encoding="utf-8")


@pytest.fixture(scope="session")
def axe_source() -> str:
    """The source of axe-core."""
    spec = importlib.util.find_spec("axe_core_python")
    if spec is None or spec.origin is None:
        if os.environ.get(REQUIRED):
            pytest.fail("axe-core-python is not installed")
        pytest.skip("axe-core-python is not installed")
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")
