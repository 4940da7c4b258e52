from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbench.budget import Budget, Spent, duration_text, parse_duration, parse_size, size_text
from flowbench.errors import SuiteError


def spent(**changes: float) -> Spent:
    base: dict[str, Any] = dict(charged_s=0.0, num_devices=1, steps=0, examples=0, epochs=0.0)
    return Spent(**{**base, **changes})


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("60s", "60s"),
        ("1min", "60s"),
        ("1.5h", "5400s"),
        ("2gpuh", "2gpuh"),
        ("5000steps", "5000steps"),
        ("1e6examples", "1000000examples"),
        ("20 epochs", "20epochs"),
        ("5000steps,60S", "60s,5000steps"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(Budget.parse(text)) == canonical


@pytest.mark.parametrize(
    "text", ["", "60", "s", "-1s", "0s", "5x", "60s,", "60s,2min", "nan s", "1e400s", "1e306h"]
)
def test_malformed(text: str) -> None:
    with pytest.raises(SuiteError, match=r"malformed budget .*expected e\.g\."):
        Budget.parse(text)


def test_the_first_limit_reached_ends_training() -> None:
    budget = Budget.parse("100s,10steps")
    assert budget.progress(spent(charged_s=50, steps=2)) == 0.5
    assert budget.progress(spent(charged_s=50, steps=10)) == 1.0


def test_gpu_hours_count_devices() -> None:
    budget = Budget.parse("2gpuh")
    assert budget.progress(spent(charged_s=1800, num_devices=4)) == 1.0
    assert budget.time_limit_s(4) == 1800


def test_time_like() -> None:
    assert Budget.parse("1s,5steps").time_like
    assert not Budget.parse("5steps").time_like
    assert Budget.parse("5steps").time_limit_s(1) is None


@given(st.integers(1, 10**6), st.sampled_from(["s", "gpuh", "steps", "examples", "epochs"]))
def test_parse_inverts_str(amount: int, unit: str) -> None:
    budget = Budget.parse(f"{amount}{unit}")
    assert Budget.parse(str(budget)) == budget


def test_durations() -> None:
    assert parse_duration("90s", "--timeout") == 90
    with pytest.raises(SuiteError, match="malformed --timeout"):
        parse_duration(f"{'9' * 400}h", "--timeout")
    with pytest.raises(SuiteError, match="malformed --timeout"):
        parse_duration("soon", "--timeout")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.25 s"),
        (25.4, "25 s"),
        (119.0, "119 s"),
        (120.0, "2.0 min"),
        (599.0, "10.0 min"),
        (700.0, "12 min"),
        (15840.0, "4.4 h"),
        (7.2e6, "2,000 h"),
    ],
)
def test_durations_are_estimates(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("800MB", 8e8), ("8g", 8e9), ("7.5GiB", 7.5 * 2**30), ("1 TB", 1e12), ("512", 512.0)],
)
def test_sizes(text: str, size: float) -> None:
    assert parse_size(text, "--max-rss") == size


@pytest.mark.parametrize("text", ["", "0", "-1GB", "8 apples", "1e9", "inf", "9" * 5000, "0.1"])
def test_malformed_sizes(text: str) -> None:
    with pytest.raises(SuiteError, match=r"malformed --max-rss .*expected e\.g\. 800MB"):
        parse_size(text, "--max-rss")


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12 bytes"), (412e6, "412 MB"), (7.5e9, "7.5 GB"), (9e15, "9e+03 TB")]
)
def test_sizes_in_words(size: float, text: str) -> None:
    assert size_text(size) == text
