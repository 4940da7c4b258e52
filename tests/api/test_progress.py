from __future__ import annotations

import pytest

from flowbench.api import report_progress
from flowbench.api.progress import progress_to


def test_progress_goes_to_the_innermost_listener_and_to_none_outside() -> None:
    outer: list[float] = []
    inner: list[float] = []
    report_progress(0.1)
    with progress_to(outer.append):
        report_progress(0.2)
        with progress_to(inner.append):
            report_progress(0.3)
        report_progress(0.4)
    report_progress(0.5)
    assert (outer, inner) == ([0.2, 0.4], [0.3])


def test_a_listener_may_stop_the_work() -> None:
    def stop(part: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress_to(stop):
        report_progress(0.5)
    report_progress(0.6)
