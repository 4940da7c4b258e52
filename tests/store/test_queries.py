from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from flowbench.code_hash import core_sha256
from flowbench.errors import StoreError
from flowbench.store.connection import database_path, writing
from flowbench.store.ingest import ingest
from flowbench.store.queries import (
    export,
    find_attempt,
    jobs_by_board,
    list_attempts,
    metrics_of,
    newest_code,
    query,
    standing_attempts,
)
from tests.store import attempts as make


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    first, second = make.job("realnvp", 0), make.job("glow", 0)
    rows = [
        make.attempt(first, 1),
        make.failed(first, number=2),
        make.failed(second, "oom", 1),
        make.failed(second, "crashed", 2),
    ]
    ingest(folder, [make.write(folder, row) for row in rows])
    return folder


def test_list_has_the_documented_keys(results: Path) -> None:
    listed = list_attempts(results)
    expected = (
        "name job_id attempt model preset overrides dataset seed status reason stale contended "
        "refuted device budget steps charged_s started trial tuning likelihood"
    )
    assert all(list(row) == expected.split() for row in listed)
    assert json.loads(json.dumps(listed, allow_nan=False)) == listed


def test_values_have_the_documented_keys(results: Path) -> None:
    (good,) = [row["name"] for row in list_attempts(results) if row["status"] == "ok"]
    every = metrics_of(results, [row["name"] for row in list_attempts(results)])
    assert list(every) == [good]
    assert list(every[good]) == [m.name for m in make.measurements(2.0)]
    bpd = every[good]["bpd"]
    assert {"value", "unit", "direction", "n", "stderr", "split", "protocol", "status"} <= set(bpd)
    assert bpd["value"] == 2.0
    assert every[good]["gpu_hours"]["value"] is None
    assert every[good]["gpu_hours"]["reason"] == "trained on CPU"


def test_of_likelihoods_the_first_that_there_is_stands_beside_an_attempt(tmp_path: Path) -> None:
    missing = make.measured("bpd", None, "bits/dim", status="failed", reason="no")
    before = make.measured("nll", 5.0, "nats", split="validation")
    tested, other = make.measured("nll", 4.0, "nats"), make.measured("params", 9.0, "")
    rows = [
        make.attempt(make.job("a"), measurements=(other, missing, before, tested)),
        make.attempt(make.job("b"), measurements=(other, before)),
        make.attempt(make.job("c"), measurements=(other, missing)),
    ]
    ingest(tmp_path, [make.write(tmp_path, row) for row in rows])
    found = {row["model"]: row["likelihood"] for row in list_attempts(tmp_path)}
    nats = {"unit": "nats"}
    assert found == {"a": {"value": 4.0, **nats}, "b": {"value": 5.0, **nats}, "c": None}


def test_attempts_are_listed_as_their_records_say(tmp_path: Path) -> None:
    refuted = make.measured("mass", 2.0, "", refutes="mass 2.0")
    again = make.measured("round_trip", 1.0, "", refutes="no inverse")
    rows = [
        make.attempt(make.job("a"), run_delay_s=9.0, measurements=(refuted, again)),
        make.attempt(make.job("b", budget="9steps"), run_delay_s=9.0, started="2026-01-01"),
        make.failed(make.job("c"), number=3),
    ]
    ingest(tmp_path, [make.write(tmp_path, row) for row in rows])
    listed = list_attempts(tmp_path)
    assert [row["model"] for row in listed] == [
        "b",
        *sorted("ac", key=lambda m: make.job(m).job_id),
    ]
    records = {record.attempt_id: record for record in standing_attempts(tmp_path)}
    for row in listed:
        record = records[row["name"]]
        assert (row["contended"], row["refuted"]) == (record.contended, record.refuted)
        assert (row["status"], row["attempt"]) == (record.status, record.number)


def test_the_last_good_attempt_stands_for_its_job(results: Path) -> None:
    standing = {r.job.model: (r.status, r.number) for r in standing_attempts(results)}
    assert standing == {"realnvp": ("ok", 1), "glow": ("crashed", 2)}
    job_id = make.job("glow", 0).job_id
    assert [r.job.job_id for r in standing_attempts(results, [job_id])] == [job_id]


@pytest.mark.parametrize(
    ("codes", "standing"),
    [
        ("aab", 3),  # the edited code failed: the result of the former does not stand for it
        ("aba", 1),  # the edit was taken back, and then failed
        ("aaa", 1),
        ("   ", 1),  # made before code was kept
    ],
)
def test_a_result_of_former_code_does_not_stand_for_a_job(
    tmp_path: Path, codes: str, standing: int
) -> None:
    row = make.job()
    statuses = ("ok", "oom", "crashed")
    for number, (code, status) in enumerate(zip(codes, statuses, strict=True), start=1):
        hashes = {} if code == " " else {"model_code": code, "dataset_code": "d"}
        made = make.attempt(row, number, status=status, **hashes)
        ingest(tmp_path, [make.write(tmp_path, made)])
    assert [r.number for r in standing_attempts(tmp_path)] == [standing]


