"""Rows compared and trained models loaded back, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowbench import paths

if TYPE_CHECKING:
    import pandas as pd

    from flowbench.evaluation.trained import EvaluatedModel


def compare(
    a: str, b: str, *, dataset: str | None = None, results: str | Path | None = None
) -> pd.DataFrame:
    """Compares two rows: A less B for each value, paired by seed.

    Args:
        a: A row as boards name it, ``model`` or ``model:preset``; or how the id of one of its jobs
            begins.
        b: The other.
        dataset: Only on this dataset; by default all that both ran on alike.
        results: The results folder; by default FLOWBENCH_RESULTS or ``results``.

    Returns:
        A line for each value of each comparison: means, difference (a ratio on a log scale) with
        its interval, p-values, verdict, seeds needed.
    """
    import pandas as pd

    from flowbench.leaderboard.compare import compare_rows

    folder = paths.results_dir(Path(results) if results else None)
    found = compare_rows(folder, a, b, dataset)
    return pd.DataFrame([record for one in found for record in one.records()])


def load(
    job_id: str,
    *,
    results: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "cpu",
) -> EvaluatedModel:
    """Loads a trained model back.

    Args:
        job_id: The job, as ``flowbench results list`` shows it, or how its id alone begins.
        results: The results folder; by default FLOWBENCH_RESULTS or ``results``.
        data_dir: Where prepared datasets are; by default FLOWBENCH_DATA or the user's cache.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The model in eval mode, in its harness: ``.model``, ``.samples()``, ``.likelihood("test")``.
    """
    from flowbench.runner.load import load_job

    return load_job(
        job_id,
        paths.results_dir(Path(results) if results else None),
        device=device,
        data_dir=paths.data_dir(Path(data_dir) if data_dir else None),
    )
