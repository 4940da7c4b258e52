"""Every SQL text that reads."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from flowbench.api.data import Artifact
from flowbench.api.frozen import Frozen
from flowbench.api.likelihood import likelihood_as_version_2
from flowbench.api.units import LIKELIHOOD_UNITS
from flowbench.budget import Budget
from flowbench.code_hash import core_sha256
from flowbench.errors import StoreError
from flowbench.store import Connection
from flowbench.store.attempt_files import AttemptContents, first_line
from flowbench.store.connection import reading
from flowbench.store.job_ids import whole_job_id
from flowbench.store.records import (
    CONTENDED_SHARE,
    AttemptRow,
    CurvePoint,
    JobRow,
    MeasurementRow,
)

if TYPE_CHECKING:
    import pandas as pd

_POINTS = TypeAdapter(tuple[CurvePoint, ...])


def _struct(row: type[Frozen], **columns: str) -> str:
    """SQL of a struct with the fields of a record, so that DuckDB writes the record's JSON itself.

    Args:
        row: The class of the record.
        columns: Where a field comes from, by its name; ``rest`` is the table of all others.
    """
    table = columns.pop("rest")
    fields = (f"'{name}': {columns.get(name, f'{table}.{name}')}" for name in row.model_fields)
    return "{" + ", ".join(fields) + "}"


_JOB = _struct(JobRow, rest="j", preset="a.preset", overrides="a.overrides", family="a.family")
_ATTEMPT = _struct(AttemptRow, rest="a", job=_JOB, measurements="coalesce(measured.items, [])")
_RECORDS = f"""
WITH chosen AS MATERIALIZED ({{chosen}}),
measured AS (
    SELECT attempt_id, list({_struct(MeasurementRow, rest="m")} ORDER BY m.position) AS items
    FROM measurements m SEMI JOIN chosen USING (attempt_id)
    GROUP BY attempt_id
)
SELECT to_json({_ATTEMPT})
FROM chosen
JOIN attempts a USING (attempt_id)
JOIN jobs j USING (job_id)
LEFT JOIN measured USING (attempt_id)
ORDER BY a.started, a.job_id, a.number
"""
_LISTED = """
SELECT a.attempt_id AS name, a.job_id, a.number AS attempt, j.model, a.preset, a.overrides,
    j.dataset, j.seed, a.status, a.reason, a.core_code IS DISTINCT FROM $core AS stale,
    coalesce(a.run_delay_s > $share * a.charged_s, false) AS contended, refuting.refuted,
    a.device_name AS device, j.budget, a.steps, a.charged_s, a.started, a.trial, a.tuning,
    likely.likelihood
