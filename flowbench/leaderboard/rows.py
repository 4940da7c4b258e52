"""What rows of all boards say beside their cells."""

from __future__ import annotations

from collections import defaultdict

from flowbench.leaderboard.evidence import Method, Source, values
from flowbench.store.checks import CheckRow

_SECONDS = {"s": 1.0, "ms": 1e-3}
_OF_CODE = {"same": "", "other": " (other code)", "unsure": " (perhaps other code)"}


def contract_of(source: Source, method: Method) -> str:
    """The last contract check of a row's model in words, with whether it was of the code that ran.

    Args:
        source: Where checks are.
        method: The row's runs.

    Returns:
        E.g. ``"14 checks passed (other code)"``.
    """
    check = source.check_of(method)
    said = contract_words(check)
    return said if check is None else said + _OF_CODE[source.checked_code(method)]


def contract_words(check: CheckRow | None) -> str:
    """The outcome of a contract check in words.

    Args:
        check: The outcome; None if there was no check.

    Returns:
        E.g. ``"10 checks passed, 4 skipped"``, ``"failed: inverse, ladj"``.
    """
    if check is None:
        return "not checked here (flowbench check)"
    by_status: dict[str, list[str]] = defaultdict(list)
    for one in check.checks:
        by_status[str(one.get("status"))].append(str(one.get("name", "")))
    failed = ", ".join(name for name in by_status["failed"] if name)
    if check.status == "failed" and failed:
        return f"failed: {failed}"
    passed, skipped = len(by_status["passed"]), len(by_status["skipped"])
    if not passed:
        return check.status
    said = f"{passed} check{'' if passed == 1 else 's'} passed"
    return f"{said}, {skipped} skipped" if skipped else said


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
