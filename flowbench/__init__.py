"""flowbench: the benchmark harness for normalizing flows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowbench.evaluation.trained import EvaluatedModel

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(
    job_id: str,
    *,
    results: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "cpu",
) -> EvaluatedModel:
    """Loads a trained model back.

    Args:
        job_id: The job, as ``flowbench results list`` shows it.
        results: The results folder; by default FLOWBENCH_RESULTS or ``results``.
        data_dir: Where prepared datasets are; by default FLOWBENCH_DATA or the user's cache.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The model in eval mode, in its harness: ``.model``, ``.samples()``, ``.likelihood("test")``.
    """
    from flowbench import paths
    from flowbench.runner.load import load_job

    return load_job(
        job_id,
        paths.results_dir(Path(results) if results else None),
        device=device,
        data_dir=paths.data_dir(Path(data_dir) if data_dir else None),
    )
