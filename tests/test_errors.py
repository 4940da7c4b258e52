from __future__ import annotations

import inspect
from typing import Any, Self

import pytest
from pydantic import BaseModel, ValidationError, model_validator

from flowbench import errors


def test_every_error_is_drawn_in_the_docstring() -> None:
    classes = [
        c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__
    ]
    assert all(issubclass(c, errors.FlowbenchError) for c in classes)
    assert all(c.__name__ in (errors.__doc__ or "") for c in classes)


def test_unknown_name_suggests_the_nearest() -> None:
    message = errors.unknown_name("model", "relanvp", ["glow", "realnvp"], "flowbench plugins")
    assert message == "unknown model 'relanvp'; did you mean 'realnvp'? (flowbench plugins)"


def test_unknown_name_lists_no_more_than_a_line_holds() -> None:
    known = [f"job-{i:02}" for i in range(45)]
    message = errors.unknown_name("job", "zzzzzz", known, "see")
    assert "job-19 and 25 more (see)" in message


def test_unknown_name_lists_all_when_none_is_near() -> None:
    assert "known: glow, nice" in errors.unknown_name("model", "zzzz", ["nice", "glow"], "see")


class Net(BaseModel):
    layers: int = 6
    subsamplings: int = 1

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.layers <= self.subsamplings:
            raise ValueError(f"layers must be more than subsamplings, got {self.layers}")
        return self


class Whole(BaseModel):
    net: Net = Net()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"net": {"layers": 1}}, "net: layers must be more than subsamplings, got 1"),
        (
            {"net": {"layers": {"a": 1}}},
            "net.layers: Input should be a valid integer, got {'a': 1}",
        ),
        (
            {"net": {"subsamplings": [2]}},
            "net.subsamplings: Input should be a valid integer, got [2]",
        ),
        ({"net": 3}, "net: Input should be a valid dictionary or instance of Net, got 3"),
    ],
)
def test_a_problem_shows_what_was_refused_and_never_all_that_a_check_looked_at(
    values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(values)
    assert errors.first_problem(caught.value) == problem


class Unsaid(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (ValueError("no file \udcff.png"), "ValueError: no file \ufffd.png"),
        (ValueError("a\x00b\x1b[31m"), "ValueError: a\ufffdb\ufffd[31m"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (ValueError(), "ValueError"),
        (Unsaid(), "Unsaid: its text cannot be had, __str__ raised RuntimeError"),
        (
            ExceptionGroup("g", [ValueError("a"), Unsaid()]),
            "ExceptionGroup: g (2 sub-exceptions): ValueError: a",
        ),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_any_exception_has_one_printable_line(exc: BaseException, reason: str) -> None:
    assert errors.reason_of(exc) == reason


def test_a_long_text_is_cut() -> None:
    assert len(errors.reason_of(ValueError("x" * 2_000_000))) == len("ValueError: ") + 500


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    reason = errors.reason_of(ValueError(f"no file {'/x' * 1_000_000}; run prepare"), 200)
    assert reason.startswith("ValueError: no file /x/x")
    assert reason.endswith("/x; run prepare")
    assert errors.abridged("a" * 200, 200) == "a" * 200
