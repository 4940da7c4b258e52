from __future__ import annotations

from pathlib import Path

import pytest

from flowbench.errors import SuiteError, UnknownNameError
from flowbench.suite.find import find_suite
from flowbench.suite.load import load_suite, parse_seeds, parse_settings


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
        ('models = ["a"]\nbuget = "1s"', "unknown key 'buget'"),
        ("models = []", "at least one"),
        ('models = ["a"]\n[protocol]\neval_draws = 0', "protocol.eval_draws: .* got 0"),
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


@pytest.mark.parametrize("text", ["", "a", "2-1", "1,,2", "-1"])
def test_malformed_seeds(text: str) -> None:
    with pytest.raises(SuiteError, match="malformed seeds"):
        parse_seeds(text)


def test_settings_are_json_where_they_can_be() -> None:
    given = ["a=1", "b=0.5", "c=true", "d=text", "e=[1,2]", "f=a=b"]
    expected = {"a": 1, "b": 0.5, "c": True, "d": "text", "e": [1, 2], "f": "a=b"}
    assert parse_settings(given, "--set") == expected


def test_malformed_settings() -> None:
    with pytest.raises(SuiteError, match="malformed --set 'width'; expected key=value"):
        parse_settings(["width"], "--set")