FROM attempts a
JOIN jobs j USING (job_id)
LEFT JOIN (
    SELECT attempt_id, string_agg(refutes, '; ' ORDER BY position) AS refuted
    FROM measurements WHERE refutes <> '' GROUP BY attempt_id
) refuting USING (attempt_id)
LEFT JOIN (
    SELECT attempt_id, arg_min({'value': value, 'unit': unit}, position) AS likelihood
    FROM (SELECT *, split IS NOT DISTINCT FROM 'test' AS tested FROM measurements
        WHERE unit IN (SELECT unnest($units::VARCHAR[])) AND value IS NOT NULL
        QUALIFY tested = max(tested) OVER (PARTITION BY attempt_id, name))
    GROUP BY attempt_id
) likely USING (attempt_id)
ORDER BY a.started, a.job_id, a.number
"""
_MEASURED = f"""
SELECT attempt_id, to_json(list({_struct(MeasurementRow, rest="m")} ORDER BY m.position))
FROM measurements m
WHERE attempt_id IN (SELECT unnest($ids::VARCHAR[]))
GROUP BY attempt_id
"""
_CURVES = f"""
SELECT attempt_id, to_json(list({_struct(CurvePoint, rest="c")} ORDER BY c.position))
FROM curves c WHERE attempt_id IN (SELECT unnest($ids::VARCHAR[])) GROUP BY attempt_id
"""

_ALL = "SELECT attempt_id FROM attempts"
_OF_IDS = "SELECT DISTINCT unnest($ids::VARCHAR[]) AS attempt_id"
# The attempt that stands for its job: of those by the code that ran it last, the last that ended
# well, else the last. A result of code that was edited since must not pass for the present one.
# A trial of a sweep stands where nothing else does: it has no values.
_STANDING = """
SELECT attempt_id FROM (
    SELECT *, coalesce(model_code || dataset_code, '') AS code,
        first_value(code) OVER (PARTITION BY job_id ORDER BY number DESC) AS latest
    FROM attempts WHERE $ids IS NULL OR job_id IN (SELECT unnest($ids::VARCHAR[]))
)
QUALIFY row_number() OVER (
    PARTITION BY job_id
    ORDER BY code = latest DESC, trial IS NULL DESC, status = 'ok' DESC, number DESC
) = 1
"""
_BY_BOARD = f"""
SELECT list(job_id) FROM ({_STANDING}) JOIN attempts USING (attempt_id) JOIN jobs j USING (job_id)
WHERE trial IS NULL
GROUP BY j.dataset, j.budget ORDER BY j.dataset, j.budget
"""
_NEWEST_CODE = f"""
SELECT j.model, j.dataset, last(a.code_sha256 ORDER BY a.started, a.attempt_id)
FROM ({_STANDING}) JOIN attempts a USING (attempt_id) JOIN jobs j USING (job_id)
WHERE a.status = 'ok' AND a.code_sha256 IS NOT NULL GROUP BY j.model, j.dataset
"""

_ARTIFACTS = """
SELECT attempt_id, name, media_type, content, thumbnail FROM artifacts
WHERE attempt_id IN (SELECT unnest($ids::VARCHAR[])) ORDER BY position
"""
_LIKELIHOODS = """
SELECT attempt_id, log_prob FROM likelihoods
WHERE attempt_id IN (SELECT unnest($ids::VARCHAR[]))
"""
_JOBS_OF_ATTEMPTS = "SELECT attempt_id, job_id FROM attempts ORDER BY number"

# What a spreadsheet would take for a formula gets a quote in front, in columns of text alone: a
# number is none, whatever its sign.
_FORMULA = r"^[=+@\t\r\n-]"
_EXPORT_FORMATS = {
    ".csv": "FORMAT csv, HEADER",
    ".parquet": "FORMAT parquet",
    ".json": "FORMAT json, ARRAY",
}


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """The answer to a query.

    Attributes:
        columns: Names of the columns.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def list_attempts(results: Path) -> list[dict[str, Any]]:
    """All attempts, by columns alone: no record is read back.

    Returns:
        One object an attempt, oldest first. One by another core than the present is ``stale``;
        ``likelihood`` is value and unit of the first measurement of one, that on test.
    """
    parameters = {
        "core": core_sha256(),
        "share": CONTENDED_SHARE,
        "units": sorted(LIKELIHOOD_UNITS),
    }
    with reading(results) as connection:
        cursor = connection.execute(_LISTED, parameters)
        names = [column[0] for column in cursor.description or ()]
        attempts = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for attempt in attempts:
        attempt["overrides"] = json.loads(attempt["overrides"])
        for name in ("trial", "tuning"):
            attempt[name] = json.loads(attempt[name] or "null")
        # As `AttemptRow.contended`: only a budget of time trains less for having waited.
        attempt["contended"] = attempt["contended"] and Budget.parse(attempt["budget"]).time_like
    return attempts


def count_attempts(results: Path) -> int:
    """How many attempts there are."""
    with reading(results) as connection:
        return len(stored_ids(connection))


