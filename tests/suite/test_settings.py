from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbench.errors import SuiteError
from flowbench.suite.settings import parse_grid, parse_settings, setting_text


def test_settings_are_json_where_they_can_be() -> None:
    assert parse_settings([f"a={'1' * 5000}"], "--set") == {"a": "1" * 5000}
    given = ["a=1", "b=0.5", "c=true", "d=text", "e=[1,2]", "f=a=b"]
    expected = {"a": 1, "b": 0.5, "c": True, "d": "text", "e": [1, 2], "f": "a=b"}
    assert parse_settings(given, "--set") == expected


@pytest.mark.parametrize("parse", [parse_settings, parse_grid])
def test_malformed_settings(parse: Any) -> None:
    with pytest.raises(SuiteError, match="malformed --set 'width'; expected key=value"):
        parse(["width"], "--set")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("32,64", [32, 64]),
        ("1e-3, 2e-3", [0.001, 0.002]),
        ("relu,gelu", ["relu", "gelu"]),
        ("1,true", [1, True]),
        ("8,8,16", [8, 16]),
        ("[1,2]", [[1, 2]]),
        ("[1,2],[3,4]", [[1, 2], [3, 4]]),
        ('{"a":1,"b":[2,3]},null', [{"a": 1, "b": [2, 3]}, None]),
        ('"a,b"', ["a,b"]),
        ('"a,b",c', ["a,b", "c"]),
        ('"a\\",b",c', ['a",b', "c"]),
        ("f(1,2)", ["f(1,2)"]),
        ("[1,2", ["[1,2"]),
        ("1,2]", ["1,2]"]),
        (" a ", [" a "]),
        ("", [""]),
    ],
)
def test_commas_part_values_but_within_brackets_and_quotes(text: str, values: list[Any]) -> None:
    found = parse_grid([f"a.b={text}"], "--set")["a.b"]
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


@pytest.mark.parametrize("text", ["32,", ",32", "1,,2", ","])
def test_nothing_beside_a_comma_is_refused(text: str) -> None:
    with pytest.raises(SuiteError, match="expected a value on either side of each comma"):
        parse_grid([f"a.b={text}"], "--set")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_a_board_writes_is_read_as_one_value(value: Any) -> None:
    assert parse_grid([f"a.b={setting_text(value)}"], "--set") == {"a.b": [value]}
