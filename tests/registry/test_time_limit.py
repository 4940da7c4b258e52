from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest

from flowbench.registry.time_limit import time_limit

SHORT, LONG = 0.05, 60.0


def test_code_in_time_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(LONG):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def _sleep() -> None:
    time.sleep(LONG)


def _spin() -> None:
    while True:
        pass


def _wait() -> None:
    threading.Event().wait()


def _swallow() -> None:
    try:
        time.sleep(LONG)
    except BaseException:
        time.sleep(LONG)


def _retry() -> None:
    while True:
        try:
            time.sleep(LONG)
        except Exception:
            continue


@pytest.mark.parametrize("hang", [_sleep, _spin, _wait, _swallow, _retry])
def test_what_hangs_is_interrupted(
    hang: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowbench.registry.time_limit.REPEAT_S", SHORT)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"took more than 0.05 s"), time_limit(SHORT):
        hang()
    assert time.monotonic() - start < LONG / 2


def test_an_error_of_the_code_passes_through() -> None:
    with pytest.raises(KeyError), time_limit(LONG):
        raise KeyError
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_inner_limit_leaves_the_outer_one_standing() -> None:
    def hang() -> None:
        with time_limit(LONG):
            pass
        _sleep()

    with pytest.raises(TimeoutError, match=r"0\.2 s"), time_limit(0.2):
        hang()


def test_outside_of_the_main_thread_there_is_no_limit() -> None:
    done = threading.Event()

    def work() -> None:
        with time_limit(SHORT / 5):
            time.sleep(SHORT)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done.is_set()
