"""A check is a function with a hint; a contract is a list of them."""

from __future__ import annotations

import dataclasses
import inspect
import re
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from flowbench.contract.checking.report import CheckResult, Status
from flowbench.errors import reason_of, text_of
from flowbench.registry.containment import undisturbed
from flowbench.registry.time_limit import TimeLimitError, time_limit

SubjectT = TypeVar("SubjectT")

# A border: the plugin's own code runs here, and may even leave the process.
PLUGIN_ERRORS = (Exception, SystemExit)
LIMIT_S = 120.0  # for one check; all of a sound plugin's take less than half of that
LONGEST_REASON = 300  # characters of what an exception says

# What an exception says whose text does not say what to do -> what to do.
HINTS = {
    "NVIDIA|CUDA|cuda|on the same device": (
        "the harness chooses the device: leave out .cuda() and .to(...), take the device from x, "
        "and keep tensors with register_buffer"
    ),
    r"GenerativeModel.__init__\(\) missing": "begin with super().__init__(config, data)",
    "values to unpack": (
        "to_latent returns latents and ladj, and each layer its values and its ladj, both"
    ),
}


class DoesNotApplyError(Exception):
    """A check asks of a plugin what it does not have; the text says what."""


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
        run: What checks it. Its name is the clause's, the first paragraph of its docstring says
            what is checked.
        look_at: Where to look when it fails.
        needs: Checks that it builds on: if one of them fails, this one is skipped, so that a
            report names causes and not their consequences.
        slow: Whether it trains the model first.
        cases: Kinds of case that it runs on.
    """

    run: Callable[[SubjectT], Finding]
    look_at: str
    needs: tuple[str, ...] = ()
    slow: bool = False
    cases: frozenset[str] = frozenset({"main", "variant"})

    @property
    def name(self) -> str:
        """Its name."""
        return self.run.__name__

    @property
    def asks(self) -> str:
        """What is checked, in one line."""
        # From the docstring, so that what a report says is checked is what the code says.
        paragraph = (inspect.getdoc(self.run) or "").partition("\n\n")[0]
        return " ".join(paragraph.split()).removesuffix(".")


def check(
    look_at: str, *, needs: tuple[str, ...] = (), slow: bool = False, cases: str = "main variant"
) -> Callable[[Callable[[SubjectT], Finding]], Check[SubjectT]]:
    """Makes a function a check.

    Args:
        look_at: Where to look when it fails.
        needs: Checks that it builds on.
        slow: Whether it trains the model first.
        cases: Kinds of case that it runs on.

    Returns:
        A decorator.
    """

    def make(run: Callable[[SubjectT], Finding]) -> Check[SubjectT]:
        on = frozenset(cases.split())
        return Check(run=run, look_at=look_at, needs=needs, slow=slow, cases=on)

    return make


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
    # In this order: every comparison with NaN is false.
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
    unsound = _unsound(before)
    for clause in checks:
        root = _root(clause, unsound)
        start = time.perf_counter()
        finding = _run(clause, subject, limit_s) if root is None else _blocked(root)
        # What was not checked is as little to be built on as what failed.
        if root or finding.status == "failed":
            unsound[clause.name] = root or clause.name
        results.append(
            CheckResult(
                name=clause.name,
                case=case,
                asks=clause.asks,
                look_at=clause.look_at,
                seconds=time.perf_counter() - start,
                blocked_by=root,
                **dataclasses.asdict(finding),
            )
        )
    return results


def not_twice(
    checks: Iterable[Check[SubjectT]],
    found: Iterable[CheckResult],
    before: Iterable[CheckResult],
) -> list[CheckResult]:
    """Results that were found beside those on another case, as if they came after those.

    Args:
        checks: The checks, in order.
        found: Results on a case.
        before: Results on others, whose failures block what builds on them here.

    Returns:
        The results, some of them blocked.
    """
    clauses, unsound = {clause.name: clause for clause in checks}, _unsound(before)
    results = []
    for result in found:
        clause = clauses.get(result.name)
        root = None if clause is None else _root(clause, unsound)
        if root is not None:
            unsound[result.name] = root
            finding = dataclasses.asdict(_blocked(root))
            result = dataclasses.replace(result, **finding, blocked_by=root)
        results.append(result)
    return results


def _unsound(before: Iterable[CheckResult]) -> dict[str, str]:
    """What does not hold -> the check at the root of it."""
    return {r.name: r.blocked_by or r.name for r in before if r.status == "failed" or r.blocked_by}


def _root(clause: Check[SubjectT], unsound: Mapping[str, str]) -> str | None:
    asked_for = (clause.name, *clause.needs)  # itself, too: it may have failed on another case
    return next((unsound[name] for name in asked_for if name in unsound), None)


def _blocked(root: str) -> Finding:
    return skipped(f"not checked, because {root} failed")


def _run(clause: Check[SubjectT], subject: SubjectT, limit_s: float) -> Finding:
    try:
        with undisturbed(), time_limit(limit_s):
            return clause.run(subject)
    except DoesNotApplyError as exc:
        return skipped(str(exc))
    except PLUGIN_ERRORS as exc:
        return failed(describe_exception(exc))


def describe_exception(exc: BaseException) -> str:
    """What was raised and where in the plugin, in one line.

    Args:
        exc: The exception, with its traceback.

    Returns:
        The line.
    """
    if isinstance(exc, TimeLimitError):
        return (
            f"did not end: it {text_of(exc)} and was interrupted ({_where(exc.__cause__ or exc)})"
        )
    reason = reason_of(exc, LONGEST_REASON)
    hint = next((f": {hint}" for words, hint in HINTS.items() if re.search(words, reason)), "")
    return f"raised {reason} ({_where(exc)}){hint}"


def _where(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    inside = ("contract", "training", "data", "registry")
    ours = ("site-packages", *(f"flowbench/{package}" for package in inside))
    theirs = [f for f in frames if not any(part in f.filename for part in ours)]
    # The last frame of the author's own code: what lies deeper is ours or torch's.
    frame = (theirs or list(frames))[-1]
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}"
