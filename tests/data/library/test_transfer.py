from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from flowbench.data.library.transfer import human_bytes, one_at_a_time, transfer


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes rich take stderr for a terminal of 120 columns."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", captured.err)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_what_is_done_the_rate_and_the_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with transfer("downloading a.zip", 10_000_000, 1_000_000) as tell:
        for _ in range(4):
            time.sleep(0.02)  # a rate takes two moments
            tell(1_000_000)
    last = [line for line in shown(capsys).splitlines() if "downloading a.zip" in line][-1]
    assert "5.0/10.0 MB" in last
    assert re.search(r"\d+(\.\d+)? [kM]B/s", last)
    assert re.search(r"0:00:\d\d", last)


@pytest.mark.usefixtures("terminal")
def test_a_size_that_nobody_knows_is_no_obstacle(capsys: pytest.CaptureFixture[str]) -> None:
    with transfer("downloading a.zip") as tell:
        tell(500)
    assert "500/? bytes" in shown(capsys)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ((), "checking a\n"),
        ((2_000_000,), "checking a, 2 MB\n"),
        ((2_000_000, 500_000), "checking a, 2 MB, 500 kB of it are here\n"),
    ],
)
def test_elsewhere_it_is_one_plain_line(
    capsys: pytest.CaptureFixture[str], given: tuple[int, ...], line: str
) -> None:
    with transfer("checking a", *given) as tell:
        tell(100)
        tell(100)
    assert shown(capsys) == line


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (26_421_880, "26.4 MB"), (4.1e9, "4.1 GB")],
)
def test_sizes_as_a_person_reads_them(num_bytes: float, text: str) -> None:
    assert human_bytes(num_bytes) == text


def test_one_waits_for_another_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, done = tmp_path / "new" / ".x.lock", threading.Event()

    def second() -> None:
        with one_at_a_time(path, "preparing x"):
            done.set()

    thread = threading.Thread(target=second)
    with one_at_a_time(path, "preparing x"):
        assert shown(capsys) == ""
        thread.start()
        assert not done.wait(0.3)
    thread.join(5.0)
    assert done.is_set()
    assert shown(capsys) == "another process is preparing x; waiting for it\n"
