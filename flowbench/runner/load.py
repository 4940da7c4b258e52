"""A finished job back in Python."""

from __future__ import annotations

from pathlib import Path

from flowbench.data.preprocess import Preprocessor
from flowbench.errors import StoreError, unknown_name
from flowbench.evaluation.harness import Harness
from flowbench.evaluation.trained import EvaluatedModel
from flowbench.provenance import processor_name
from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.build import build_model, load_dataset
from flowbench.runner.attempt import MODEL, ResultsDir
from flowbench.runner.kept_model import take_model
from flowbench.runner.setup import evaluation_settings
from flowbench.training.device import Device


def load_job(
    job_id: str,
    results: Path,
    *,
    device: str = "cpu",
    data_dir: Path,
    plugins: PluginSelection | None = None,
) -> EvaluatedModel:
    """Loads the trained model of a job, with its data and protocol.

    Args:
        job_id: The job, as ``flowbench results list`` shows it, or how it alone begins.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        plugins: Which plugins to load; by default all, as the command line does.

    Returns:
        The model in eval mode, in its harness: ``.model``, ``.samples()``, ``.likelihood("test")``.
        The harness computes in float32, without TF32; ``.model`` itself as torch is set.

    Raises:
        StoreError: There is no such job, or none of its attempts kept its weights.
    """
    folder = ResultsDir(results)
    job_id = _whole(job_id, folder)
    attempts = folder.attempts(job_id)
    trained = [attempt for attempt in attempts if (attempt.path / MODEL).exists()]
    if not trained:
        raise StoreError(f"no attempt at {job_id!r} kept trained weights; run the job again")
    attempt = trained[-1]
    job = attempt.order().job
    registry = load_registry(plugins or PluginSelection.from_environment())
    data = load_dataset(registry, job.dataset, data_dir)
    chosen = Device.select(device, processor_name())
    model = build_model(registry, job.model, job.config, data.info).to(chosen.torch_device)
    preprocessor = Preprocessor(model.config.preprocessing, data.info, chosen.torch_device)
    outcome = take_model(attempt.path / MODEL, model, preprocessor)
    harness = Harness(
        preprocessor=preprocessor,
        splits=data.splits,
        settings=evaluation_settings(job),
        data_sha256=data.sha256,
        data_dir=data_dir,
        synchronize=chosen.synchronize,
        numerics=lambda: chosen.numerics("float32"),
    )
    return EvaluatedModel(model, harness, outcome.cost, outcome.weights)


def _whole(job_id: str, folder: ResultsDir) -> str:
    """The id of the one job that is called so, or begins so.

    Raises:
        StoreError: There is none, or more than one.
    """
    known = sorted(p.name for p in folder.runs.iterdir()) if folder.runs.is_dir() else []
    found = [name for name in known if job_id and name.startswith(job_id)]
    if job_id in found:
        return job_id
    if not found:
        raise StoreError(unknown_name("job", job_id, known, "flowbench results list"))
    if len(found) > 1:
        raise StoreError(
            f"{job_id!r} fits {len(found)} jobs: {', '.join(found[:5])}; give more of the id"
        )
    return found[0]