def test_what_another_core_made_is_stale(tmp_path: Path) -> None:
    rows = [
        make.attempt(make.job("a"), core_code=core_sha256()),
        make.attempt(make.job("b"), core_code="other"),
        make.attempt(make.job("c"), core_code=None),
    ]
    ingest(tmp_path, [make.write(tmp_path, row) for row in rows])
    stale = {row["model"]: row["stale"] for row in list_attempts(tmp_path)}
    assert stale == {"a": False, "b": True, "c": True}


@pytest.mark.parametrize(
    ("budget", "run_delay_s", "contended"),
    [
        ("60s", 6.1, True),
        ("60s", 5.9, False),
        ("60s", None, False),  # unknown
        ("60s,5000steps", 30.0, True),
        ("0.1gpuh", 30.0, True),
        ("5000steps", 30.0, False),  # it took longer, and no less training
        ("20epochs", 30.0, False),
    ],
)
def test_a_budget_of_time_that_waited_for_a_core_is_contended(
    tmp_path: Path, budget: str, run_delay_s: float | None, contended: bool
) -> None:
    load = {"start": 3.5, "end": None, "cores": 8, "usable": 2, "quota": None}
    waited: dict[str, Any] = {"run_delay_s": run_delay_s, "load": load}
    made = make.attempt(make.job(budget=budget), charged_s=60.0, **waited)
    ingest(tmp_path, [make.write(tmp_path, made)])
    assert [row["contended"] for row in list_attempts(tmp_path)] == [contended]
    (kept,) = standing_attempts(tmp_path)
    assert (kept.run_delay_s, kept.load) == (run_delay_s, load)


def test_the_value_on_test_is_the_one_that_is_listed(tmp_path: Path) -> None:
    both = [
        make.measured("bpd", 1.7, "bits/dim", split="train"),
        make.measured("bpd", 1.9, "bits/dim"),
        make.measured("bpd", 1.8, "bits/dim", split="validation"),
    ]
    ingest(tmp_path, [make.write(tmp_path, make.attempt(measurements=both))])
    ((_, metrics),) = metrics_of(tmp_path, [list_attempts(tmp_path)[0]["name"]]).items()
    assert metrics["bpd"]["value"] == 1.9


def test_find_takes_attempts_jobs_and_beginnings(results: Path) -> None:
    job_id = make.job("realnvp", 0).job_id
    assert find_attempt(results, f"{job_id}-1").record.number == 1
    assert find_attempt(results, job_id).record.number == 2
    assert find_attempt(results, job_id[:6]).record.number == 2
    for unknown in ("nothing", "", "%"):
        with pytest.raises(StoreError, match=r"unknown job .*flowbench results list"):
            find_attempt(results, unknown)
    with pytest.raises(StoreError, match=f"did you mean '{job_id}'"):
        find_attempt(results, "x" + job_id[1:])


def test_find_refuses_an_ambiguous_beginning(tmp_path: Path) -> None:
    rows = [make.attempt(make.job().model_copy(update={"job_id": f"ab{i}"})) for i in range(2)]
    ingest(tmp_path, [make.write(tmp_path, row) for row in rows])
    with pytest.raises(StoreError, match="fits 2 jobs: ab0, ab1"):
        find_attempt(tmp_path, "ab")


def test_a_database_with_an_id_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    ingest(tmp_path, [make.write(tmp_path, make.attempt())])
    with writing(tmp_path) as connection:
        connection.execute("UPDATE jobs SET job_id = '../../up'")
        connection.execute("UPDATE attempts SET job_id = '../../up'")
    with pytest.raises(StoreError, match=r"job.job_id.*flowbench store rebuild"):
        find_attempt(tmp_path, "../../up")


def test_jobs_are_apart_for_each_dataset_and_budget(tmp_path: Path) -> None:
    jobs = [
        make.job(model, 0, dataset=dataset, budget=budget)
        for dataset in ("mnist", "digits")
        for budget in ("60s", "5steps")
        for model in ("glow", "nice")
    ]
    ingest(tmp_path, [make.write(tmp_path, make.attempt(job)) for job in jobs])
    found = [sorted(ids) for ids in jobs_by_board(tmp_path)]
    ids = [job.job_id for job in jobs]
    assert found == [sorted(ids[i : i + 2]) for i in (6, 4, 2, 0)]
    assert jobs_by_board(tmp_path, [ids[0], ids[6]]) == [[ids[6]], [ids[0]]]


