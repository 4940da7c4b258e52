from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flowbench.errors import StoreError
from flowbench.store.attempt_files import AttemptContents
from flowbench.store.connection import database_path, writing
from flowbench.store.ingest import ingest
from flowbench.store.kept import keep
from flowbench.store.queries import attempt_contents, list_attempts, query
from flowbench.store.rebuild import rebuild
from flowbench.store.records import AttemptRow, CurvePoint, JobRow, MeasurementRow
from flowbench.store.verify import verify
from tests.store import attempts as make


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for model in ("realnvp", "glow"):
        make.write(
            tmp_path,
            make.attempt(make.job(model)),
            curves=make.curve(2.0),
            artifacts=make.grid(),
            values=make.log_prob(2.0),
        )
    return tmp_path


def test_rebuild_makes_a_database_that_verifies(results: Path) -> None:
    assert rebuild(results).attempts == 2
    verified = verify(results)
    assert (verified.attempts, verified.differences, verified.only_stored) == (2, (), ())
    assert not list(results.glob(".rebuild-*"))


def test_rebuild_keeps_what_only_the_database_has(results: Path) -> None:
    rebuild(results)
    lost = make.attempt(make.job("glow"))
    shutil.rmtree(results / "runs" / lost.job.job_id)
    before = attempt_contents(results, [lost.attempt_id])[0]
    rebuilt = rebuild(results)
    assert (rebuilt.attempts, rebuilt.carried_over) == (1, 1)
    after = attempt_contents(results, [lost.attempt_id])[0]
    assert (after.record, after.curves) == (before.record, before.curves)
    assert after.artifacts == before.artifacts
    assert verify(results).only_stored == (lost.attempt_id,)


@pytest.mark.slow
def test_rebuild_prefers_what_the_database_has_to_what_is_kept_of_it(results: Path) -> None:
    rebuild(results)
    lost = make.attempt(make.job("glow"))
    shutil.rmtree(results / "runs" / lost.job.job_id)
    (before,) = attempt_contents(results, [lost.attempt_id])
    rest = AttemptContents(record=make.attempt(make.job("nice")))
    keep(results, "some", [replace(before, artifacts=(), log_prob=None), rest])
    rebuilt = rebuild(results)
    assert (rebuilt.attempts, rebuilt.carried_over) == (2, 1)
    (after,) = attempt_contents(results, [lost.attempt_id])
    assert after.artifacts == before.artifacts
    assert after.log_prob is not None
    assert len(attempt_contents(results, [rest.record.attempt_id])) == 1
    assert verify(results).differences == ()


@pytest.mark.slow
def test_rebuild_takes_a_later_attempt_that_is_kept(results: Path) -> None:
    rebuild(results)
    lost = make.attempt(make.job("glow"))
    shutil.rmtree(results / "runs" / lost.job.job_id)
    again = lost.model_copy(update={"started": "2026-03-02T03:04:05+00:00", "steps": 99})
    keep(results, "some", [AttemptContents(record=again)])
    rebuilt = rebuild(results)
    assert (rebuilt.attempts, rebuilt.carried_over) == (2, 0)
    (after,) = attempt_contents(results, [lost.attempt_id])
    assert (after.record, after.curves, after.artifacts) == (again, (), ())
    assert verify(results).differences == ()


def test_verify_names_what_is_kept_and_differs_from_what_is_stored(results: Path) -> None:
    rebuild(results)
    lost = make.attempt(make.job("glow"))
    shutil.rmtree(results / "runs" / lost.job.job_id)
    (stored,) = attempt_contents(results, [lost.attempt_id])
    other = replace(stored, record=lost.model_copy(update={"steps": 99}), artifacts=make.grid(1))
    keep(results, "some", [other])
    differences = verify(results).differences
    assert list(differences) == [
        f"{lost.attempt_id}: the database has other {part}" for part in ("record", "samples")
    ]


@pytest.mark.parametrize("damage", ["junk", "truncated"])
def test_rebuild_sets_a_damaged_database_aside(results: Path, damage: str) -> None:
    rebuild(results)
    path = database_path(results)
    content = path.read_bytes()
    broken = b"junk" * 5000 if damage == "junk" else content[: len(content) // 2]
    path.write_bytes(broken)
    problems: list[str] = []
    rebuilt = rebuild(results, report=problems.append)
    assert rebuilt.kept_aside is not None
    assert rebuilt.kept_aside.read_bytes() == broken
    assert "damaged" in problems[0]
    assert len(list_attempts(results)) == 2


def test_rebuild_keeps_the_stored_attempt_of_a_corrupt_record(results: Path) -> None:
    rebuild(results)
    record = make.attempt(make.job("glow"))
    (results / "runs" / record.job.job_id / "1" / "record.json").write_text("{")
    problems: list[str] = []
    assert rebuild(results, report=problems.append).carried_over == 1
    assert len(problems) == 1
    assert attempt_contents(results, [record.attempt_id])[0].record == record


def test_rebuild_needs_a_results_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="--results"):
        rebuild(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("INSERT INTO schema_version VALUES (999)", "upgrade flowbench"),
        pytest.param(
            "UPDATE schema_version SET version = -3",
            "does not say its version",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "UPDATE schema_version SET version = 5",
            "its tables are not those of schema 5",
            marks=pytest.mark.slow,
        ),
        ("DROP TABLE measurements", "no measurements"),
        pytest.param(
            "DELETE FROM schema_version", "does not say its version", marks=pytest.mark.slow
        ),
    ],
)
def test_a_rebuild_always_ends_and_keeps_what_it_cannot_read(
    results: Path, sql: str, problem: str
) -> None:
    rebuild(results)
    with writing(results) as connection:
        connection.execute(sql)
    content = database_path(results).read_bytes()
    problems: list[str] = []
    rebuilt = rebuild(results, report=problems.append)
    assert rebuilt.kept_aside is not None
    assert rebuilt.kept_aside.read_bytes() == content
    assert problem in problems[0]
    assert len(list_attempts(results)) == 2
    assert verify(results).differences == ()


