"""The border for what a metric returns: plain, printable and finite, or failed with the reason."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

from flowbench.api.protocol import MAX_SEED
from flowbench.api.specs import Direction, MetricSpec, MetricValue, SplitName
from flowbench.errors import ContractError, printable

STATUSES = ("ok", "unavailable", "failed")
MAX_TEXT = 200  # characters of a name or a unit
MAX_BITS = 1000  # of an integer that a float holds
MAX_PROTOCOL = 20_000  # characters of JSON


def failed_value(spec: MetricSpec, reason: str) -> MetricValue:
    """The value of a metric that went wrong."""
    return replace(MetricValue.unavailable(spec, printable(reason)), status="failed")


def checked_values(spec: MetricSpec, returned: object) -> list[MetricValue]:
    """Takes what a metric returned; a value that cannot be kept becomes a failed one.

    Args:
        returned: Whatever ``compute`` returned.

    Returns:
        Values that a record holds and a board shows, each of another name.

    Raises:
        ContractError: It is no list of values at all.
    """
    if not isinstance(returned, list | tuple) or not returned:
        raise ContractError(
            f"{spec.compute} returned {_short(returned)}; return a list of one MetricValue or more"
        )
    taken: dict[str, MetricValue] = {}
    for given in returned:
        value = _checked(spec, given)
        # Of two values of one name a record could hold one, and nobody would know which.
        if value.name in taken:
            value = failed_value(spec, f"it returned two values of the name {value.name!r}")
        taken[value.name] = value
    return list(taken.values())


def _checked(spec: MetricSpec, given: object) -> MetricValue:
    if not isinstance(given, MetricValue):
        return failed_value(spec, f"it returned {_short(given)} in place of a MetricValue")
    # As much of its name as can be kept, so that a failure stands where its value would have.
    named = given.name if _is_text(given.name) and given.name.startswith(spec.name) else spec.name
    problem = next(_problems(spec, given), None)
    if problem is not None:
        return replace(failed_value(spec, problem), name=named)
    reason = None if given.reason is None else printable(given.reason)
    plain = replace(
        given,
        value=None if given.value is None else float(given.value),
        stderr=None if given.stderr is None else float(given.stderr),
        num_examples=None if given.num_examples is None else int(given.num_examples),
        reason=reason,
        protocol=json.loads(json.dumps(dict(given.protocol), default=dict)),
    )
    return _finite(plain)


def _problems(spec: MetricSpec, given: MetricValue) -> Iterator[str]:
    """What is wrong with a value, in words that say what to give instead."""
    if not _is_text(given.name):
        yield f"its name is {_short(given.name)}; give a printable text"
    elif not given.name.startswith(spec.name):
        yield f"it returned a value {given.name!r}; a name begins with {spec.name!r}"
    if given.unit != "" and not _is_text(given.unit):
        yield f"its unit is {_short(given.unit)}; give a printable text"
    for name, known in (("direction", get_args(Direction)), ("status", STATUSES)):
        if getattr(given, name) not in known:
            yield f"its {name} is {_short(getattr(given, name))}; expected {', '.join(known)}"
    if given.split is not None and given.split not in get_args(SplitName):
        yield f"its split is {_short(given.split)}; expected {', '.join(get_args(SplitName))}"
    if given.reason is not None and not isinstance(given.reason, str):
        yield f"its reason is {_short(given.reason)}; give a text"
    for name in ("value", "stderr"):
        number = getattr(given, name)
        if number is not None and not _is_number(number, numbers.Real):
            yield f"its {name} is {_short(number)}; give a float"
    n = given.num_examples
    if n is not None and not (_is_number(n, numbers.Integral) and 0 <= n <= MAX_SEED):
        yield f"its num_examples is {_short(n)}; give an integer from 0 to 2^63-1"
    yield from _protocol_problems(given)
    if given.status == "ok" and given.value is None:
        yield "its status is 'ok' without a value; give a status and a reason"
    if given.status != "ok" and given.value is not None:
        yield f"its status is {given.status!r} with the value {_short(given.value)}; give None"


def _protocol_problems(given: MetricValue) -> Iterator[str]:
    if not isinstance(given.protocol, Mapping):
        yield f"its protocol is {_short(given.protocol)}; give a mapping"
        return
    problem = next(_not_plain(given.protocol, "protocol"), None)
    if problem is not None:
        yield problem
    elif len(json.dumps(dict(given.protocol), default=dict)) > MAX_PROTOCOL:
        yield f"its protocol is longer than {MAX_PROTOCOL:,} characters; name what it holds"


def _not_plain(value: object, where: str, depth: int = 0) -> Iterator[str]:
    """What JSON would not give back as it was."""
    kind = type(value)
    # Deep enough for any protocol; without an end a list that holds itself would have none.
    if depth > 8:
        yield f"its {where} is nested more than 8 deep"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not _is_text(key):
                yield f"a key of its {where} is {_short(key)}; give printable text"
            else:
                yield from _not_plain(inner, f"{where}[{key!r}]", depth + 1)
    elif kind in (list, tuple):
        for place, inner in enumerate(value):  # type: ignore[arg-type]
            yield from _not_plain(inner, f"{where}[{place}]", depth + 1)
    elif kind is str:
        if value and not _is_text(value, MAX_PROTOCOL):
            yield f"its {where} is {_short(value)}; give printable text"
    elif kind is float:
        if not math.isfinite(value):  # type: ignore[arg-type]
            yield f"its {where} is {value}; give a finite number or None"
    elif kind is int:
        if abs(value) > MAX_SEED:  # type: ignore[arg-type]
            yield f"its {where} is {_short(value)}; give an integer within 2^63-1"
    elif value is not None and kind is not bool:
        yield (
            f"its {where} is {_short(value)} of type {_type(value)}; give text, bool, int, float, "
            "None, or lists and mappings of these (int(k), x.tolist())"
        )


def _finite(given: MetricValue) -> MetricValue:
    """NaN and infinity are never stored: the value is None and the status says why."""
    if given.value is None:
        return given
    if not math.isfinite(given.value):
        reason = f"the value is {given.value}"
        return replace(given, value=None, stderr=None, status="failed", reason=reason)
    bad_error = given.stderr is not None and not math.isfinite(given.stderr)
    return replace(given, stderr=None) if bad_error else given


def _is_text(value: object, limit: int = MAX_TEXT) -> bool:
    return type(value) is str and 0 < len(value) <= limit and value.isprintable()


def _is_number(value: Any, kind: type) -> bool:
    """Whether it is a number, NumPy's among them; no bool and no array or tensor of one."""
    is_huge = isinstance(value, int) and value.bit_length() > MAX_BITS
    return isinstance(value, kind) and not isinstance(value, bool) and not is_huge


def _type(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _short(value: object) -> str:
    try:
        return printable(repr(value), 80)
    except Exception:  # a plugin's object, and so is its __repr__
        return f"an object of {_type(value)}"
