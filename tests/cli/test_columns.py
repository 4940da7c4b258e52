"""What people read: whole in a pipe, on a terminal within its width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flowbench.cli.columns import print_columns, print_facts, visible, wrapped
from flowbench.cli.progress import say

ROWS = [
    {"name": "glow", "steps": 1234, "ok": True, "note": None, "summary": "one two three " * 4},
    {"name": "realnvp", "steps": 5, "ok": False, "note": "x", "summary": "--data-dir /a-b/c-d"},
]


def printed(capsys: pytest.CaptureFixture[str], width: int | None) -> list[str]:
    print_columns(ROWS, ROWS[0], width)
    return capsys.readouterr().out.splitlines()


def test_a_pipe_gets_every_value_whole(capsys: pytest.CaptureFixture[str]) -> None:
    summary = ("one two three " * 4).rstrip()
    assert printed(capsys, None) == [
        "name     steps  ok   note  summary",
        f"glow     1,234  yes        {summary}",
        "realnvp      5  no   x     --data-dir /a-b/c-d",
    ]


def test_the_last_column_is_wrapped_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, 60) == [
        "name     steps  ok   note  summary",
        "glow     1,234  yes        one two three one two three one",
        "                           two three one two three",
        "realnvp      5  no   x     --data-dir /a-b/c-d",
    ]


def test_columns_before_the_last_are_left_out_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert printed(capsys, 46) == [
        "name     steps  summary",
        "glow     1,234  one two three one two three",
        "                one two three one two three",
        "realnvp      5  --data-dir /a-b/c-d",
        "(not shown in this width: ok, note)",
    ]
    # The name stays before all others.
    assert printed(capsys, 30) == [
        "name     steps  ok   note",
        "glow     1,234  yes",
        "realnvp      5  no   x",
        "(not shown in this width:",
        "summary)",
    ]
    assert printed(capsys, 10)[:3] == ["name", "glow", "realnvp"]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(capsys: pytest.CaptureFixture[str], width: int) -> None:
    assert max(map(len, printed(capsys, width))) <= width


def test_a_last_column_of_numbers_stands_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns([{"a": "x", "n": 5}, {"a": "y", "n": 12345}], ("a", "n"), 80)
    assert capsys.readouterr().out.splitlines() == ["a       n", "x       5", "y  12,345"]


def test_without_rows_the_header_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns([], ("name", "summary"), 80)
    assert capsys.readouterr().out == "name  summary\n"


def test_facts_are_nested_and_shown_as_they_are_set(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {
        "num_train": 1437,
        "event_shape": [1, 8, 8],
        "config": {"learn_top": True, "clip": None, "betas": [0.9, 0.999], "groups": {}},
        "bijections": [{"kind": "scale", "closed": False}, {"kind": "logit", "alpha": 0.05}],
        "notes": "first line\nsecond line is a little longer than that",
    }
    print_facts(facts, 40)
    assert capsys.readouterr().out.splitlines() == [
        "num_train    1,437",
        "event_shape  1x8x8",
        "config",
        "  learn_top  true",
        "  clip       none",
        "  betas      0.9, 0.999",
        "  groups     none",
        "bijections   kind=scale closed=false",
        "             kind=logit alpha=0.05",
        "notes        first line",
        "             second line is a little",
        "             longer than that",
    ]


def test_nothing_that_is_copied_is_broken() -> None:
    command = "flowbench data prepare x --data-dir /a/very-long/path-of-a/folder"
    assert wrapped(command, 24) == [
        "flowbench data prepare x",
        "--data-dir",
        "/a/very-long/path-of-a/folder",
    ]
    assert wrapped("", 24) == [""]


@pytest.mark.parametrize(
    "foreign", ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "a\rb", "\x7f", "\u202egnp.exe", "\b\b"]
)
def test_a_terminal_gets_no_control_characters(
    capsys: pytest.CaptureFixture[str], foreign: str
) -> None:
    assert visible(f"kept\tand\n{foreign}").startswith("kept\tand\n")
    print_columns([{"name": foreign, "why": foreign}], ["name", "why"], 80)
    print_facts({"summary": foreign, "nested": {"x": [foreign]}}, 80)
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    say(console, foreign)
    assert isinstance(console.file, io.StringIO)
    printed = capsys.readouterr().out + console.file.getvalue()
    assert printed.replace("\n", "").replace("\N{REPLACEMENT CHARACTER}", "").isprintable()
