"""Chooses what goes into a bundle: rows of a results folder, trimmed as for a board."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flowbench.errors import StoreError
from flowbench.leaderboard.build.evidence import Method, methods
from flowbench.leaderboard.keep import trimmed
from flowbench.leaderboard.publish import read_source
from flowbench.store.bundles import PLUGINS, Bundle, write_bundle
from flowbench.store.reconcile import readable
from flowbench.store.records import AttemptRow


def submit(
    results: Path,
    out: Path,
    *,
    name: str,
    by: str = "",
    jobs: Sequence[str] = (),
    model: str | None = None,
    dataset: str | None = None,
) -> Bundle:
    """Writes the rows that are meant, with all their seeds that were run, as a bundle.

    Args:
        results: The results folder.
        out: Folder of the bundle.
        name: Its name.
        by: Who submits it.
        jobs: Only these, by how their ids begin.
        model: Only this model, or ``model:preset``.
        dataset: Only this dataset.

    Raises:
        StoreError: Nothing is meant, or the bundle cannot be written.
    """
    with readable(results) as folder:
        source = read_source(folder)
        meant = [r for r in source.records if _is_meant(r, jobs, model, dataset)]
        if not meant:
            raise StoreError(
                f"nothing of that kind in {results} to submit; see `flowbench results list`"
            )
        rows = methods(meant, {})
        return write_bundle(
            out,
            name=name,
            by=by,
            attempts=[attempt for row in rows for attempt in trimmed(folder, row)],
            checks=list({c.name: c for c in map(source.check_of, rows) if c}.values()),
            plugin_files=_plugin_files(results, rows),
        )


def _is_meant(
    record: AttemptRow, jobs: Sequence[str], model: str | None, dataset: str | None
) -> bool:
    job = record.job
    return (
        record.status != "skipped"
        and (not jobs or any(record.attempt_id.startswith(one) for one in jobs))
        and model in (None, job.model, f"{job.model}:{job.preset}")
        and dataset in (None, job.dataset)
    )


def _plugin_files(results: Path, rows: Sequence[Method]) -> dict[str, bytes]:
    """The plugin files that the runs loaded, by name.

    Raises:
        StoreError: Two runs had different files of one name.
    """
    found: dict[str, bytes] = {}
    for record in (record for row in rows for record in row.records):
        folder = results / "runs" / record.job.job_id / str(record.number) / PLUGINS
        for path in sorted(folder.glob("*.py")):
            content = path.read_bytes()
            if found.setdefault(path.name, content) != content:
                raise StoreError(
                    f"runs loaded different files {path.name}; run all with the last one, or "
                    "submit them apart (--model, or ids of jobs)"
                )
    return found
