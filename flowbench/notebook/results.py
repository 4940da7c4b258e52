"""Results as tables of pandas, and what a run came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowbench import paths
from flowbench.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from flowbench.notebook.board import Boards
    from flowbench.suite.schema import Suite

OF_JOB = (
    "job_id",
    "model",
    "preset",
    "dataset",
    "seed",
    "budget",
    "status",
    "steps",
    "charged_s",
    "num_parameters",
    "device",
    "num_threads",
    "started",
)


@dataclass(frozen=True, kw_only=True)
class Results:
    """What became of the jobs of one run; a notebook shows their board.

    Attributes:
        folder: The results folder.
        jobs: Their ids, in order.
        ok: Whether every job has a good result, and no metric failed.
        problems: What went wrong or is doubtful, a line each.
    """

    folder: Path
    jobs: tuple[str, ...]
    ok: bool
    problems: tuple[str, ...]
    suite: Suite

    def to_frame(self, *, wide: bool = False) -> pd.DataFrame:
        """Their results, as `flowbench.results` gives them."""
        return results(self.folder, jobs=self.jobs, wide=wide)

    def board(self) -> Boards:
        """Their board."""
        from flowbench.notebook.board import of_jobs

        return of_jobs(self.folder, self.jobs, self.suite)

    def __str__(self) -> str:
        return "\n".join([str(self.board()), *self.problems])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        lines = "".join(f"<div>{escape(line)}</div>" for line in self.problems)
        return self.board()._repr_html_() + lines


def results(
    results: str | Path | None = None, *, jobs: Sequence[str] | None = None, wide: bool = False
) -> pd.DataFrame:
    """What was measured, as a tidy table.

    Args:
        results: The results folder; by default FLOWBENCH_RESULTS or ``results``.
        jobs: Only these jobs, by their ids; by default all.
        wide: A row for each job, by the attempt that stands for it, with a column for each value;
            where one was measured on several splits, that on test.

    Returns:
        A row for each measured value of each attempt; failed attempts too, without a value.
    """
    from flowbench.store.queries import measured_values
    from flowbench.store.reconcile import readable

    with readable(paths.results_dir(Path(results) if results else None)) as folder:
        frame = measured_values(folder, jobs, standing=wide)
    return _wide(frame) if wide else frame


def _wide(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    first = frame.drop_duplicates("job_id").set_index("job_id")[list(OF_JOB[1:])]
    # The last wins: other splits first, that on test behind them.
    order = frame.assign(tested=frame["split"].eq("test").fillna(False))
    values = order.dropna(subset=["name"]).sort_values("tested", kind="stable")
    values = values.drop_duplicates(["job_id", "name"], keep="last")
    columns = list(frame["name"].dropna().unique())
    pivoted = values.pivot(index="job_id", columns="name", values="value").reindex(columns=columns)
    pivoted.columns.name = None
    return pd.concat([first, pivoted.reindex(first.index)], axis=1).reset_index()


def curves(job: str, *, results: str | Path | None = None) -> pd.DataFrame:
    """The looks at validation while a job trained.

    Args:
        job: A job's id, or how it alone begins, for its last attempt; or an attempt's id.
        results: The results folder; by default FLOWBENCH_RESULTS or ``results``.

    Returns:
        A row for each look: step, examples, charged seconds, part of the budget, mean training
        loss since the last one, validation bits or nats of raw and averaged weights, and what the
        model says beside its loss.

    Raises:
        StoreError: There is no such job, or more than one.
    """
    import pandas as pd

    from flowbench.store.queries import find_attempt
    from flowbench.store.reconcile import readable

    with readable(paths.results_dir(Path(results) if results else None)) as folder:
        found = find_attempt(folder, job)
    if not found.curves:
        raise StoreError(f"{found.record.attempt_id} has no curves: it ended before its first look")
    lines = [{**vars(point), **(point.info or {})} for point in found.curves]
    frame = pd.DataFrame(lines).drop(columns="info")
    return frame.dropna(axis="columns", how="all")
