from __future__ import annotations

import pytest

from flowbench.budget import Budget
from flowbench.leaderboard.board import words
from flowbench.leaderboard.build.evidence import hardware
from tests.store import attempts as make


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (None, ""),
        ({"measure": "discrete", "noise": "none", "bound": False}, "exact"),
        (
            {
                "measure": "discrete", "dequantization": "uniform", "noise": "weights",
                "bound": True, "draws": 16, "given": [],
            },
            "uniform bound, 16 draws",
        ),
        (
            {"measure": "continuous", "noise": "estimates", "draws": 4, "given": ["label"]},
            "stochastic estimate, continuous density, 4 draws, given label",
        ),
    ],
)  # fmt: skip
def test_likelihoods_in_words(facts: dict[str, object] | None, said: str) -> None:
    assert words.likelihood(facts).replace("\u00a0", " ") == said


def test_a_bound_points_to_the_worse_side() -> None:
    bound = {"noise": "weights", "bound": True, "tolerance": None}
    assert words.sign(bound, "lower") == "≤"
    assert words.sign(bound, "higher") == "≥"
    assert words.sign(bound | {"noise": "none", "bound": False}, "lower") == "="
    assert words.sign(bound | {"noise": "estimates", "bound": False}, "lower") == "≈"
    solved = {"noise": "none", "bound": False, "tolerance": 1e-5}
    assert words.sign(solved, "lower") == "≈"
    assert words.sign({"device": "cpu"}, "lower") == ""


def test_budgets_in_words() -> None:
    assert words.budget("60s,5000steps").replace("\u00a0", " ") == "60 s or 5,000 steps"
    assert words.budget("1steps,1epochs").replace("\u00a0", " ") == "1 step or 1 epoch"
    every = {"20epochs": "20 epochs", "1e6examples": "1,000,000 examples", "1.5e+20steps": None}
    for text, said in every.items():
        canonical = str(Budget.parse(text))
        assert words.budget(canonical).replace("\u00a0", " ") == said or said is None
    assert words.budget("2gpuh").replace("\u00a0", " ") == "2 GPU-h"


def test_shapes() -> None:
    assert [words.shape(s) for s in ([1, 8, 8], [2], [80, 100], [])] == ["8×8", "2-D", "", ""]


def test_printable_text_obeys_nothing() -> None:
    assert words.printable("a\x1b[31mb\x1b]0;t\x07\u202ec\x00\nd\te") == "ab]0;tc de"


@pytest.mark.parametrize(
    ("name", "kind", "devices", "threads", "said"),
    [
        ("Xeon", "cpu", 1, 1, "Xeon, 1\u00a0thread"),
        ("H100", "cuda", 4, 8, "4 × H100"),
        (None, None, 1, None, None),
    ],
)
def test_hardware(
    name: str | None, kind: str | None, devices: int, threads: int | None, said: str | None
) -> None:
    facts = {"device_name": name, "device_kind": kind, "num_devices": devices}
    ran = make.attempt(make.job("glow")).model_copy(update=facts | {"num_threads": threads})
    assert hardware(ran) == said
