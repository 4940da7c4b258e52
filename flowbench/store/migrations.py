"""The schema, as a list of steps that only ever grows.

A step that has been released is never edited: a database remembers which steps it has been through.
A table's columns carry the names of the record's fields, so ingestion needs no second list of them.
There are no keys: one process writes, and it replaces whole attempts; DuckDB checks unique indexes
before deletes of the same transaction take effect, and loads slower with them.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from flowbench.errors import StoreDamagedError, StoreError, StoreNewerError
from flowbench.store import Connection

M001_ATTEMPTS = """
CREATE TABLE jobs (
    job_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    config JSON NOT NULL,
    dataset VARCHAR NOT NULL,
    dataset_sha256 VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    budget VARCHAR NOT NULL,
    protocol_version INTEGER NOT NULL,
    protocol JSON NOT NULL
);
CREATE TABLE attempts (
    attempt_id VARCHAR NOT NULL,
    job_id VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    preset VARCHAR NOT NULL,      -- what this attempt called the job's configuration:
    overrides JSON NOT NULL,      -- two names may lead to one job
    record_version INTEGER NOT NULL,
    status VARCHAR NOT NULL,
    reason VARCHAR,
    log_tail VARCHAR,
    started VARCHAR NOT NULL,
    ended VARCHAR NOT NULL,
    device_kind VARCHAR,
    device_name VARCHAR,
    num_devices INTEGER NOT NULL,
    num_threads INTEGER,
    steps BIGINT NOT NULL,
    examples BIGINT NOT NULL,
    skipped_steps BIGINT NOT NULL,
    charged_s DOUBLE NOT NULL,
    wall_s DOUBLE NOT NULL,
    ledger JSON NOT NULL,
    num_parameters BIGINT,
    weights VARCHAR,
    best_step BIGINT,
    likelihood JSON,
    data JSON NOT NULL,
    code_sha256 VARCHAR,
    provenance JSON NOT NULL
);
CREATE TABLE measurements (
    attempt_id VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    metric VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    value DOUBLE,
    unit VARCHAR NOT NULL,
    direction VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    reason VARCHAR,
    split VARCHAR,
    n BIGINT,
    stderr DOUBLE,
    protocol JSON NOT NULL
);
CREATE TABLE curves (
    attempt_id VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    step BIGINT NOT NULL,
    examples BIGINT NOT NULL,
    charged_s DOUBLE NOT NULL,
    progress DOUBLE NOT NULL,
    loss DOUBLE,
    bpd DOUBLE,
    bpd_ema DOUBLE,
    nll DOUBLE,
    nll_ema DOUBLE
);
CREATE TABLE samples (attempt_id VARCHAR NOT NULL, png BLOB NOT NULL);
CREATE TABLE likelihoods (attempt_id VARCHAR NOT NULL, log_prob DOUBLE[] NOT NULL);

-- One row a measured value, with what a reader of SQL asks about it.
CREATE VIEW results AS
SELECT
    j.job_id, a.attempt_id, a.number AS attempt, j.model, a.preset, j.dataset, j.seed, j.budget,
    a.status, a.reason, a.device_name AS device, a.num_threads, a.steps, a.charged_s,
    a.num_parameters, a.started, m.metric, m.name, m.value, m.unit, m.direction, m.split, m.n,
    m.stderr, m.status AS value_status, m.reason AS value_reason, m.protocol
FROM attempts a
JOIN jobs j USING (job_id)
LEFT JOIN measurements m USING (attempt_id)
ORDER BY j.dataset, j.model, a.preset, j.seed, a.attempt_id, m.position;
"""

M002_CHECKS = """
CREATE TABLE checks (
    kind VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    plugin VARCHAR NOT NULL,
    plugin_version VARCHAR NOT NULL,
    flowbench_version VARCHAR NOT NULL,
    code_sha256 VARCHAR NOT NULL,
    ended VARCHAR NOT NULL,
    seconds DOUBLE NOT NULL,
    checks JSON NOT NULL
);
"""

M003_MODEL_CODE = "ALTER TABLE attempts ADD COLUMN model_code_sha256 VARCHAR"

M004_PRESENTATION = """
ALTER TABLE measurements ADD COLUMN label VARCHAR;
ALTER TABLE measurements ADD COLUMN short VARCHAR;
ALTER TABLE measurements ADD COLUMN role VARCHAR;
ALTER TABLE measurements ADD COLUMN scale VARCHAR;
ALTER TABLE measurements ADD COLUMN decimals INTEGER;
"""

M005_OWN_CODE = """
ALTER TABLE attempts ADD COLUMN core_code VARCHAR;
ALTER TABLE attempts ADD COLUMN model_code VARCHAR;
ALTER TABLE attempts ADD COLUMN dataset_code VARCHAR;
ALTER TABLE measurements ADD COLUMN code VARCHAR;
"""

M006_LOOKS = "ALTER TABLE attempts ADD COLUMN looks JSON"

M007_LOAD = """
ALTER TABLE attempts ADD COLUMN run_delay_s DOUBLE;
ALTER TABLE attempts ADD COLUMN load JSON;
"""

M008_TRAINING_PARAMETERS = "ALTER TABLE attempts ADD COLUMN num_parameters_training BIGINT"

M009_SHOWN = """
CREATE OR REPLACE VIEW results AS
SELECT
    j.job_id, a.attempt_id, a.number AS attempt, j.model, a.preset, j.dataset, j.seed, j.budget,
    a.status, a.reason, a.device_name AS device, a.num_threads, a.steps, a.charged_s,
    a.num_parameters, a.started, m.metric, m.name, m.value, m.unit, m.direction, m.split, m.n,
    m.stderr, m.status AS value_status, m.reason AS value_reason, m.protocol, m.label, m.short,
    m.role, m.scale, m.decimals
