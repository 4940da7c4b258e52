"""Whatever a file or flag holds, what reads it answers with one line, soon and in little memory.

``FLOWBENCH_FUZZ`` is the number of examples of each kind; with 834 the six kinds make 5,000.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowbench.budget import Budget, parse_duration, parse_size
from flowbench.errors import FlowbenchError
from flowbench.registry import Registry
from flowbench.runner.plan import plan
from flowbench.runner.survey import survey
from flowbench.store.queries import list_attempts
from flowbench.store.reconcile import readable
from flowbench.suite.load import build_suite, load_suite, parse_seeds
from flowbench.suite.published import TABLES, VALUES, load_tables, published_folder
from flowbench.suite.settings import parse_settings
from tests.store import attempts as make

MANY = int(os.environ.get("FLOWBENCH_FUZZ", "84"))
FEW = 6
LIMIT_S = 5.0
LIMIT_BYTES = 10**9

HOSTILE = (
    "9" * 5000, "1e999", "-1", "0", "NaN", "Infinity", "-Infinity", "1e-999", "0x1F", "1_000",
    "[" * 5000, "{" * 5000, '{"a":' * 3000, "a." * 3000, "\0", "\x1b[2J", "\x9b31m", "\u202e",
    "=1+1", "../../etc", "/", "", " ", ",", "-", "=", "٣", "𝟗", "\ud800", "\ufeff", "é" * 400,
    "null", "true", "2020-99-99", "[[[]]]", "'''", '"""', "1979-05-27T07:32:00Z", "60s", "5steps",
    "1e6examples", "0-2", "0-99999999999", "9223372036854775807", "9223372036854775808",
)  # fmt: skip

texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), texts, st.integers(10**30, 10**40)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)


def many(examples: int) -> Callable[[Any], Any]:
    """Runs a test on so many examples, the same each time, each within the limit."""
    return settings(
        max_examples=examples,
        deadline=timedelta(seconds=LIMIT_S),
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


in_few_and_many = pytest.mark.parametrize(
    "examples", [FEW, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.long])]
)


@pytest.fixture(autouse=True)
def _in_little_memory() -> Iterator[None]:
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before < LIMIT_BYTES


def answered(ask: Callable[[], object]) -> None:
    """Asks something that works, or is refused in one line."""
    try:
        ask()
    except FlowbenchError as exc:
        line = str(exc)
        assert line
        assert len(line.splitlines()) == 1, line


def changed(data: Any, changes: list[tuple[list[int], Any]]) -> Any:
    """Plain data with values replaced, or taken away, at places that numbers lead to."""
    data = copy.deepcopy(data)
    for path, value in changes:
        place = data
        for number in path:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = keys[number % len(keys)]
            inner = place[key]
            if isinstance(inner, dict | list) and inner and number % 3:
                place = inner
                continue
            if value == "gone" and isinstance(place, dict):
                del place[key]
            else:
                place[key] = value
            break
    return data


changes = st.lists(
    st.tuples(
        st.lists(st.integers(0, 40), min_size=1, max_size=6),
        st.one_of(values, st.just("gone")),
    ),
    min_size=1,
    max_size=4,
)

SUITE = {
    "title": "some", "models": ["fake-gaussian:images", "fake-gan"], "datasets": ["fake-images"],
    "metrics": ["fake_nll"], "budget": "60s,5steps", "seeds": "0-2",
    "set": {"fake-gaussian": {"width": 8, "training": {"lr": 0.1}}},
    "protocol": {"eval_draws": 4, "sample": {"temperature": 0.8}},
    "board": {"columns": [{"header": "x", "dataset": "fake-images", "metric": "bpd"}]},
}  # fmt: skip


