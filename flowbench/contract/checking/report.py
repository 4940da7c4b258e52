"""What a check found, and how it is printed; imports nothing heavy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["passed", "failed", "skipped"]
Kind = Literal["model", "dataset", "metric"]
NAMED = 4  # of the checks that a failure blocks


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check on one case.

    Attributes:
        case: What it ran on, e.g. ``1x8x8 image, 17 levels``.
        status: ``skipped`` where it does not apply or where a check that it builds on failed.
        asks: What is checked, in one line.
        look_at: Where to look when it fails.
        figure: The measured error; None where the check is not a number.
        tolerance: Largest figure that passes.
        blocked_by: The check that failed and that this one builds on, if it was skipped for that.
    """

    name: str
    case: str
    status: Status
    asks: str
    detail: str
    look_at: str
    figure: float | None = None
    tolerance: float | None = None
    seconds: float = 0.0
    blocked_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The contract of one plugin part.

    Attributes:
        plugin: The distribution that registers it.
        results: Every check on every case.
        side_by_side_s: How long all took together, where cases ran side by side.
    """

    kind: Kind
    name: str
    plugin: str
    results: tuple[CheckResult, ...]
    side_by_side_s: float | None = None

    @property
    def status(self) -> Status:
        """``failed`` if any check failed; ``skipped`` if none could be run."""
        found = {result.status for result in self.results}
        if "failed" in found:
            return "failed"
        return "passed" if "passed" in found else "skipped"

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    @property
    def seconds(self) -> float:
        """What all the checks took."""
        if self.side_by_side_s is not None:
            return self.side_by_side_s
        return sum(result.seconds for result in self.results)

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "name": self.name,
            "kind": self.kind,
            "plugin": self.plugin,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "checks": [asdict(result) for result in self.results],
        }

    def lines(self) -> Iterator[str]:
        """The report for people, line by line; what a failure blocks is one line."""
        count = {status: 0 for status in ("passed", "failed", "skipped")}
        for result in self.results:
            count[result.status] += 1
        for case, results in itertools.groupby(self.results, lambda result: result.case):
            yield f"  on {case}"
            blocked: dict[str, list[str]] = {}
            for result in results:
                if result.blocked_by:
                    blocked.setdefault(result.blocked_by, []).append(result.name)
                else:
                    yield from _result_lines(result)
            for root, names in blocked.items():
                num = f"{len(names)} check{'s' if len(names) > 1 else ''}"
                named = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
                yield f"    skip  {num:<17} not checked, because {root} failed: {named}"
        counts = ", ".join(f"{number} {status}" for status, number in count.items() if number)
        yield f"  {self.status.upper()}: {counts or 'nothing to check'} in {self.seconds:.1f} s"


def _result_lines(result: CheckResult) -> Iterator[str]:
    mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[result.status]
    yield f"    {mark}  {result.name:<17} {_measured(result)}{result.detail}"
    if result.status == "failed":
        yield f"          checked: {result.asks}"
        yield f"          look at: {result.look_at}"


def _measured(result: CheckResult) -> str:
    if result.figure is None:
        return ""
    if result.tolerance is None:
        return f"{result.figure:.3g}; "
    sign = "<=" if result.figure <= result.tolerance else ">"
    return f"{result.figure:.3g} {sign} {result.tolerance:.3g}; "