FROM attempts a
JOIN jobs j USING (job_id)
LEFT JOIN measurements m USING (attempt_id)
ORDER BY j.dataset, j.model, a.preset, j.seed, a.attempt_id, m.position;
"""

M010_REFUTES = f"""
ALTER TABLE measurements ADD COLUMN refutes VARCHAR;
{M009_SHOWN.replace("m.decimals", "m.decimals, m.refutes")}
"""

M011_INFO = "ALTER TABLE curves ADD COLUMN info JSON"

M012_SOURCES = """
-- The files that all else was read from, as they were then.
CREATE TABLE sources (path VARCHAR NOT NULL, stamp VARCHAR NOT NULL);
"""

M013_ARTIFACTS = """
CREATE TABLE artifacts (
    attempt_id VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    media_type VARCHAR NOT NULL,
    content BLOB NOT NULL,
    thumbnail BLOB
);
INSERT INTO artifacts SELECT attempt_id, 0, 'samples', 'image/png', png, NULL FROM samples;
DROP TABLE samples;
"""

# Beside the preset: what an attempt called the model, and no part of what was asked for.
M014_FAMILY = f"""
ALTER TABLE attempts ADD COLUMN family VARCHAR;
{M009_SHOWN.replace("m.decimals", "m.decimals, m.refutes, a.family")}
"""

_SHOWN_OF_SWEEPS = "m.decimals, m.refutes, a.family, a.overrides, a.trial, a.tuning"
M015_TUNING = f"""
ALTER TABLE attempts ADD COLUMN trial JSON;
ALTER TABLE attempts ADD COLUMN tuning JSON;
{M009_SHOWN.replace("m.decimals", _SHOWN_OF_SWEEPS)}
"""

STEPS = (
    M001_ATTEMPTS,
    M002_CHECKS,
    M003_MODEL_CODE,
    M004_PRESENTATION,
    M005_OWN_CODE,
    M006_LOOKS,
    M007_LOAD,
    M008_TRAINING_PARAMETERS,
    M009_SHOWN,
    M010_REFUTES,
    M011_INFO,
    M012_SOURCES,
    M013_ARTIFACTS,
    M014_FAMILY,
    M015_TUNING,
)
SCHEMA_VERSION = len(STEPS)
TABLES_BY_ATTEMPT = ("attempts", "measurements", "curves", "artifacts", "likelihoods")


def migrate(connection: Connection, path: Path) -> None:
    """Brings a database to the current schema, wholly or not at all.

    Args:
        path: Where the database is, for messages.

    Raises:
        StoreError: It is of a newer schema, or not one of flowbench's.
        StoreDamagedError: Parts of it are missing.
    """
    import duckdb

    # One transaction: a commit waits for the disk, and costs more than a step.
    connection.execute("BEGIN")
    # Only in an empty file: a DuckDB of somebody else's must stay as it is.
    if not _tables(connection):
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
    found = _version(connection, path)
    for number, step in enumerate(STEPS[found:], start=found + 1):
        try:
            connection.execute(step)
        except duckdb.CatalogException as exc:
            raise StoreDamagedError(
                f"{path} is damaged (its tables are not those of schema {number - 1})"
            ) from exc
        connection.execute("INSERT INTO schema_version VALUES (?)", [number])
    connection.execute("COMMIT")
    _check_whole(connection, path)


def check_current(connection: Connection, path: Path) -> None:
    """Refuses a database whose schema is not the current one.

    Args:
        connection: A connection that need not write.
        path: Where the database is, for messages.

    Raises:
        StoreError: The schema is older or newer.
        StoreDamagedError: Parts of it are missing.
    """
    found = _version(connection, path)
    if found < SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema {found}, this flowbench reads schema {SCHEMA_VERSION}; "
            f"run `flowbench store migrate --results {shlex.quote(str(path.parent))}`"
        )
    _check_whole(connection, path)


def _version(connection: Connection, path: Path) -> int:
    tables = _tables(connection)
    if "schema_version" not in tables and not {"jobs", "attempts"} <= tables:
        raise StoreError(
            f"{path} is a DuckDB file, but not one of flowbench's; move it away or name another "
            "folder with --results"
        )
    if "schema_version" not in tables:
        raise StoreDamagedError(f"{path} is damaged (it does not say its version)")
    row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    found = int(row[0]) if row else 0
    if found < 0 or (found == 0 and len(tables) > 1):
        raise StoreDamagedError(f"{path} is damaged (it does not say its version)")
    if found > SCHEMA_VERSION:
        raise StoreNewerError(
            f"{path} has schema {found}, this flowbench knows schemas up to {SCHEMA_VERSION}; "
            "upgrade flowbench"
        )
    return found


def _check_whole(connection: Connection, path: Path) -> None:
    steps = " ".join(STEPS)
    made = set(re.findall(r"CREATE (?:TABLE|OR REPLACE VIEW) (\w+)", steps))
    made -= set(re.findall(r"DROP TABLE (\w+)", steps))
    if missing := sorted(made - _tables(connection)):
        raise StoreDamagedError(f"{path} is damaged (no {', '.join(missing)} in it)")


def _tables(connection: Connection) -> set[str]:
    return {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
