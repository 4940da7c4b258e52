"""What a sweep draws a setting from: ``log(1e-4,1e-2)``, ``choice(32,64)``."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import model_validator

from flowbench.api.frozen import Frozen
from flowbench.suite.settings import each_once, parse_value, setting_text, split_at_commas

_FORM = re.compile(r"\s*(log|uniform|int|choice)\((.*)\)\s*", re.DOTALL)
_EXPECTED = "expected log(a,b), uniform(a,b), int(a,b) or choice(a,b,...)"


class Distribution(Frozen):
    """What a setting is drawn from.

    Attributes:
        kind: ``log`` and ``uniform`` draw real numbers, evenly on that scale, ``int`` whole ones
            with both ends, ``choice`` one of several values.
        low: The least; None of a choice.
        high: The most.
        choices: The values of a choice.

    Example:
        >>> str(Distribution.model_validate("log(1e-4, 1e-2)"))
        'log(0.0001,0.01)'
    """

    kind: Literal["log", "uniform", "int", "choice"]
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _parsed(cls, given: Any) -> Any:
        """Takes text as people write it; a list is a choice.

        Raises:
            ValueError: The text is of no such form.
        """
        if isinstance(given, list | tuple):
            return {"kind": "choice", "choices": each_once(given)}
        if not isinstance(given, str):
            return given
        if (form := _FORM.fullmatch(given)) is None:
            raise ValueError(f"{_EXPECTED}, got {given!r}")
        kind, values = form[1], [parse_value(part) for part in split_at_commas(form[2])]
        if kind == "choice":
            return {"kind": kind, "choices": each_once(values)}
        if len(values) != 2:
            raise ValueError(f"{_EXPECTED}, got {given!r}")
        return {"kind": kind, "low": values[0], "high": values[1]}

    @model_validator(mode="after")
    def _holds_several(self) -> Self:
        if self.kind == "choice":
            if len(self.choices) < 2:
                raise ValueError(f"{self} leaves nothing to choose; name at least two values")
            return self
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"{self} holds no two values; the first end must be the lower one")
        if self.kind == "log" and self.low <= 0:
            raise ValueError(f"{self} has an end that has no logarithm; both must be above 0")
        if self.kind == "int" and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"{self} has an end that is no whole number")
        return self

    def place_of(self, value: Any) -> int:
        """Which of a choice's values one is."""
        # By what is written: 1 equals True.
        return [*map(setting_text, self.choices)].index(setting_text(value))

    def __str__(self) -> str:
        """As ``--sweep`` takes it."""
        ends = (
            None if end is None else int(end) if self.kind == "int" and end == int(end) else end
            for end in (self.low, self.high)
        )
        values = self.choices if self.kind == "choice" else tuple(ends)
        return f"{self.kind}({','.join(map(setting_text, values))})"
