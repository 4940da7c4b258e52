"""What became of attempts: a record of each, and that in the database."""

from __future__ import annotations

from collections.abc import Callable

from flowbench.errors import StoreError, text_of
from flowbench.runner.attempt import AttemptDir, ResultsDir
from flowbench.runner.obituary import bare_record
from flowbench.store.attempt_files import RECORD
from flowbench.store.reconcile import reconcile, stamp
from flowbench.store.records import AttemptRow, JobRow

INGEST_WAIT_S = 1.0  # nobody looks after the workers meanwhile


class Outcomes:
    """Sees to it that every attempt leaves a record.

    Args:
        warn: Takes what goes wrong, in a line.
    """

    def __init__(self, results: ResultsDir, warn: Callable[[str], None]) -> None:
        self._results, self._warn = results, warn
        self._unwritten: list[tuple[AttemptDir, AttemptRow]] = []
        self._is_behind = False

    def of(
        self, job: JobRow, attempt: AttemptDir, obituary: Callable[[], AttemptRow]
    ) -> AttemptRow:
        """The record of an attempt that has ended.

        One that cannot be read stays as it is, and is a failure to this run.

        Args:
            obituary: Makes that of an attempt which wrote none.
        """
        try:
            record = attempt.record()
        except StoreError as exc:
            return bare_record(job, attempt.number, "crashed", str(exc))
        if record is None:
            record = obituary()
            self._unwritten.append((attempt, record))
            self.write_what_is_left()
        return record

    def write_what_is_left(self, *, last: bool = False) -> None:
        """Writes records that could not be written before, e.g. since the disk was full.

        Args:
            last: There is no later.
        """
        for attempt, record in list(self._unwritten):
            try:
                attempt.write_record(record)
            except OSError as exc:
                # What happened to a folder that is gone, or for good, is at least told.
                if last or not attempt.path.exists():
                    self._unwritten.remove((attempt, record))
                    why = text_of(exc)
                    self._warn(f"{record.attempt_id}: its record is not kept: {why}")
            else:
                self._unwritten.remove((attempt, record))
                self.show(attempt)

    def show(self, attempt: AttemptDir) -> None:
        """Shows an attempt in the database as soon as it has ended."""
        results = self._results.path
        path = str((attempt.path / RECORD).relative_to(results))
        try:
            only = {path: stamp(results / path)}
            reconcile(results, report=self._warn, wait_s=INGEST_WAIT_S, only=only)
        except (StoreError, OSError) as exc:
            # Whoever reads next brings it in: nothing is lost by a database that is in use.
            if not self._is_behind:
                self._warn(f"{exc}; the attempts themselves are safe")
            self._is_behind = True
