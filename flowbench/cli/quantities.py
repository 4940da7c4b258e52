"""Quantities of a run as a person reads them, in as few characters as tell."""

from __future__ import annotations


def percent_text(part: float) -> str:
    """A part in [0, 1] in whole per cent, never more than 100."""
    # A training ends a step or two past its budget, and 101 % would look like a fault.
    return f"{min(part, 1.0) * 100:.0f} %"


def count_text(number: int, noun: str) -> str:
    """A number of things: ``1 attempt``, ``2 attempts``."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def rate_text(rate: float) -> str:
    """Steps a second with the digits that matter."""
    return f"{rate:.2g}" if rate < 1 else f"{rate:.1f}" if rate < 100 else f"{rate:,.0f}"


def score_text(score: float, unit: str) -> str:
    """A validation score with its unit."""
    return f"{score:.3f} {unit}" if abs(score) < 1000 else f"{score:,.0f} {unit}"


def clock_text(seconds: float) -> str:
    """A duration as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
