"""What rows of all boards say beside their cells."""

from __future__ import annotations

from flowbench.leaderboard.evidence import Method, values
from flowbench.store.checks import CheckRow

_SECONDS = {"s": 1.0, "ms": 1e-3}


def contract_words(check: CheckRow | None) -> str:
    """The outcome of a contract check in words.

    Args:
        check: The outcome; None if there was no check.

    Returns:
        E.g. ``"passed"``, ``"failed: inverse, ladj"``; empty without a check.
    """
    if check is None:
        return ""
    names = [str(one.get("name", "")) for one in check.checks if one.get("status") == "failed"]
    failed = ", ".join(name for name in names if name)
    return f"{check.status}: {failed}" if check.status == "failed" and failed else check.status


def latency_s(method: Method) -> float | None:
    """The time to draw one sample.

    Args:
        method: The row's runs.

    Returns:
        Seconds, the median of the first run that has it; None without one.
    """
    for record in method.records:
        measured = values(record).get("sampling_latency")
        if measured is not None and measured.value is not None and measured.unit in _SECONDS:
            return measured.value * _SECONDS[measured.unit]
    return None
