from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowbench.errors import SuiteError, UnknownNameError
from flowbench.suite.find import find_suite
from flowbench.suite.load import asked_suite, build_suite, load_suite, parse_seeds


def test_shipped_suites_load() -> None:
    suite = load_suite(find_suite("digits"))
    assert suite.name == "digits"
    assert suite.seeds == (0, 1, 2)


def test_overrides_are_flattened(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('models = ["glow"]\n[set.glow]\nwidth = 64\ntraining.lr = 0.1\n')
    suite = load_suite(path)
    assert suite.overrides == {"glow.width": 64, "glow.training.lr": 0.1}
    assert suite.name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = [", "not valid TOML"),
        ('models = ["a"]\nbuget = "1s"', "unknown key 'buget'; did you mean 'budget'?"),
        ('models = ["a"]\nsets = 1', "unknown key 'sets'; did you mean 'set'?"),
        ('models = ["a"]\nseeds = "a-b"', "malformed seeds"),
        ("[board]\ncolums = []", "unknown key 'board.colums'; did you mean 'columns'?"),
        ("[protocol]\ndraws = 1", "unknown key 'protocol.draws'; did you mean 'eval_draws'?"),
        ("[protocols.x]\ndraws = 1", "unknown key 'protocols.x.draws'; did you mean"),
        (
            '[[board.columns]]\nheader = "a"\ndataset = "b"\nmetric = "c"\ndigits = 1',
            "unknown key 'board.columns.0.digits'; known: ",
        ),
        ("models = []", "at least one"),
        ('models = ["a"]\n[protocol]\neval_draws = 0', "protocol.eval_draws: .* got 0"),
        ('models = ["a"]\n[protocol]\nseed = -1', "protocol.seed: .* got -1"),
        ('models = ["a"]\n[protocol]\nseed = 9223372036854775808', "protocol.seed: "),
        ('models = ["a"]\nseeds = [-3]', r"seeds\.0: .* got -3"),
        ('models = ["a"]\nseeds = [0.5]', r"seeds\.0: .* got 0.5"),
        ('models = ["a"]\nseeds = 3', "seeds: .* got 3"),
        ('models = ["a"]\nset = 3', "set: expected a table of models, got 3"),
        ('models = ["a"]\nset = [{glow = 1}]', "set: expected a table of models"),
        ("models = 3", "models: .* got 3"),
        ('models = ["a"]\nboard = 3', "board: .* got 3"),
        ('models = ["a"]\n[board]\nrows = 3', r"board\.rows: .* got 3"),
        ('[board]\npublished = "x"\nrows = 3', r"board\.rows: .* got 3"),
        ('[board]\npublished = "x"\nrows = ["y"]', r"board\.rows: "),
        ('models = ["a"]\n[protocol.sample]\ntemperature = inf', "temperature: .* got inf"),
        ('models = ["a"]\n[board.values.bpd]\nname = "bpd"\nper = nan', "per: .* got nan"),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(SuiteError, match=rf"bad\.toml.*{message}"):
        load_suite(path)


def test_unknown_suites() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        find_suite("digit")
    with pytest.raises(SuiteError, match="does not exist"):
        find_suite("no.toml")


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), ("0-2", (0, 1, 2)), ("7,0-1,0", (7, 0, 1))]
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0-99999999999", "more than 1000 seeds in '0-99999999999'"),
        ("0-999,1000", "more than 1000 seeds"),
        ("9223372036854775808", r"too large; expected 0 to 2\^63 - 1"),
        ("0,18446744073709551616", "too large"),
        ("9" * 5000, "too large"),
    ],
)
def test_seeds_are_bounded_before_any_is_made(text: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message) as refused:
        parse_seeds(text)
    assert len(str(refused.value)) < 200
    assert parse_seeds("0-999") == tuple(range(1000))
    assert parse_seeds("9223372036854775807") == (2**63 - 1,)


def test_a_suite_file_has_no_more_seeds_than_the_flag() -> None:
    with pytest.raises(SuiteError, match=r"seeds: .* at most 1000") as refused:
        build_suite({"models": ["a"], "seeds": list(range(1001))}, "the suite")
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("text", ["", "a", "2-1", "1,,2", "-1"])
def test_malformed_seeds(text: str) -> None:
    with pytest.raises(SuiteError, match="malformed seeds"):
        parse_seeds(text)


def test_a_grid_is_in_place_of_single_values_and_they_of_it(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        "models = ['a']\n[set]\na.b = 1\na.c = 2\n[grid]\na.d = [3, 4]\na.e.f = [[5]]\n"
    )
    none: dict[str, Any] = {"changes": {}, "protocol": {}, "source": "here"}
    suite = asked_suite(str(path), overrides={"a.b": [6, 7], "a.d": [8]}, **none)
    assert suite.grid == {"a.b": (6, 7), "a.e.f": ([5],)}
    rest = {"c": 2, "d": 8, "e.f": [5]}
    assert suite.settings_of("a") == [{"b": 6, **rest}, {"b": 7, **rest}]
    # In the order in which they are given: what one sets another may go into.
    assert [list(one) for one in suite.settings_of("a")] == [["b", "c", "d", "e.f"]] * 2
