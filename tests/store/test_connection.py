from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from flowbench.errors import StoreError
from flowbench.store import ingest as store_ingest
from flowbench.store import migrations
from flowbench.store.connection import database_path, migrate, reading, writing
from flowbench.store.ingest import ingest
from flowbench.store.queries import standing_attempts
from tests.store import attempts as make


def test_a_new_database_can_be_opened_by_duckdb_1_0(tmp_path: Path) -> None:
    with writing(tmp_path) as connection:
        row = connection.execute(
            "SELECT tags FROM duckdb_databases() WHERE database_name = 'flowbench'"
        ).fetchone()
    assert row is not None
    assert row[0]["storage_version"].startswith("v1.0.0")


def test_importing_the_store_is_light() -> None:
    code = (
        "import sys, flowbench.store, flowbench.store.connection, flowbench.store.records\n"
        "assert not {'duckdb', 'torch', 'pandas', 'numpy'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("make_runs", "advice"), [(False, "flowbench run"), (True, "flowbench store rebuild")]
)
def test_reading_without_a_database_says_what_to_do(
    tmp_path: Path, make_runs: bool, advice: str
) -> None:
    if make_runs:
        (tmp_path / "runs").mkdir()
    with pytest.raises(StoreError, match=advice), reading(tmp_path):
        pass
    assert not database_path(tmp_path).exists()


def test_a_database_in_use_is_waited_for_and_then_reported(tmp_path: Path) -> None:
    with writing(tmp_path):
        pass
    code = (
        "import duckdb, sys\n"
        "held = duckdb.connect(sys.argv[1])\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(database_path(tmp_path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match=f"in use by process {holder.pid}"):
        with reading(tmp_path, wait_s=0.1):
            pass
    holder.communicate()
    with reading(tmp_path, wait_s=0.1):
        pass


def test_a_file_that_is_no_database_is_reported_as_damaged(tmp_path: Path) -> None:
    database_path(tmp_path).write_bytes(b"junk" * 5000)
    with pytest.raises(StoreError, match="is damaged"):
        with writing(tmp_path):
            pass


def test_a_truncated_database_is_reported_as_damaged(tmp_path: Path) -> None:
    path = database_path(tmp_path)
    with writing(tmp_path) as connection:
        connection.execute("CREATE TABLE filler AS SELECT range AS i FROM range(100000)")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoreError, match="damaged"), reading(tmp_path) as connection:
        connection.execute("SELECT sum(i) FROM filler").fetchall()


def test_a_results_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--results"), writing(tmp_path / "file" / "results"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="--results"), writing(tmp_path):
        pass


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    with writing(tmp_path) as connection:
        connection.execute("INSERT INTO schema_version VALUES (999)")
    for opened in (reading, writing):
        with pytest.raises(StoreError, match=r"schema 999.*upgrade flowbench"), opened(tmp_path):
            pass


def test_an_older_schema_is_migrated_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(tmp_path):
        pass
    steps = (*migrations.STEPS, "CREATE TABLE extra (a INTEGER)")
    monkeypatch.setattr(migrations, "STEPS", steps)
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", len(steps))
    with pytest.raises(StoreError, match="flowbench store migrate"), reading(tmp_path):
        pass
    assert migrate(tmp_path) == len(steps)
    with reading(tmp_path) as connection:
        assert connection.execute("SELECT count(*) FROM extra").fetchone() == (0,)


def _go_back_to(version: int, old: pytest.MonkeyPatch) -> None:
    """Has the database the schema of a version, and what is written into it no later columns."""
    old.setattr(migrations, "STEPS", migrations.STEPS[:version])
    old.setattr(migrations, "SCHEMA_VERSION", version)
    old.setattr(store_ingest, "TABLES_BY_ATTEMPT", ("attempts", "measurements", "curves"))
    insert = vars(store_ingest)["_INSERT_ATTEMPTS"]
    old.setattr(store_ingest, "_INSERT_ATTEMPTS", re.sub(r",[^,]*AS family", "", insert))


def test_records_from_before_the_hash_of_the_models_code_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as old:
        _go_back_to(2, old)
        ingest(tmp_path, [make.write(tmp_path, make.attempt())])
    assert migrate(tmp_path) == migrations.SCHEMA_VERSION
    assert [record.model_code_sha256 for record in standing_attempts(tmp_path)] == [None]
    newer = make.attempt(make.job("glow", 0))
    ingest(tmp_path, [make.write(tmp_path, newer)])
    found = {record.job.model: record.model_code_sha256 for record in standing_attempts(tmp_path)}
    assert found["glow"] == newer.model_code_sha256


def test_measurements_from_before_their_presentation_was_kept_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {"label": "Bits per dimension", "short": "BPD", "role": "quality", "scale": "log"}
    newer = make.measured("bpd", 2.0, "bits/dim", decimals=3, **shown)
    older = make.measured("bpd", 2.0, "bits/dim")
    with monkeypatch.context() as old:
        _go_back_to(3, old)
        ingest(tmp_path, [make.write(tmp_path, make.attempt(measurements=(older,)))])
    assert migrate(tmp_path) == migrations.SCHEMA_VERSION
    ingest(tmp_path, [make.write(tmp_path, make.attempt(make.job("glow"), measurements=(newer,)))])
    found = {r.job.model: r.measurements for r in standing_attempts(tmp_path)}
    assert found == {"realnvp": (older,), "glow": (newer,)}


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    with duckdb.connect(str(database_path(tmp_path))) as foreign:
        foreign.execute("CREATE TABLE mine (a INTEGER)")
    with pytest.raises(StoreError, match="not one of flowbench's"), writing(tmp_path):
        pass
    with duckdb.connect(str(database_path(tmp_path))) as foreign:
        assert foreign.execute("SHOW TABLES").fetchall() == [("mine",)]


def test_an_exception_of_the_caller_passes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writing(tmp_path):
        raise KeyError("mine")
