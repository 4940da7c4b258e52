"""How much training a job may have."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

from flowbench.errors import SuiteError, shortened

SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
COUNTS = {"steps": "steps", "step": "steps", "examples": "examples", "epochs": "epochs"}
COUNTS["epoch"] = "epochs"
EXPECTED = "expected e.g. 60s, 10min, 2h, 2gpuh, 5000steps, 1e6examples, 20epochs or 60s,5000steps"


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What training has used so far.

    Attributes:
        charged_s: Seconds charged by the clock.
        num_devices: Devices that were held for them.
        epochs: Passes over the train split.
    """

    charged_s: float
    num_devices: int
    steps: int
    examples: int
    epochs: float


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits on training; the first that is reached ends it.

    Attributes:
        gpu_hours: Devices times charged hours; an error on a CPU.
        epochs: Passes over the train split.
    """

    seconds: float | None = None
    gpu_hours: float | None = None
    steps: float | None = None
    examples: float | None = None
    epochs: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Parses ``60s``, ``2gpuh``, ``5000steps`` or several joined by commas.

        Raises:
            SuiteError: The text is malformed, or names one limit twice.
        """
        limits: dict[str, float] = {}
        for part in text.lower().split(","):
            name, amount = _parse_limit(part.strip(), text)
            if name in limits:
                raise SuiteError(f"malformed budget {text!r}: two limits on {name}; {EXPECTED}")
            limits[name] = amount
        return cls(**limits)

    def progress(self, spent: Spent) -> float:
        """Part of the budget that is used.

        Args:
            spent: What training has used.

        Returns:
            The largest used part of any limit; 1 or more means that training is over.
        """
        used = {
            "seconds": spent.charged_s,
            "gpu_hours": spent.charged_s * spent.num_devices / 3600.0,
            "steps": spent.steps,
            "examples": spent.examples,
            "epochs": spent.epochs,
        }
        # The largest: whichever limit comes first ends the training.
        return max(used[name] / limit for name, limit in self._limits().items())

    @property
    def time_like(self) -> bool:
        """Whether how much training it allows depends on the machine."""
        return self.seconds is not None or self.gpu_hours is not None

    def time_limit_s(self, num_devices: int) -> float | None:
        """Charged seconds after which training is over.

        Args:
            num_devices: Devices of the job.

        Returns:
            The smaller of both time limits; None without one.
        """
        limits = []
        if self.seconds is not None:
            limits.append(self.seconds)
        if self.gpu_hours is not None:
            limits.append(self.gpu_hours * 3600.0 / num_devices)
        return min(limits, default=None)

    def _limits(self) -> dict[str, float]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        """The canonical text, equal for equal budgets."""
        units = {"seconds": "s", "gpu_hours": "gpuh"}
        # Twelve digits: enough for any budget, and 0.1 + 0.2 is still 0.3.
        return ",".join(f"{v:.12g}{units.get(n, n)}" for n, v in self._limits().items())


def _parse_limit(part: str, text: str) -> tuple[str, float]:
    match = re.fullmatch(r"(\d+(?:\.\d*)?(?:e\+?\d+)?)\s*([a-z]+)", part)
    error = SuiteError(f"malformed budget {text!r}; {EXPECTED}")
    # In the largest unit, so that no later product overflows.
    if match is None or not 0 < float(match[1]) * SECONDS["d"] < math.inf:
        raise error
    amount, unit = float(match[1]), match[2]
    if unit in SECONDS:
        return "seconds", amount * SECONDS[unit]
    if unit == "gpuh":
        return "gpu_hours", amount
    if unit in COUNTS:
        return COUNTS[unit], amount
    raise error


def parse_duration(text: str, flag: str) -> float:
    """Parses a duration such as ``90s`` or ``2h``.

    Args:
        flag: Name of the flag, for the error.

    Raises:
        SuiteError: The text is malformed.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([a-z]+)", text.strip().lower())
    if match is None or match[2] not in SECONDS or float(match[1]) * SECONDS["d"] == math.inf:
        raise SuiteError(f"malformed {flag} {text!r}; expected e.g. 90s, 30min or 2h")
    return float(match[1]) * SECONDS[match[2]]


def duration_text(seconds: float) -> str:
    """An estimate of a time span, such as ``25 s``, ``5 min`` or ``4.4 h``."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            amount = seconds / size
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:,.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def parse_size(text: str, flag: str) -> int:
    """Parses bytes such as ``800MB``, ``8G`` or ``7.5GiB``.

    Args:
        flag: Name of the flag, for the error.

    Raises:
        SuiteError: The text is malformed, or nothing.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{0,9})?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    size = 0.0
    if match is not None:
        size = float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index(match[2] or " ")
    if size < 1:
        raise SuiteError(f"malformed {flag} {shortened(text)}; expected e.g. 800MB, 8GB or 7.5GiB")
    return int(size)


def size_text(size: float) -> str:
    """Bytes such as ``412 MB`` or ``7.5 GB``."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:.3g} {units[0]}"
