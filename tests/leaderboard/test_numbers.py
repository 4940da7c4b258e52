from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbench.leaderboard.board import numbers


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (3.405, 2, "3.40"),
        (-1234.5, 1, "−1,234.5"),
        (0.004, 2, "<0.01"),
        (-0.001, 2, "0.00"),
        (0.0, 0, "0"),
        (44_235_312.0, 0, "44,235,312"),
        (3.1e-5, numbers.SCIENTIFIC, "3.1×10⁻⁵"),
    ],
)
def test_numbers(value: float, decimals: int, text: str) -> None:
    assert numbers.number(value, decimals) == text


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.061, 2, "+0.06"),
        (-1234.5, 1, "−1,234.5"),
        (-0.001, 2, "0.00"),
        (3.1e-7, numbers.SCIENTIFIC, "+3.1×10⁻⁷"),
        (-3.1e-7, numbers.SCIENTIFIC, "−3.1×10⁻⁷"),
        (0.0, numbers.SCIENTIFIC, "0"),
    ],
)
def test_differences(value: float, decimals: int, text: str) -> None:
    assert numbers.signed(value, decimals) == text


@pytest.mark.parametrize(
    ("half", "decimals", "text"),
    [(0.0123, 2, "±.01"), (0.0004, 2, "±<.01"), (1.25, 1, "±1.2"), (2362.0, 0, "±2,362")],
)
def test_intervals(half: float, decimals: int, text: str) -> None:
    assert numbers.interval(half, decimals) == text


@pytest.mark.parametrize(
    ("values", "unit", "decimals"),
    [
        ([2.0, 1.9], "bits/dim", 3),
        ([1200.0, 3.0], "", 0),
        ([5.31, 0.8], "ms", 2),
        ([0.0167], "h", 4),
        ([3e-5], "", numbers.SCIENTIFIC),
        ([], "ms", 0),
        ([0.0], "share", 0),
    ],
)
def test_decimals_suit_the_typical_value(values: list[float], unit: str, decimals: int) -> None:
    assert numbers.decimals_for(values, unit) == decimals


@given(st.floats(-1e9, 1e9), st.integers(0, 4))
def test_a_number_reads_back_to_what_it_rounds_to(value: float, decimals: int) -> None:
    text = numbers.number(value, decimals)
    if text.startswith("<"):
        assert 0 < value < 10.0**-decimals
    else:
        back = float(text.replace(",", "").replace("−", "-"))
        assert back == pytest.approx(value, abs=0.5001 * 10.0**-decimals)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.04, "2.0 s"), (59.2, "59 s"), (90, "1 min 30 s"), (120, "2 min"), (9000, "2.5 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert numbers.duration(seconds).replace("\u00a0", " ") == text
