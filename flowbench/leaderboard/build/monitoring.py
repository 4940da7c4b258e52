"""What curves tell beside a score, where they leave the thresholds of an overview of flows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from flowbench.store.attempt_files import AttemptContents
from flowbench.store.kept import BY_LAYER
from flowbench.store.records import CurvePoint
from flowbench.suite.published import published_tables

TABLE = "nf-overview-thresholds"
MOST_SHOWN = 6  # values of a curve in a sentence


def monitored(found: Sequence[AttemptContents]) -> Iterator[str]:
    """Says of each run whose inverse left the thresholds how far, when, and what else was seen.

    Args:
        found: Runs with their curves.
    """
    for contents in found:
        seen = [p for p in contents.curves if p.info and "round_trip" in p.info]
        if seen:
            text = _judged(contents.record.job.seed, seen)
            if text:
                yield text


@cache
def _thresholds() -> tuple[float, float]:
    """What a mean reconstruction error should stay below, and what means poor invertibility."""
    table = published_tables()[TABLE]
    printed = {
        value.metric: float(value.value) for value in table.values if "recon" in value.metric
    }
    return printed["recon_error_max"], printed["recon_error_alarm"]


def _judged(seed: int, points: Sequence[CurvePoint]) -> str:
    errors = [_of(point, "round_trip") for point in points]
    lost = max(_of(point, "round_trip_nonfinite") for point in points)
    wanted, alarm = _thresholds()
    worst = max(errors)
    if worst <= wanted and not lost:
        return ""
    step = points[errors.index(worst)].step
    limit = f"{alarm:g}, poor invertibility" if worst > alarm else f"{wanted:g}"
    parts = [
        f"seed {seed}: the round trip was off by {worst:.1e} on average at step {step:,}, above an "
        f"overview's {limit}"
        if worst > wanted
        else "",
        f"up to {100 * lost:.0f} % of values came back as no number" if lost else "",
        f"over training {_in_brief(errors)}",
        *_beside(points),
    ]
    return "; ".join(part for part in parts if part)


def _beside(points: Sequence[CurvePoint]) -> Iterator[str]:
    norms = [value for p in points for k, value in _info(p) if k.startswith("gradient_norm")]
    if norms:
        yield f"gradient norm {_in_brief(norms)}"
    layers = [value for p in points for k, value in _info(p) if k.startswith(BY_LAYER)]
    if layers:
        yield f"log-determinants of layers from {min(layers):.3g} to {max(layers):.3g} nats"


def _info(point: CurvePoint) -> Sequence[tuple[str, float]]:
    return list((point.info or {}).items())


def _of(point: CurvePoint, name: str) -> float:
    return dict(_info(point)).get(name, 0.0)


def _in_brief(values: Sequence[float]) -> str:
    """Some of the values in order, the last among them."""
    step = -(-len(values) // MOST_SHOWN)
    return ", ".join(f"{value:.1e}" for value in values[::-step][::-1])
