"""What curves tell beside a score, where they leave the thresholds of an overview of flows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from operator import itemgetter

from flowbench.store.attempt_files import AttemptContents
from flowbench.store.kept import BY_LAYER, thinned
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
        # As they are kept: a page made from kept text says the same. Of a round trip that gave no
        # number at all there is the share alone.
        points = thinned(contents.curves)
        seen = [p for p in points if "round_trip_nonfinite" in (p.info or {})]
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
    errors = {p.step: p.info["round_trip"] for p in points if p.info and "round_trip" in p.info}
    lost = max(_values(points, "round_trip_nonfinite"), default=0.0)
    wanted, alarm = _thresholds()
    step, worst = max(errors.items(), key=itemgetter(1), default=(0, 0.0))
    if worst <= wanted and not lost:
        return ""
    limit = f"{alarm:g}, poor invertibility" if worst > alarm else f"{wanted:g}"
    parts = [
        f"the round trip was off by {worst:.1e} on average at step {step:,}, above an overview's "
        f"{limit}"
        if worst > wanted
        else "",
        f"up to {100 * lost:.0f} % of values came back as no number" if lost else "",
        f"over training {_in_brief([*errors.values()])}" if errors else "",
        *_beside(points),
    ]
    return f"seed {seed}: {'; '.join(part for part in parts if part)}"


def _beside(points: Sequence[CurvePoint]) -> Iterator[str]:
    if norms := _values(points, "gradient_norm"):
        yield f"gradient norm {_in_brief(norms)}"
    if layers := _values(points, BY_LAYER):
        yield f"log-determinants of layers from {min(layers):.3g} to {max(layers):.3g} nats"


def _values(points: Sequence[CurvePoint], beginning: str) -> list[float]:
    """All values, in order, whose names begin so."""
    return [v for p in points for k, v in (p.info or {}).items() if k.startswith(beginning)]


def _in_brief(values: Sequence[float]) -> str:
    """Some of the values in order, the last among them."""
    step = -(-len(values) // MOST_SHOWN)
    return ", ".join(f"{value:.1e}" for value in values[::-step][::-1])
