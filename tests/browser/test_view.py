"""The served pages in a browser: they follow the folder, and say what offline boards say."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowbench.runner.attempt import HEARTBEAT, ORDER, AttemptDir, Heartbeat, WorkOrder
from tests.leaderboard import mirrored
from tests.store import attempts as make
from tests.viewing import viewed

if TYPE_CHECKING:
    from tests.browser.driver import Browser

pytestmark = pytest.mark.slow


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return mirrored.store(tmp_path / "results")


@pytest.fixture
def address(results: Path) -> Iterator[str]:
    with viewed(results) as port:
        yield f"http://127.0.0.1:{port}"


def wait_for(true: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def begin(results: Path) -> tuple[AttemptDir, Heartbeat]:
    """An attempt that trains, as its files say."""
    job = make.job("nice", seed=9)
    order = WorkOrder(
        job=job, number=1, metrics=(), device="cpu", num_threads=1, data_dir="", spawned=0.0,
        spawned_utc="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    folder = results / "runs" / job.job_id / "1"
    folder.mkdir(parents=True)
    attempt = AttemptDir(folder)
    beat = Heartbeat(pid=os.getpid(), phase="training", progress=0.25, step=7, score=3.5)
    attempt.write(ORDER, order.model_dump_json())
    attempt.write(HEARTBEAT, beat.model_dump_json())
    return attempt, beat


def test_what_changes_in_the_folder_is_shown_without_a_reload(
    browser: Browser, results: Path, address: str, axe_source: str
) -> None:
    browser.visit(address)
    assert "Nothing." in browser.text("main")
    browser.js("window.same = true; document.querySelector('input[name=job]').click()")
    attempt, beat = begin(results)
    wait_for(lambda: "25 %" in browser.text("main"))
    assert "3.500 bpd" in browser.text("main")
    attempt.write(HEARTBEAT, beat.model_copy(update={"progress": 0.5}).model_dump_json())
    wait_for(lambda: "50 %" in browser.text("main"))
    assert browser.js("return window.same") is True
    # What was chosen stays so.
    assert browser.js("return document.querySelectorAll('input[name=job]:checked').length") == 1
    assert browser.axe(axe_source) == []
    browser.js("document.querySelector('table a[href^=\"/attempts/\"]').click()")
    wait_for(lambda: "under way" in browser.text("main"))
    record = make.attempt(attempt.order().job, measurements=make.measurements(2.25))
    make.write(results, record, curves=make.curve(2.25))
    wait_for(lambda: "2.25" in browser.text("main"))
    assert browser.axe(axe_source) == []
    assert browser.js("return document.querySelectorAll('main svg').length") == 1


def test_chosen_jobs_have_a_board(browser: Browser, results: Path, address: str) -> None:
    browser.visit(f"{address}/?dataset=cifar10&status=ok")
    assert "Only dataset cifar10, status ok" in browser.text("main")
    browser.js("document.querySelectorAll('input[name=job]').forEach((box) => box.click())")
    assert browser.text(".compare").startswith("Board of ")
    browser.js("document.querySelector('.compare').click()")
    wait_for(lambda: browser.js("return document.querySelector('#board tbody tr') !== null"))
    assert "cifar10" in browser.text("h1")
    assert browser.logs() == []


def test_a_board_is_shown_anew_when_there_are_new_results(
    browser: Browser, results: Path, address: str
) -> None:
    browser.visit(f"{address}/boards/denseflow-1")
    before = browser.text("#board")
    assert "3.650" not in before  # the mean of two seeds
    another = mirrored.run("realnvp:cifar10", "cifar10", 1, 3.7)
    make.write(results, another, curves=make.curve(3.7))
    wait_for(lambda: "3.65" in browser.text("#board"))
    assert browser.logs() == []
