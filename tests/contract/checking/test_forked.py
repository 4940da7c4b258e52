"""Runs in forks: what they return, in order, and how a lost one ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial

import pytest

from flowbench.contract import CheckReport, check_model
from flowbench.contract.checking.forked import CAN_FORK, LostProcessError, in_forks
from flowbench.registry import Registry

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="forms are checked one after another here")


def test_what_they_return_comes_in_order_whichever_ends_first() -> None:
    def slept(seconds: float) -> tuple[float, int]:
        time.sleep(seconds)
        return seconds, os.getpid()

    found = in_forks([partial(slept, s) for s in (0.2, 0.0, 0.1)], jobs=2)
    results = [each for each in found if not isinstance(each, LostProcessError)]
    assert [seconds for seconds, _ in results] == [0.2, 0.0, 0.1]
    assert len({pid for _, pid in results} | {os.getpid()}) == 4


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (partial(os._exit, 3), "ended with exit status 3"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by signal 9"),
    ],
)
def test_one_that_is_lost_says_how_and_loses_no_other(
    end: Callable[[], object], words: str
) -> None:
    def kept() -> object:
        return "kept"

    lost, other = in_forks([end, kept], jobs=1)
    assert isinstance(lost, LostProcessError)
    assert words in str(lost)
    assert other == "kept"


def _told(report: CheckReport) -> list[tuple[str, ...]]:
    return [(r.case, r.name, r.status, r.blocked_by or "") for r in report.results]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sound-flow", "mutant-ladj-sign-flipped"])
def test_forms_side_by_side_find_what_they_find_one_after_another(
    registry: Registry, name: str
) -> None:
    one_by_one, beside = (check_model(registry, name, slow=False, jobs=jobs) for jobs in (1, 2))
    assert len({case for case, *_ in _told(beside)}) > 1
    assert _told(beside) == _told(one_by_one)


def test_a_model_that_ends_its_process_has_failed(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowbench.contract import model_contract

    monkeypatch.setattr(model_contract, "configure", lambda *_: os._exit(7))
    report = check_model(registry, "sound-flow", slow=False, jobs=2)
    assert {result.name for result in report.failures} == {"configuration"}
    assert "exit status 7" in report.failures[0].detail