def test_the_newest_code_is_that_of_the_last_good_run(tmp_path: Path) -> None:
    rows = [
        make.attempt(make.job("glow", 0), code_sha256="a", started="2026-01-01T00:00:00+00:00"),
        make.attempt(make.job("glow", 1), code_sha256="b", started="2026-01-03T00:00:00+00:00"),
        make.attempt(make.job("glow", 2), code_sha256="c", started="2026-01-02T00:00:00+00:00"),
        make.attempt(make.job("glow", 3), code_sha256=None, started="2026-01-04T00:00:00+00:00"),
        make.attempt(
            make.job("glow", 4),
            status="crashed",
            code_sha256="d",
            started="2026-01-05T00:00:00+00:00",
        ),
        make.attempt(make.job("nice", 0), code_sha256="e"),
    ]
    ingest(tmp_path, [make.write(tmp_path, row) for row in rows])
    dataset = rows[0].job.dataset
    assert newest_code(tmp_path) == {("glow", dataset): "b", ("nice", dataset): "e"}
    assert newest_code(tmp_path, [rows[2].job.job_id]) == {("glow", dataset): "c"}


def test_query_reads(results: Path) -> None:
    answer = query(results, "SELECT model, value FROM results WHERE name = 'bpd'")
    assert answer.columns == ("model", "value")
    assert answer.rows == (("realnvp", 2.0),)


def test_results_say_how_each_value_is_shown(results: Path) -> None:
    shown = "label, short, role, scale, decimals"
    answer = query(results, f"SELECT DISTINCT {shown} FROM results WHERE name = 'params'")
    assert answer.rows == (("Parameters", None, "count", None, None),)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM read_blob('https://example.org/')",
        "COPY jobs TO '{folder}/out.csv'",
        "COPY (SELECT 1) TO '{database}'",
        "COPY (SELECT 1) TO '{database}.wal'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{database}.wal'",
        "EXPORT DATABASE '{folder}/dump'",
        "ATTACH '{folder}/other.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET lock_configuration",
        "PRAGMA enable_external_access=true",
        "DROP TABLE jobs",
        "DELETE FROM jobs",
        "CREATE TABLE mine (a INTEGER)",
        "SELECT 1; DROP TABLE jobs",
        "SELEC 1",
        "SELECT nothing FROM nowhere",
        "",
        "--",
    ],
)
def test_query_refuses_everything_else(results: Path, tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    before = sorted(path.name for path in results.iterdir())
    content = database_path(results).read_bytes()
    text = sql.format(secret=secret, folder=results, database=database_path(results))
    with pytest.raises(StoreError) as caught:
        query(results, text)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in results.iterdir()) == before
    assert database_path(results).read_bytes() == content


def test_export_writes_each_value_once(results: Path, tmp_path: Path) -> None:
    with export(results, tmp_path / "out" / "it's.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 8 + 3  # the measurements, and the three attempts without any
    assert {row["status"] for row in rows} == {"ok", "diverged", "oom", "crashed"}
    listed = json.loads(export(results, tmp_path / "out.json").read_text())
    assert len(listed) == len(rows)
    parquet = export(results, tmp_path / "out.parquet")
    assert parquet.read_bytes()[:4] == b"PAR1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.json", "out.parquet"]


def test_export_to_csv_begins_no_formula_and_leaves_numbers(tmp_path: Path) -> None:
    names = ("=1+1", "+cmd", "@sum", "-2+3", "\t=1", "plain", "a=b")
    values = tuple(make.measured(name, -1.5 * i, "=nats") for i, name in enumerate(names))
    ingest(tmp_path, [make.write(tmp_path, make.attempt(measurements=values))])
    with export(tmp_path, tmp_path / "out.csv").open(newline="") as lines:
        rows = {row["name"]: row for row in csv.DictReader(lines)}
    escaped = {name if name in ("plain", "a=b") else f"'{name}" for name in names}
    assert set(rows) == escaped
    assert [float(row["value"]) for row in rows.values()] == [-1.5 * i for i in range(len(names))]
    assert {row["unit"] for row in rows.values()} == {"'=nats"}
    listed = json.loads(export(tmp_path, tmp_path / "out.json").read_text())
    assert {row["name"] for row in listed} == set(names)  # programs get what was measured


def test_export_names_the_formats(results: Path) -> None:
    with pytest.raises(StoreError, match=r"\.csv, \.parquet, \.json"):
        export(results, results / "out.xlsx")
