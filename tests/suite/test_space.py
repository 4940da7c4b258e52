from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flowbench.errors import SuiteError
from flowbench.suite.load import build_suite
from flowbench.suite.space import Distribution


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("log(1e-4,1e-2)", "log(0.0001,0.01)"),
        (" uniform( -1 , 2 ) ", "uniform(-1.0,2.0)"),
        ("int(2,8)", "int(2,8)"),
        ("choice(relu,[1,2],1,true,1)", "choice(relu,[1, 2],1,true)"),
        (["a,b", 3, None], 'choice("a,b",3,null)'),
    ],
)
def test_a_distribution_is_written_as_it_is_read(given: Any, text: str) -> None:
    found = Distribution.model_validate(given)
    assert str(found) == text
    assert Distribution.model_validate(text) == found == Distribution(**found.model_dump())


def test_a_value_of_a_choice_is_told_by_how_it_is_written() -> None:
    found = Distribution.model_validate([1, True, [1], "1"])
    assert [found.place_of(value) for value in (1, True, [1], "1")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("lgo(1,2)", r"expected log\(a,b\), .* got 'lgo\(1,2\)'"),
        ("log(1)", "expected log"),
        ("log(1,2,3)", "expected log"),
        ("1e-4", "expected log"),
        ("log(1,x)", "valid number"),
        ("log(2,1)", "the first end must be the lower one"),
        ("uniform(1,1)", "holds no two values"),
        ("log(0,1)", "has no logarithm"),
        ("int(1.5,3)", "no whole number"),
        ("uniform(1,inf)", "finite number"),
        ("choice(1)", "leaves nothing to choose"),
        ([], "leaves nothing to choose"),
        ({"kind": "log"}, "holds no two values"),
    ],
)
def test_what_holds_nothing_to_draw_from_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Distribution.model_validate(given)


def test_a_setting_is_set_or_swept() -> None:
    data = {"models": ["a"], "sweep": {"a.lr": "log(1,2)"}}
    assert build_suite(data, "flags").space_of("a").keys() == {"lr"}
    with pytest.raises(SuiteError, match=r"flags: a\.lr is both set and swept"):
        build_suite({**data, "overrides": {"a.lr": 1}}, "flags")
    with pytest.raises(SuiteError, match=r"flags: sweep\.a\.lr: expected log"):
        build_suite({"models": ["a"], "sweep": {"a.lr": "x"}}, "flags")
