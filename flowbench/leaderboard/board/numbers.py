"""How numbers are written: one way for every rendering.

True minus, no-break spaces between number and unit, commas in thousands, and one number of decimals
down a column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from flowbench.api.units import LIKELIHOOD_UNITS

MINUS = "\u2212"
NO_BREAK = "\u00a0"

SCIENTIFIC = -1
"""In place of decimals: values too small for any."""

_SMALL = 1e-3
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LIKELIHOOD_DECIMALS = 3
_MEBIBYTE = 2.0**20


def decimals_for(values: Sequence[float], unit: str) -> int:
    """Decimals of a column whose metric leaves them open.

    Args:
        values: All values of the column, in the unit that is shown.
        unit: That unit.

    Returns:
        3 for likelihoods, 0 for counts, else what gives the typical value three significant
        digits; `SCIENTIFIC` where that would take too many.
    """
    if unit in LIKELIHOOD_UNITS:
        return _LIKELIHOOD_DECIMALS
    sizes = [abs(value) for value in values if value]
    if not sizes or all(value == int(value) for value in values):
        return 0
    typical = median(sizes)
    if typical < _SMALL:
        return SCIENTIFIC
    # By the typical value, so that a single tiny one does not give the whole column its digits.
    return min(4, max(0, 2 - math.floor(math.log10(typical))))


def number(value: float, decimals: int) -> str:
    """Writes a number, e.g. ``"−1,234.50"``.

    A positive number that rounds to 0 is ``"<0.01"``.
    """
    if decimals == SCIENTIFIC:
        return _scientific(value)
    text = f"{abs(value):,.{decimals}f}"
    # A plain 0.00 would say that nothing was measured.
    if value > 0 and float(text.replace(",", "")) == 0.0:
        return f"<{10.0**-decimals:.{decimals}f}"
    return f"{MINUS}{text}" if value < 0 and float(text.replace(",", "")) else text


def signed(value: float, decimals: int) -> str:
    """Writes a difference, e.g. ``"+0.06"``; ``"0.00"`` for what rounds to nothing."""
    if decimals == SCIENTIFIC:
        return f"{'+' if value > 0 else ''}{_scientific(value)}"
    text = f"{abs(value):,.{decimals}f}"
    if float(text.replace(",", "")) == 0.0:
        return text
    return f"{MINUS}{text}" if value < 0 else f"+{text}"


def interval(half_width: float, decimals: int) -> str:
    """Writes half an interval without its leading zero, e.g. ``"±.01"``.

    Below the last decimal it is ``"±<.01"``; of equal values, ``"±0"``.
    """
    if half_width == 0.0:
        return "±0"
    text = number(half_width, decimals)
    return "±" + text.replace("0.", ".", 1) if text.lstrip("<").startswith("0.") else f"±{text}"


def _scientific(value: float) -> str:
    """Two significant digits and a power of ten."""
    if value == 0.0:
        return "0"
    digits, exponent = f"{abs(value):.1e}".split("e")
    power = str(int(exponent)).translate(_SUPERSCRIPTS)
    return f"{MINUS if value < 0 else ''}{digits}×10{power}"


def scale(unit: str) -> tuple[float, str]:
    """The factor that values of a unit are divided by, and the unit that is shown."""
    return (_MEBIBYTE, "MiB") if unit == "bytes" else (1.0, unit)


def duration(seconds: float) -> str:
    """A time span as people say it: ``"59 s"``, ``"1 min 30 s"``, ``"2.5 h"``."""
    if seconds < 10:
        return f"{seconds:.1f}{NO_BREAK}s"
    if seconds < 60:
        return f"{seconds:.0f}{NO_BREAK}s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}{NO_BREAK}min" + (f" {rest}{NO_BREAK}s" if rest else "")
    return f"{seconds / 3600:,.1f}{NO_BREAK}h"
