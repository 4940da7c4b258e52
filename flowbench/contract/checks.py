"""A check is a function with a name, a question and a hint; a contract is a list of them."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flowbench.contract.process_state import preserved_process
from flowbench.contract.report import CheckResult, Status
from flowbench.registry.time_limit import TimeLimitError, time_limit

SubjectT = TypeVar("SubjectT")

# A border: the plugin's own code runs here, and may even leave the process.
PLUGIN_ERRORS = (Exception, SystemExit)
LIMIT_S = 120.0  # for one check; all of a sound plugin's take less than half of that


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check's function returns.

    Attributes:
        status: Whether the contract holds.
        figure: The measured error, if it is a number.
        tolerance: Largest figure that passes.
    """

    status: Status
    detail: str
    figure: float | None = None
    tolerance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Check(Generic[SubjectT]):
    """One clause of a contract.

    Attributes:
        asks: What is checked, in one line.
        look_at: Where to look when it fails.
        needs: Checks that it builds on: if one of them fails, this one is skipped, so that a
            report names causes and not their consequences.
        slow: Whether it trains the model first.
        cases: Kinds of case that it runs on.
    """

    name: str
    asks: str
    look_at: str
    run: Callable[[SubjectT], Finding]
    needs: tuple[str, ...] = ()
    slow: bool = False
    cases: frozenset[str] = frozenset({"main", "variant"})


def passed(detail: str) -> Finding:
    """The contract holds."""
    return Finding(status="passed", detail=detail)


def failed(detail: str) -> Finding:
    """The contract is broken."""
    return Finding(status="failed", detail=detail)


def skipped(reason: str) -> Finding:
    """The clause does not apply."""
    return Finding(status="skipped", detail=reason)


def within(figure: float, tolerance: float, detail: str) -> Finding:
    """Whether an error is small enough; NaN is not.

    Args:
        tolerance: Largest error that passes.
        detail: What the error is of.

    Returns:
        The finding.
    """
    status: Status = "passed" if figure <= tolerance else "failed"
    return Finding(status=status, detail=detail, figure=figure, tolerance=tolerance)


def run_checks(
    checks: Iterable[Check[SubjectT]],
    subject: SubjectT,
    case: str,
    before: Iterable[CheckResult] = (),
    *,
    limit_s: float = LIMIT_S,
) -> list[CheckResult]:
    """Runs checks in order, each in a process state of its own.

    Args:
        checks: The checks; one that another needs comes before it.
        subject: What they look at.
        case: The words for it.
        before: Results on another case, whose failures block what builds on them here.
        limit_s: Seconds after which a check is interrupted and has failed.

    Returns:
        One result a check.
    """
    results: list[CheckResult] = []
    # A check that does not hold -> the check at the root of it.
    unsound = {
        r.name: r.blocked_by or r.name for r in before if r.status == "failed" or r.blocked_by
    }
    for check in checks:
        root = next((unsound[name] for name in check.needs if name in unsound), None)
        if root is None:
            result = _timed(check, subject, case, limit_s)
        else:
            result = _blocked(check, case, root)
        if result.status == "failed" or result.blocked_by:
            unsound[check.name] = root or check.name
        results.append(result)
    return results


def _timed(check: Check[SubjectT], subject: SubjectT, case: str, limit_s: float) -> CheckResult:
    start = time.perf_counter()
    finding = _run(check, subject, limit_s)
    return _result(check, finding, case, time.perf_counter() - start)


def _blocked(check: Check[SubjectT], case: str, root: str) -> CheckResult:
    finding = skipped(f"not checked, because {root} failed")
    return dataclasses.replace(_result(check, finding, case, 0.0), blocked_by=root)


def _run(check: Check[SubjectT], subject: SubjectT, limit_s: float) -> Finding:
    try:
        with preserved_process(), time_limit(limit_s):
            return check.run(subject)
    except PLUGIN_ERRORS as exc:
        return failed(describe_exception(exc))


def _result(check: Check[SubjectT], finding: Finding, case: str, seconds: float) -> CheckResult:
    return CheckResult(
        name=check.name,
        case=case,
        asks=check.asks,
        look_at=check.look_at,
        seconds=seconds,
        **dataclasses.asdict(finding),
    )


def standalone(
    name: str, status: Status, case: str, detail: str, *, asks: str, look_at: str
) -> CheckResult:
    """A result that no check gave, such as that there is no case to check on."""
    return CheckResult(
        name=name,
        case=case,
        status=status,
        asks=asks,
        figure=None,
        tolerance=None,
        detail=detail,
        look_at=look_at,
        seconds=0.0,
    )


def describe_exception(exc: BaseException) -> str:
    """What was raised and where in the plugin, in one line.

    Args:
        exc: The exception, with its traceback.

    Returns:
        The line.
    """
    text = " ".join(str(exc).split())
    if isinstance(exc, TimeLimitError):
        hung = exc.__cause__ or exc
        return f"did not end: it {text} and was interrupted ({_where(hung)})"
    return f"raised {type(exc).__name__}: {text[:300]} ({_where(exc)})"


def _where(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    inside = ("contract", "training", "data", "registry")
    ours = ("site-packages", *(f"flowbench/{package}" for package in inside))
    theirs = [f for f in frames if not any(part in f.filename for part in ours)]
    frame = (theirs or list(frames))[-1]
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}"
