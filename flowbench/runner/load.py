"""A finished job back in Python."""

from __future__ import annotations

from pathlib import Path

from flowbench.data.preprocess import Preprocessor
from flowbench.errors import StoreError
from flowbench.evaluation.harness import Harness
from flowbench.evaluation.trained import EvaluatedModel
from flowbench.provenance import processor_name
from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.build import build_model, load_dataset
from flowbench.runner.attempt import MODEL, ResultsDir
from flowbench.runner.kept_model import take_model
from flowbench.runner.setup import evaluation_settings, target_density
from flowbench.store.job_ids import whole_job_id
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
        plugins: Which plugins to load; by default all, as the command line does, and the plugin
            files that the job had.

    Returns:
        The model in eval mode, in its harness: ``.model``, ``.samples()``, ``.likelihood("test")``.
        The harness computes in float32, without TF32; ``.model`` itself as torch is set.

    Raises:
        StoreError: There is no such job, or none of its attempts kept its weights.
    """
    folder = ResultsDir(results)
    known = (path.name for path in folder.runs.iterdir()) if folder.runs.is_dir() else ()
    job_id = whole_job_id(job_id, known)
    attempts = folder.attempts(job_id)
    trained = [attempt for attempt in attempts if (attempt.path / MODEL).exists()]
    if not trained:
        raise StoreError(f"no attempt at {job_id!r} kept trained weights; run the job again")
    # The last: it may have gone on from the others.
    attempt = trained[-1]
    job = attempt.order().job
    # The plugins of now: weights hold no code, and a class that changed since may refuse them.
    files = attempt.plugin_files()
    registry = load_registry(plugins or PluginSelection.from_environment(files=files))
    data = load_dataset(registry, job.dataset, data_dir)
    chosen = Device.select(device, processor_name())
    model = build_model(registry, job.model, job.config, data.info)
    model = chosen.place(model, channels_last=model.config.training.channels_last)
    preprocessor = Preprocessor(model.config.preprocessing, data.info, chosen.torch_device)
    outcome = take_model(attempt.path / MODEL, model, preprocessor)
    harness = Harness(
        preprocessor=preprocessor,
        splits=data.splits,
        target=target_density(registry, data.info, preprocessor),
        settings=evaluation_settings(job),
        window=model.config.training.window,
        data_sha256=data.sha256,
        data_dir=data_dir,
        synchronize=chosen.synchronize,
        numerics=lambda: chosen.numerics("float32"),
    )
    return EvaluatedModel(model, harness, outcome.cost, outcome.weights)