def toml(value: Any) -> str:
    """A value as TOML, as far as TOML has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return '"none"' if value is None else json.dumps(value)


@in_few_and_many
def test_suites(examples: int, fake_registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "some.toml"

    @many(examples)
    @given(change=changes, raw=texts)
    def check(change: list[tuple[list[int], Any]], raw: str) -> None:
        data = changed(SUITE, change)
        text = "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in data.items())
        for content in (text, f"{text}\n{raw}", raw, f"seeds = {raw}"):
            path.write_bytes(content.encode("utf-8", "surrogatepass"))
            answered(lambda: plan(load_suite(path), fake_registry, tmp_path))

    check()


@in_few_and_many
def test_budgets_and_sizes(examples: int) -> None:
    parts = st.tuples(texts, st.sampled_from(["", "s", "h", "gpuh", "steps", "epochs", "GB", "x"]))
    given_texts = st.lists(parts.map("".join), max_size=3).map(",".join)

    @many(examples)
    @given(text=given_texts)
    def check(text: str) -> None:
        answered(lambda: str(Budget.parse(text)))
        answered(lambda: parse_duration(text, "--timeout"))
        answered(lambda: parse_size(text, "--max-rss"))

    check()


@in_few_and_many
def test_seeds(examples: int, fake_registry: Registry) -> None:
    @many(examples)
    @given(parts=st.lists(st.one_of(texts, st.integers().map(str)), max_size=4), seeds=values)
    def check(parts: list[str], seeds: Any) -> None:
        for text in (",".join(parts), "-".join(parts)):
            answered(partial(parse_seeds, text))
        answered(lambda: build_suite({"models": ["fake-gaussian"], "seeds": seeds}, "a suite"))

    check()


@in_few_and_many
def test_overrides(examples: int, fake_registry: Registry, tmp_path: Path) -> None:
    keys = st.one_of(
        texts,
        st.sampled_from(
            ["width", "training", "training.lr", "training.phases", "preprocessing.noise"]
        ),
    )
    written = st.one_of(texts, values.map(lambda value: json.dumps(value)))

    @many(examples)
    @given(key=keys, text=written)
    def check(key: str, text: str) -> None:
        def ask() -> None:
            overrides = parse_settings([f"fake-gaussian.{key}={text}"], "--set")
            data = {"models": ["fake-gaussian"], "datasets": ["fake-images"]}
            suite = build_suite({**data, "overrides": overrides}, "flags")
            plan(suite, fake_registry, tmp_path)

        answered(ask)
        answered(lambda: parse_settings([f"{key}={text}"], "--sample"))

    check()


@in_few_and_many
def test_records(examples: int, tmp_path: Path) -> None:
    valid = make.attempt()
    directory = make.write(tmp_path, valid)
    sound = make.write(tmp_path, make.attempt(make.job("glow")))
    whole = valid.model_dump_json().encode()

    @many(examples)
    @given(change=changes, cut=st.integers(0, len(whole)), flip=st.integers(0, len(whole) * 8 - 1))
    def check(change: list[tuple[list[int], Any]], cut: int, flip: int) -> None:
        flipped = bytearray(whole)
        flipped[flip // 8] ^= 1 << flip % 8
        text = json.dumps(changed(json.loads(whole), change))
        contents = (text.encode(), whole[:cut], bytes(flipped), b"[" * cut)
        content = contents[cut % len(contents)]
        (directory / "record.json").write_bytes(content)

        def ask() -> None:
            with readable(tmp_path, report=lambda _: None) as folder:
                listed = {one["job_id"] for one in list_attempts(folder)}
            assert sound.parent.name in listed  # one that is damaged hides no other

        answered(ask)
        answered(lambda: survey(tmp_path))

    check()


@in_few_and_many
def test_published_tables(examples: int, tmp_path: Path) -> None:
    layout = tomllib.loads((published_folder() / TABLES).read_text(encoding="utf-8"))
    layout["table"] = layout["table"][:2]
    kept = {table["id"] for table in layout["table"]}
    header, *lines = (published_folder() / VALUES).read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if any(f",{name}," in line for name in kept)]

    @many(examples)
    @given(change=changes, raw=texts, where=st.integers(0, len(lines)))
    def check(change: list[tuple[list[int], Any]], raw: str, where: int) -> None:
        data = changed(layout, change)
        text = "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in data.items())
        (tmp_path / TABLES).write_bytes(text.encode("utf-8", "surrogatepass"))
        table = "\n".join([header, *lines[:where], raw * (where % 2), *lines[where:]])
        (tmp_path / VALUES).write_bytes(table.encode("utf-8", "surrogatepass"))
        answered(lambda: load_tables(tmp_path))

    check()
