from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowbench.runner.turnstile import Turnstile

# Steps every 10 ms, and says when it was paused.
STEPPER = """
import sys, time
from pathlib import Path
from flowbench.runner.turnstile import Turnstile
folder = Path(sys.argv[1])
turnstile = Turnstile(folder)
(folder / "ready").touch()
while not (folder / "end").exists():
    with (folder / "steps").open("a") as file:
        file.write(f"{time.monotonic()}\\n")
    if turnstile.pause_if_asked():
        (folder / "paused").touch()
    time.sleep(0.01)
"""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.01)


@pytest.fixture
def stepper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", STEPPER, str(tmp_path)])
    wait_for(tmp_path / "ready")
    yield process
    (tmp_path / "end").touch()
    process.wait(timeout=20)


def test_the_others_pause_while_one_measures(
    stepper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    turnstile = Turnstile(tmp_path)
    with turnstile.alone():
        begin = time.monotonic()
        time.sleep(0.3)
        end = time.monotonic()
    wait_for(tmp_path / "paused")
    steps = [float(line) for line in (tmp_path / "steps").read_text().split()]
    assert not [step for step in steps if begin < step < end]
    turnstile.close()


def test_a_process_that_dies_lets_the_others_go_on(
    stepper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    turnstile = Turnstile(tmp_path)
    stepper.kill()
    stepper.wait()
    begin = time.monotonic()
    with turnstile.alone():
        assert time.monotonic() - begin < 1
    turnstile.close()


def test_nobody_waits_without_need(tmp_path: Path) -> None:
    turnstile = Turnstile(tmp_path)
    assert not turnstile.pause_if_asked()
    with turnstile.alone():
        pass
    assert not turnstile.pause_if_asked()
    turnstile.close()


HOLDER = """
import sys, time
from pathlib import Path
from flowbench.runner.turnstile import Turnstile
folder = Path(sys.argv[1])
turnstile = Turnstile(folder)
if sys.argv[2] == "measuring":
    alone = turnstile.alone()
    alone.__enter__()
(folder / "ready").touch()
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("hung", ["measuring", "working"])
def test_a_process_that_hangs_is_named_and_passed_over(
    tmp_path: Path, hung: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flowbench.runner.turnstile.PASS_OVER_S", 0.3)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), hung])
    try:
        wait_for(tmp_path / "ready")
        turnstile = Turnstile(tmp_path)
        for _ in range(2):
            with pytest.raises(TimeoutError, match=f"process {holder.pid} has held up all other"):
                with turnstile.alone():
                    raise AssertionError("it was not alone")
        turnstile.pause_if_asked()
        said = capfd.readouterr().err
        assert (f"process {holder.pid}" in said) == (hung == "measuring")
    finally:
        holder.kill()
        holder.wait()
    with turnstile.alone():
        pass
    turnstile.close()