def test_verify_tells_what_a_rebuild_mends_from_what_nothing_does(results: Path) -> None:
    rebuild(results)
    changed = make.attempt(make.job("glow"))
    make.write(results, changed.model_copy(update={"steps": 1}))
    broken = make.attempt(make.job("realnvp"))
    (results / "runs" / broken.job.job_id / "1" / "record.json").write_text("{")
    found = verify(results)
    assert [line.partition(":")[0] for line in found.differences] == [changed.attempt_id]
    (line,) = found.unreadable
    assert str(results / "runs" / broken.job.job_id) in line
    rebuild(results, report=lambda _: None)
    again = verify(results)
    assert (again.differences, again.unreadable) == ((), (line,))


def test_verify_names_what_differs(results: Path) -> None:
    missing, changed = make.attempt(make.job("realnvp")), make.attempt(make.job("glow"))
    directory = results / "runs" / changed.job.job_id / "1"
    ingest(results, [directory])
    make.write(results, changed.model_copy(update={"steps": 1}), curves=make.curve(3.0))
    differences = verify(results).differences
    assert len(differences) == 3
    text = " ".join(differences)
    assert f"{missing.attempt_id}: not in the database" in text
    assert f"{changed.attempt_id}: the database has other record" in text
    assert f"{changed.attempt_id}: the database has other curves" in text


_HUGE_N = make.measured("bpd", 2.0, "bits/dim").model_copy(update={"n": 2**64})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("steps", {"steps": 2**70}),
        ("examples", {"examples": 2**63}),
        ("num_devices", {"num_devices": -(2**40)}),
        ("num_parameters", {"num_parameters": 2**64}),  # a column that may be NULL
        ("measurements.0.n", {"measurements": (_HUGE_N,)}),
        ("job.seed", {"job": make.job("nice").model_copy(update={"seed": 2**63})}),
        ("job.job_id", {"job": make.job("nice").model_copy(update={"job_id": "x/../../y"})}),
        ("job.job_id", {"job": make.job("nice").model_copy(update={"job_id": ".."})}),
    ],
    ids=str,
)
def test_a_record_that_the_database_cannot_hold_blocks_no_other(
    results: Path, field: str, changes: dict[str, Any]
) -> None:
    good = len(list_attempts(results)) if rebuild(results).attempts else 0
    bad = make.attempt(make.job("nice"))
    directory = make.write(results, bad)
    text = bad.model_copy(update=changes).model_dump_json()
    (directory / "record.json").write_text(text, encoding="utf-8")
    kept = make.attempt(make.job("tarflow")).model_copy(update=changes)
    keep(results, "some", [AttemptContents(record=kept)])
    told: list[str] = []
    rebuilt = rebuild(results, report=told.append)
    assert (rebuilt.attempts, rebuilt.problems) == (good, 2)
    assert told[0].startswith(f"{directory / 'record.json'}: not a record, {field}: ")
    assert f"left out, not an attempt: record.{field}: " in told[1]
    assert ingest(results, [directory], report=told.append) == 0
    assert len(list_attempts(results)) == good


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("jobs", JobRow),
        ("attempts", AttemptRow),
        ("measurements", MeasurementRow),
        ("curves", CurvePoint),
    ],
)
def test_every_integer_of_a_record_fits_its_column(
    results: Path, table: str, row: type[BaseModel]
) -> None:
    rebuild(results)
    asked = (
        f"SELECT name, type FROM pragma_table_info('{table}') WHERE type IN ('BIGINT', 'INTEGER')"
    )
    properties = row.model_json_schema(mode="serialization")["properties"]
    for name, kind in query(results, asked).rows:
        if name not in properties:
            continue  # the place in a list
        bounds = properties[name].get("anyOf", [properties[name]])[0]
        most = 2**63 if kind == "BIGINT" else 2**31
        assert (bounds["minimum"], bounds["exclusiveMaximum"]) == (-most, most), name


def test_a_record_in_the_folder_of_another_attempt_is_set_aside(results: Path) -> None:
    good = rebuild(results).attempts
    directory = make.write(results, make.attempt(make.job("nice")))
    shutil.copytree(directory, directory.with_name("2"))
    told: list[str] = []
    rebuilt = rebuild(results, report=told.append)
    assert (rebuilt.attempts, rebuilt.problems) == (good + 1, 1)
    assert "2/record.json: is of attempt" in told[0]
