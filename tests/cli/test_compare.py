from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import Command

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
ROWS = ("compare", "denseflow", "glow", "--dataset", "digits", "--results", str(REFERENCE))


def test_two_rows_of_the_reference_results_are_compared(
    flowbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = flowbench(*ROWS)
    assert (status, err) == (0, "")
    assert out.startswith("A less B on digits, 60")
    assert max(map(len, out.splitlines())) <= 80
    assert "A better" in out
    assert "adjusted by Holm" in out


def test_json_has_all_digits(flowbench: Command) -> None:
    status, out, _ = flowbench(*ROWS, "--json")
    (found,) = json.loads(out)
    assert status == 0
    assert found["a"]["name"] == "denseflow:digits"
    bpd = found["values"][0]
    assert (bpd["metric"], bpd["verdict"], bpd["seeds"]) == ("bpd", "A", [3, 3])
    assert bpd["value"] == pytest.approx(bpd["mean_a"] - bpd["mean_b"])
    assert bpd["low"] < bpd["value"] < bpd["high"] < 0
