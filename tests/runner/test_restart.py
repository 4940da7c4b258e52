"""A work order that is started again goes on from what was done of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowbench.code_hash import CodeHashes
from flowbench.errors import ExecutorError
from flowbench.runner import restart
from flowbench.runner.attempt import CHECKPOINT, HEARTBEAT, MODEL, AttemptDir, Heartbeat, Placement
from flowbench.runner.ownership import Claim, Owner, claim
from tests.runner.test_survey import begin, end

CODE = CodeHashes(core="c", model="m", dataset="d", metrics={})


class Executed(BaseException):
    """This process would have become another."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Starts an order, and gives the command that this process would have become."""

    def execve(path: str, command: list[str], environment: dict[str, str]) -> None:
        os.close(int(command[-1]))  # the lock goes with the process
        raise Executed(command, environment)

    def start(folder: Path, **options: Any) -> list[str]:
        with pytest.raises(Executed) as stopped:
            restart.run_order(folder, **options)
        command, environment = stopped.value.args
        assert environment["OMP_NUM_THREADS"] == str(options.get("num_threads", 1))
        return [str(word) for word in command]

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(restart, "available_cores", lambda: (0,))
    monkeypatch.setattr(restart, "CLAIM_WITHIN_S", 0.0)
    return start


def beat(attempt: AttemptDir) -> None:
    attempt.write(HEARTBEAT, Heartbeat(pid=1, step=7, phase="training").model_dump_json())


def order_in(results: Path) -> AttemptDir:
    attempt = begin(results)
    attempt.write_code(CODE)
    attempt.write("placed.json", Placement(executor="q", options={}, job="7").model_dump_json())
    return attempt


def test_the_first_start_is_the_attempt_itself(
    tmp_path: Path, started: Callable[..., list[str]]
) -> None:
    first = order_in(tmp_path)
    command = started(first.path, num_threads=3)
    assert command[-3:-1] == ["flowbench.runner.worker", str(first.path)]
    assert first.order().num_threads == 3
    assert first.order().spawned > 0.0  # by this machine's clock
    assert started(first.path)[-2] == str(first.path)  # ended before it had begun


@pytest.mark.parametrize("died", [False, True])
@pytest.mark.parametrize("left", [CHECKPOINT, MODEL])
def test_the_next_start_goes_on_from_the_checkpoint(
    tmp_path: Path, started: Callable[..., list[str]], died: bool, left: str
) -> None:
    first = order_in(tmp_path)
    beat(first)
    (first.path / left).touch()
    if not died:
        end(first, "preempted")
    assert started(first.path)[-2] == str(first.path.parent / "2")
    second = AttemptDir(first.path.parent / "2")
    order = second.order()
    assert (order.number, order.start_of, order.resume) == (2, 1, str(first.path))
    assert second.placement() == first.placement()
    assert second.code() == CODE
    record = first.record()
    assert record is not None
    assert record.status == ("killed" if died else "preempted")
    # And so on: the order stays the one that was given.
    beat(second)
    (second.path / left).touch()
    assert started(first.path)[-2] == str(first.path.parent / "3")
    assert AttemptDir(first.path.parent / "3").order().start_of == 1


@pytest.mark.parametrize(("status", "exit_status"), [("ok", 0), ("diverged", 3), ("timeout", 3)])
def test_what_has_ended_is_not_begun_again(tmp_path: Path, status: str, exit_status: int) -> None:
    first = order_in(tmp_path)
    end(first, status)
    assert restart.run_order(first.path) == exit_status
    assert [path.name for path in first.path.parent.iterdir() if path.is_dir()] == ["1"]


def test_what_was_cancelled_is_not_begun_again(tmp_path: Path) -> None:
    first = order_in(tmp_path)
    first.ask_to_stop("preempted", "cancelled by flowbench cancel")
    end(first, "preempted")
    assert restart.run_order(first.path) == 75


def test_starts_that_lead_nowhere_come_to_an_end(
    tmp_path: Path, started: Callable[..., list[str]]
) -> None:
    first = order_in(tmp_path)
    for number in range(1, 1 + restart.MOST_IN_VAIN):
        started(first.path)
        end(AttemptDir(first.path.parent / str(number)), "preempted")
    with pytest.raises(ExecutorError, match="3 starts in a row came to no checkpoint"):
        restart.run_order(first.path)


def test_an_order_gives_way_to_who_else_has_the_job(tmp_path: Path) -> None:
    first = order_in(tmp_path)
    end(first, "killed")
    begin(tmp_path)  # attempt 2, by a run that knew nothing of it
    with pytest.raises(ExecutorError, match="attempt 2 has taken its place"):
        restart.run_order(first.path)


def test_two_starts_at_once_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "CLAIM_WITHIN_S", 0.0)
    first = order_in(tmp_path)
    held = claim(first.path.parent, Owner.of_this_process(started="now"))
    assert isinstance(held, Claim)
    with pytest.raises(ExecutorError, match="running elsewhere"):
        restart.run_order(first.path)
    held.release()


def test_a_folder_without_an_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="no work order in"):
        restart.run_order(tmp_path)