def metrics_of(results: Path, attempt_ids: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """What was measured, as ``flowbench results list --json`` prints it.

    Args:
        attempt_ids: The attempts wanted.

    Returns:
        By attempt and name of the value, in the order of the metrics, all that `MeasurementRow`
        holds beside its names. Where one name was measured on several splits, that on test.
    """
    with reading(results) as connection:
        rows = connection.execute(_MEASURED, {"ids": list(attempt_ids)}).fetchall()
    return {attempt_id: _by_name(json.loads(items)) for attempt_id, items in rows}


def _by_name(items: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Values by name, as `AttemptRow.values_by_name` chooses them."""
    values: dict[str, dict[str, Any]] = {}
    for item in items:
        del item["metric"]
        name = item.pop("name")
        item["protocol"] = likelihood_as_version_2(item["protocol"])
        if name not in values or values[name]["split"] != "test" or item["split"] == "test":
            values[name] = item
    return values


def find_attempt(results: Path, which: str) -> AttemptContents:
    """One attempt in full.

    Args:
        which: An attempt id; or a job id, or how it alone begins, for the job's last attempt.

    Returns:
        Record, curves, samples and per-example likelihoods.

    Raises:
        StoreError: No attempt or job is called so, or more than one job.
    """
    with reading(results) as connection:
        found = dict(connection.execute(_JOBS_OF_ATTEMPTS).fetchall())
        if which not in found:
            job_id = whole_job_id(which, found.values())
            which = [attempt for attempt, job in found.items() if job == job_id][-1]
        return contents(connection, [which])[0]


def standing_attempts(results: Path, job_ids: Sequence[str] | None = None) -> list[AttemptRow]:
    """The attempt that stands for each job: the last that ended well, else the last.

    Args:
        job_ids: Only these jobs; None takes all.

    Returns:
        One record per job.
    """
    with reading(results) as connection:
        return records(connection, job_ids, chosen=_STANDING)


def jobs_by_board(results: Path, job_ids: Sequence[str] | None = None) -> list[list[str]]:
    """The ids of all jobs, apart for each dataset and budget, sorted by these.

    Args:
        job_ids: Only these jobs; None takes all.
    """
    return [ids for (ids,) in _of_jobs(results, _BY_BOARD, job_ids)]


def newest_code(results: Path, job_ids: Sequence[str] | None = None) -> dict[tuple[str, str], str]:
    """The hash of the code that last ran each model on each data set: data are part of it.

    Args:
        job_ids: Only these jobs; None takes all.
    """
    return {(m, d): code for m, d, code in _of_jobs(results, _NEWEST_CODE, job_ids)}


def _of_jobs(results: Path, sql: str, job_ids: Sequence[str] | None) -> list[tuple[Any, ...]]:
    parameters = {"ids": None if job_ids is None else list(job_ids)}
    with reading(results) as connection:
        return connection.execute(sql, parameters).fetchall()


def attempt_contents(results: Path, attempt_ids: Sequence[str]) -> list[AttemptContents]:
    """Attempts in full, with curves, samples and per-example likelihoods.

    Args:
        attempt_ids: The attempts wanted.

    Returns:
        Those of them that the store has, oldest first.
    """
    with reading(results) as connection:
        return contents(connection, attempt_ids)


def per_example(results: Path, attempt_ids: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Test log-likelihoods, example by example.

    Args:
        attempt_ids: The attempts wanted.

    Returns:
        Log-likelihoods in nats, shape (N,), of those attempts that have them.
    """
    with reading(results) as connection:
        return likelihoods(connection, attempt_ids)


def stored_ids(connection: Connection) -> set[str]:
    """The ids of all attempts in the database."""
    return {attempt_id for (attempt_id,) in connection.execute(_ALL).fetchall()}


def records(
    connection: Connection, ids: Sequence[str] | None, *, chosen: str = _OF_IDS
) -> list[AttemptRow]:
    """Reads records back as they were written.

    Args:
        ids: The parameter ``$ids`` of ``chosen``.
        chosen: SQL that selects attempt ids.

    Returns:
        The records, oldest first.

    Raises:
        StoreError: The database was changed by others: it holds what none of ours is.
    """
    # DuckDB refuses a parameter that the text does not have.
    parameters = {"ids": None if ids is None else list(ids)} if "$ids" in chosen else {}
    rows = connection.execute(_RECORDS.replace("{chosen}", chosen), parameters).fetchall()
    try:
        return [AttemptRow.model_validate_json(text) for (text,) in rows]
    except ValidationError as exc:
        raise StoreError(
            f"the database holds no record: {first_line(exc)}; run `flowbench store rebuild`"
        ) from exc


def contents(connection: Connection, ids: Sequence[str]) -> list[AttemptContents]:
    """Reads attempts in full.

    Args:
        ids: Attempt ids.

    Returns:
        The attempts that there are, oldest first.
    """
    parameters = {"ids": list(ids)}
    curves = {
        attempt_id: _POINTS.validate_json(points)
        for attempt_id, points in connection.execute(_CURVES, parameters).fetchall()
    }
    artifacts: dict[str, list[Artifact]] = {}
    for attempt_id, *fields in connection.execute(_ARTIFACTS, parameters).fetchall():
        known = dict(zip(("name", "media_type", "content", "thumbnail"), fields, strict=True))
        artifacts.setdefault(attempt_id, []).append(Artifact(**known))
    log_prob = likelihoods(connection, ids)
    return [
        AttemptContents(
            record=record,
            curves=curves.get(record.attempt_id, ()),
            artifacts=tuple(artifacts.get(record.attempt_id, ())),
            log_prob=log_prob.get(record.attempt_id),
        )
        for record in records(connection, ids)
    ]


def likelihoods(connection: Connection, ids: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Per-example test log-likelihoods.

    Args:
        ids: Attempt ids.

    Returns:
        Log-likelihoods in nats, shape (N,), of those attempts that have them.
    """
    # As NumPy's arrays, not as a Python float for each example.
    columns = connection.execute(_LIKELIHOODS, {"ids": list(ids)}).fetchnumpy()
    return {
        str(attempt_id): np.asarray(values, dtype=np.float64)
        for attempt_id, values in zip(columns["attempt_id"], columns["log_prob"], strict=True)
    }


def measured_values(
    results: Path, job_ids: Sequence[str] | None = None, *, standing: bool = False
) -> pd.DataFrame:
    """Every measured value with its job and attempt, a row each, as pandas has it.

    Args:
        job_ids: Only these jobs; None takes all.
        standing: Only the attempt that stands for each job.

    Returns:
        The columns of the view ``results``; an attempt without values has one row without any.
    """
    chosen = f"attempt_id IN ({_STANDING})" if standing else "$ids IS NULL OR job_id IN (FROM ids)"
    sql = (
        "WITH ids AS (SELECT unnest($ids::VARCHAR[]) AS job_id) "
        f"SELECT * FROM results WHERE {chosen}"
    )
    ids = None if job_ids is None else list(job_ids)
    with reading(results) as connection:
        return connection.execute(sql, {"ids": ids}).df()


def query(results: Path, sql: str) -> QueryResult:
    """Runs one SELECT written by the user, cut off from files, network and settings.

    Args:
        sql: One statement that reads.

    Returns:
        All of its rows, in memory, and the names of its columns.

    Raises:
        StoreError: It is not exactly one SELECT, or DuckDB refuses it.
    """
    import duckdb

    with reading(results, sandbox=True) as connection:
        try:
            statements = connection.extract_statements(sql)
            # Even without external access DuckDB lets COPY write the database's own WAL file, so
            # the kind of statement is checked as well.
            if [s.type for s in statements] != [duckdb.StatementType.SELECT]:
                raise StoreError(
                    "expected one statement that reads: SELECT, FROM, WITH, DESCRIBE, SHOW or "
                    "SUMMARIZE; tables are results, jobs, attempts, measurements and curves"
                )
            cursor = connection.execute(statements[0])
            columns = tuple(column[0] for column in cursor.description or ())
            return QueryResult(columns=columns, rows=tuple(cursor.fetchall()))
        except duckdb.Error as exc:
            reason = " ".join(str(exc).split("\n\nLINE")[0].split())  # without the quoted text
            raise StoreError(f"the query was refused: {reason}") from exc


def export(results: Path, out: Path) -> Path:
    """Writes every measured value with its job and attempt, one row each.

    Args:
        out: File to write; its suffix (.csv, .parquet, .json) names the format.

    Returns:
        ``out``, complete or as it was before.

    Raises:
        StoreError: The format is not known, or the file cannot be written.
    """
    # Before anything is opened: a misspelt name must not leave an empty file.
    suffix = out.suffix.lower()
    if suffix not in _EXPORT_FORMATS:
        known = ", ".join(_EXPORT_FORMATS)
        raise StoreError(f"cannot export to {out.name!r}: expected a name that ends in {known}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place, so that the finished file can be renamed to it.
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
            part = Path(folder) / out.name
            # COPY takes no parameters, so the name is quoted by hand.
            target = str(part.absolute()).replace("'", "''")
            with reading(results) as connection:
                rows = _inert(connection) if suffix == ".csv" else "SELECT * FROM results"
                connection.execute(f"COPY ({rows}) TO '{target}' ({_EXPORT_FORMATS[suffix]})")
            part.replace(out)
    except OSError as exc:
        raise StoreError(
            f"cannot write {out}: {exc.strerror}; choose another place with --out"
        ) from exc
    return out


def _inert(connection: Connection) -> str:
    """SQL of the results whose texts begin no formula."""
    columns = connection.execute("DESCRIBE results").fetchall()
    texts = [f'"{name}"' for name, kind, *_ in columns if kind == "VARCHAR"]
    escaped = (
        f"if(regexp_matches({text}, '{_FORMULA}'), chr(39) || {text}, {text}) AS {text}"
        for text in texts
    )
    return f"SELECT * REPLACE ({', '.join(escaped)}) FROM results"
