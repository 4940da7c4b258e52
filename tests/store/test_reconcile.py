"""The database is a cache of the files: whatever becomes of it, every reader sees every attempt."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from flowbench.store import migrations
from flowbench.store.checks import latest_checks, write_check
from flowbench.store.connection import database_path, reading, writing
from flowbench.store.kept import keep
from flowbench.store.queries import list_attempts
from flowbench.store.reconcile import changed, readable, reconcile, scan
from tests.leaderboard import mirrored
from tests.store import attempts as make

MODELS = {"realnvp", "glow"}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for model in sorted(MODELS):
        make.write(tmp_path, make.attempt(make.job(model)), curves=make.curve(2.0))
    reconcile(tmp_path)
    return tmp_path


def models(results: Path, told: list[str] | None = None) -> set[str]:
    """What a reader sees, and no attempt twice."""
    with readable(results, report=(told if told is not None else []).append) as folder:
        found = [attempt["model"] for attempt in list_attempts(folder)]
    assert len(found) == len(set(found))
    return set(found)


def deleted(path: Path) -> None:
    path.unlink()


def junk(path: Path) -> None:
    path.write_bytes(b"junk" * 5000)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def sql(text: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with duckdb.connect(str(path)) as connection:
            connection.execute(text)

    return run


def foreign(path: Path) -> None:
    path.unlink()
    sql("CREATE TABLE mine (a INTEGER)")(path)


HARM = {
    "deleted": deleted,
    "junk": junk,
    "truncated": truncated,
    "emptied": emptied,
    "table dropped": sql("DROP TABLE measurements"),
    "view dropped": sql("DROP VIEW results"),
    "versions emptied": sql("DELETE FROM schema_version"),
    "versions dropped": sql("DROP TABLE schema_version"),
    "attempts and what is known of files lost": sql("DELETE FROM attempts; DELETE FROM sources"),
    "a newer schema": sql("INSERT INTO schema_version VALUES (999)"),
    "somebody else's": foreign,
}
QUICK = ("deleted", "a newer schema")  # a database that is not there, and one that cannot be used


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(harm, id=name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name, harm in HARM.items()
    ],
)
def test_whatever_becomes_of_the_database_readers_see_every_attempt(
    results: Path, harm: Callable[[Path], None]
) -> None:
    harm(database_path(results))
    make.write(results, make.attempt(make.job("nice")))
    told: list[str] = []
    assert models(results, told) == MODELS | {"nice"}
    assert len(told) <= 1
    assert models(results) == MODELS | {"nice"}


@pytest.mark.parametrize("name", ["a newer schema", "somebody else's"])
def test_a_database_that_is_not_ours_to_change_stays_as_it_is(results: Path, name: str) -> None:
    HARM[name](database_path(results))
    before = database_path(results).read_bytes()
    told: list[str] = []
    assert models(results, told) == MODELS
    assert database_path(results).read_bytes() == before
    (line,) = told
    assert "read from the attempts' own files" in line


def test_a_damaged_database_is_kept_and_named(results: Path) -> None:
    junk(database_path(results))
    told: list[str] = []
    assert models(results, told) == MODELS
    (line,) = told
    assert "flowbench.duckdb is damaged" in line
    assert "it is kept as flowbench.duckdb.damaged-1" in line
    assert (results / "flowbench.duckdb.damaged-1").read_bytes() == b"junk" * 5000


@pytest.mark.parametrize(
    "version",
    [
        1,  # which goes through every step
        *(
            pytest.param(version, marks=pytest.mark.slow)
            for version in range(2, migrations.SCHEMA_VERSION)
        ),
    ],
)
def test_a_database_of_every_earlier_schema_is_brought_up(
    results: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database_path(results)
    path.unlink()
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        for number, step in enumerate(migrations.STEPS[:version], start=1):
            connection.execute(step)
            connection.execute("INSERT INTO schema_version VALUES (?)", [number])
        connection.execute(
            "INSERT INTO jobs (job_id, model, config, dataset, dataset_sha256, seed, budget, "
            "protocol_version, protocol) "
            "VALUES ('old', 'old', '{}', 'digits', 'd', 0, '60s', 1, '{}')"
        )
        connection.execute(
            "INSERT INTO attempts (attempt_id, job_id, number, preset, overrides, record_version, "
            "status, started, ended, num_devices, steps, examples, skipped_steps, charged_s, "
            "wall_s, ledger, data, provenance) VALUES ('old-1', 'old', 1, 'p', '{}', 1, 'ok', "
            "'2020', '2020', 1, 1, 1, 0, 1, 1, '{}', '{}', '{}')"
        )
    told: list[str] = []
    assert models(results, told) == MODELS | {"old"}  # what it alone has is carried along
    assert told == []
    assert database_path(results).is_file()


@contextmanager
def held(results: Path, *, read_only: bool) -> Iterator[None]:
    """Another process with the database open."""
    code = (
        "import duckdb, sys\n"
        "held = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == 'True')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(database_path(results)), str(read_only)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        yield
    finally:
        holder.communicate()


@pytest.mark.parametrize(
    "read_only",
    [pytest.param(True, id="reader", marks=pytest.mark.slow), pytest.param(False, id="writer")],
)
def test_a_database_that_others_hold_hides_nothing(
    results: Path, read_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowbench.store.reconcile.READER_WAIT_S", 0.1)
    make.write(results, make.attempt(make.job("nice")))
    told: list[str] = []
    with held(results, read_only=read_only):
        assert models(results, told) == MODELS | {"nice"}
        (line,) = told
        assert "is in use by process" in line
    assert models(results) == MODELS | {"nice"}


def test_what_only_the_database_has_stays_while_another_reads_it(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowbench.store.reconcile.READER_WAIT_S", 0.1)
    job = results / "runs" / make.job("glow").job_id
    job.rename(results / "elsewhere")
    make.write(results, make.attempt(make.job("nice")))
    with held(results, read_only=True):
        assert models(results) == MODELS | {"nice"}


def test_only_what_changed_is_read_again(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make.write(results, make.attempt(make.job("nice")))
    opened: list[Path] = []
    original = Path.read_bytes

    def watched(path: Path) -> bytes:
        opened.append(path)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", watched)
    reconcile(results)
    assert [path.parent for path in opened if path.name == "record.json"] == [first]
    opened.clear()
    reconcile(results)
    assert opened == []


def test_a_record_that_is_replaced_by_one_of_its_size_and_time_is_seen(results: Path) -> None:
    record = make.attempt(make.job("glow"), steps=1111)
    path = make.write(results, record) / "record.json"
    reconcile(results)
    times = path.stat()
    other = path.with_name("other")
    other.write_text(path.read_text().replace("1111", "2222"))
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)
    with readable(results) as folder:
        assert {a["steps"] for a in list_attempts(folder) if a["model"] == "glow"} == {2222}


def test_what_cannot_be_read_is_named_each_time_and_kept(results: Path) -> None:
    directory = make.write(results, make.attempt(make.job("nice")))
    (directory / "record.json").write_text("{")
    for _ in range(2):
        told: list[str] = []
        assert models(results, told) == MODELS
        (line,) = told
        assert str(directory / "record.json") in line
    make.write(results, make.attempt(make.job("nice")))  # it is mended
    assert models(results) == MODELS | {"nice"}


def test_checks_and_text_are_sources_too(results: Path) -> None:
    from flowbench.store.attempt_files import AttemptContents

    write_check(results, mirrored.check("glow"))
    record = make.attempt(make.job("nice"))
    keep(results, "some", [AttemptContents(record=record)])
    with readable(results) as folder:
        assert folder == results
        assert [check.name for check in latest_checks(folder)] == ["glow"]
    assert models(results) == MODELS | {"nice"}
    later = record.model_copy(update={"steps": 99, "started": "2026-05-01T00:00:00+00:00"})
    keep(results, "some", [AttemptContents(record=later)])
    with readable(results) as folder:
        assert {a["steps"] for a in list_attempts(folder) if a["model"] == "nice"} == {99}


def test_a_folder_that_cannot_be_written_can_be_read(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.write(results, make.attempt(make.job("nice")))
    refused = duckdb.connect

    def connect(path: str, *, read_only: bool, config: dict[str, str]) -> object:
        if not read_only and Path(path).parent == results:
            raise duckdb.IOException("IO Error: Cannot open file: Permission denied")
        return refused(path, read_only=read_only, config=config)  # type: ignore[arg-type]

    monkeypatch.setattr(duckdb, "connect", connect)
    assert models(results) == MODELS | {"nice"}


def test_an_ended_write_is_read_once_more(results: Path) -> None:
    """A process that dies between an attempt and what is known of its file does no harm."""
    with writing(results) as connection:
        connection.execute("DELETE FROM sources")
    assert models(results) == MODELS
    with reading(results) as connection:
        assert changed(connection, scan(results)) == {}


@pytest.mark.slow
def test_ten_thousand_attempts_are_looked_over_in_under_a_second(tmp_path: Path) -> None:
    for number in range(10_000):
        directory = tmp_path / "runs" / f"job{number}" / "1"
        directory.mkdir(parents=True)
        (directory / "record.json").touch()
    with writing(tmp_path) as connection:
        stamps = scan(tmp_path)
        connection.execute(
            "INSERT INTO sources SELECT unnest(?), unnest(?)", [list(stamps), list(stamps.values())]
        )
    # Processor time: others share the machine.
    begun = time.process_time()
    with readable(tmp_path) as folder:
        assert folder == tmp_path
    assert time.process_time() - begun < 1.0
