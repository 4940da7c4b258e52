from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowbench.errors import StoreError
from flowbench.store import attempt_files
from flowbench.store.attempt_files import attempt_dirs
from flowbench.store.connection import reading
from flowbench.store.ingest import ingest
from flowbench.store.queries import attempt_contents, list_attempts
from flowbench.store.records import AttemptRow, MeasurementRow
from tests.store import attempts as make

HOSTILE = "</script><img onerror=x>'\"\x1b[31m\u202e\x00\n\\ é 名"


def stored(results: Path) -> list[AttemptRow]:
    ids = [f"{a['job_id']}-{a['attempt']}" for a in list_attempts(results)]
    return [c.record for c in attempt_contents(results, ids)]


def test_everything_of_an_attempt_comes_back_as_it_was(tmp_path: Path) -> None:
    overrides = {"training.lr": None, "π": HOSTILE}
    record = make.attempt(make.job(overrides=overrides, family=HOSTILE), reason=HOSTILE)
    values = make.log_prob(2.0)
    curves = make.curve(2.0)
    directory = make.write(tmp_path, record, curves=curves, artifacts=make.grid(), values=values)
    assert ingest(tmp_path, [directory]) == 1
    (contents,) = attempt_contents(tmp_path, [record.attempt_id])
    assert contents.record == record
    assert contents.curves == curves
    assert contents.artifacts == make.grid()
    assert contents.log_prob is not None
    assert np.array_equal(contents.log_prob, values)


def test_artifacts_come_back_in_order_and_a_grid_of_earlier_versions_too(tmp_path: Path) -> None:
    heard = make.attempt(make.job("glow"))
    seen = make.attempt(make.job("nice"))
    written = [
        make.write(tmp_path, heard, artifacts=make.clips(3)),
        make.write(tmp_path, seen, extra={"samples.png": make.png()}),
    ]
    ingest(tmp_path, written)
    found = attempt_contents(tmp_path, [heard.attempt_id, seen.attempt_id])
    by_id = {contents.record.attempt_id: contents.artifacts for contents in found}
    assert by_id == {heard.attempt_id: make.clips(3), seen.attempt_id: make.grid()}


def test_ingesting_again_replaces(tmp_path: Path) -> None:
    job = make.job()
    for status in ("preempted", "ok"):
        directory = make.write(tmp_path, make.attempt(job, status=status), curves=make.curve(2.0))
        assert ingest(tmp_path, [directory, directory]) == 1
    assert [r.status for r in stored(tmp_path)] == ["ok"]
    with reading(tmp_path) as connection:
        for table, expected in (("jobs", 1), ("measurements", 8), ("curves", 21)):
            count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert count == (expected,)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"attempt_id": "x"}', b"\xff\xfe", b'{"steps": NaN}']
)
def test_a_corrupt_record_is_reported_and_the_others_come_in(
    tmp_path: Path, content: bytes
) -> None:
    good = make.write(tmp_path, make.attempt())
    bad = make.write(tmp_path, make.attempt(make.job("glow")))
    (bad / "record.json").write_bytes(content)
    problems: list[str] = []
    assert ingest(tmp_path, [bad, good], report=problems.append) == 1
    assert len(problems) == 1
    assert str(bad) in problems[0]
    assert "\n" not in problems[0]
    assert ingest(tmp_path, [bad], report=problems.append) == 0


def test_a_file_larger_than_any_record_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make.write(tmp_path, make.attempt()) / "record.json"
    monkeypatch.setattr(attempt_files, "MOST_BYTES", path.stat().st_size)
    attempt_files.read_record(path)
    monkeypatch.setattr(attempt_files, "MOST_BYTES", path.stat().st_size - 1)
    with pytest.raises(StoreError, match="not a record, it has more than"):
        attempt_files.read_record(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("curves.jsonl", b'{"step": 1'),
        ("samples.png", b"<svg/>"),
        ("artifacts/index.json", b'[{"name": "a", "media_type": "audio/wav", "file": "../a"}]'),
        ("artifacts/index.json", b'[{"name": "a", "media_type": "audio/wav", "file": "gone"}]'),
        ("likelihoods.npz", b"not a zip"),
    ],
)
def test_a_damaged_part_does_not_lose_the_record(tmp_path: Path, name: str, content: bytes) -> None:
    directory = make.write(tmp_path, make.attempt(), extra={name: content})
    problems: list[str] = []
    assert ingest(tmp_path, [directory], report=problems.append) == 1
    assert len(problems) == 1
    assert name.split("/")[0] in problems[0]


def test_likelihoods_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    directory = make.write(tmp_path, make.attempt(), values=np.array([-1.0, -np.inf]))
    problems: list[str] = []
    ingest(tmp_path, [directory], report=problems.append)
    assert "finite" in problems[0]
    assert attempt_contents(tmp_path, [make.attempt().attempt_id])[0].log_prob is None


def test_two_presets_may_name_one_job(tmp_path: Path) -> None:
    first = make.attempt(make.job(preset="small"), 1)
    second = make.attempt(make.job(preset="tiny", overrides={"width": 64}, family="Flows"), 2)
    ingest(tmp_path, [make.write(tmp_path, record) for record in (first, second)])
    assert first.job.job_id == second.job.job_id
    assert sorted(stored(tmp_path), key=lambda r: r.number) == [first, second]


def test_only_directories_with_a_record_are_attempts(tmp_path: Path) -> None:
    finished = make.write(tmp_path, make.attempt())
    (tmp_path / "runs" / "running" / "1").mkdir(parents=True)
    assert list(attempt_dirs(tmp_path)) == [finished]


finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
rows = st.builds(
    MeasurementRow,
    metric=texts,
    name=texts,
    value=st.none() | finite,
    unit=texts,
    direction=st.sampled_from(["lower", "higher", "none"]),
    status=st.sampled_from(["ok", "unavailable", "failed"]),
    reason=st.none() | texts,
    split=st.none() | texts,
    n=st.none() | st.integers(0, 2**60),
    stderr=st.none() | finite,
    protocol=st.dictionaries(texts, trees, max_size=3),
)


@pytest.mark.slow
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    measured=st.lists(rows, max_size=4),
    config=st.dictionaries(texts, trees, max_size=3),
    reason=st.none() | texts,
    charged_s=finite,
)
def test_any_record_comes_back_as_it_was(
    tmp_path: Path,
    measured: list[MeasurementRow],
    config: dict[str, Any],
    reason: str | None,
    charged_s: float,
) -> None:
    record = make.attempt(
        make.job(config=config), measurements=measured, reason=reason, charged_s=charged_s
    )
    ingest(tmp_path, [make.write(tmp_path, record)])
    (contents,) = attempt_contents(tmp_path, [record.attempt_id])
    assert contents.record == record
    assert json.loads(contents.record.model_dump_json()) == json.loads(record.model_dump_json())
