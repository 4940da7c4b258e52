"""Models of ours in their harness, trained for a few steps."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from flowbench.api import Batch, MetricSettings
from flowbench.contract.models.brief_training import train
from flowbench.data.library.splits import LoadedData, load_splits
from flowbench.data.preprocess import Preprocessor
from flowbench.evaluation.harness import Harness
from flowbench.evaluation.trained import EvaluatedModel, TrainingCost
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.registry.build import build_model
from flowbench.registry.configs import configure

COST = TrainingCost(
    device_name="",
    device_kind="cpu",
    num_devices=1,
    ledger={},
    charged_s=1.0,
    peak_memory=(None, ""),
)


@cache
def registry() -> Registry:
    return load_registry(PluginSelection(only=("flowbench",)))


@cache
def loaded(dataset: str) -> LoadedData:
    entry = registry().dataset(dataset)
    return load_splits(entry.spec, entry.resolve(str(entry.spec.load)), Path())


@cache
def trained(choice: str, dataset: str, num_steps: int) -> EvaluatedModel:
    """A model in its harness after some steps of training; 0 leaves it as it was initialised."""
    data, name = loaded(dataset), choice.partition(":")[0]
    config = configure(registry(), choice, data.info, {}).config.model_dump(mode="json")
    torch.manual_seed(0)
    model = build_model(registry(), name, config, data.info)
    preprocessor = Preprocessor(model.config.preprocessing, data.info)
    preprocessor.fit(data.splits.train)
    noise = torch.Generator().manual_seed(0)
    first = data.splits.train.take(np.arange(256))
    with torch.no_grad():
        x, _ = preprocessor.forward(torch.from_numpy(first.x), noise)
        context = {key: torch.from_numpy(values) for key, values in first.context.items()}
        model.initialize(Batch(x=x, context=context), generator=noise)
    if num_steps:
        train(model, preprocessor, data.splits.train, num_steps, limit_s=60.0)
    settings = MetricSettings(eval_draws=1)
    harness = Harness(preprocessor=preprocessor, splits=data.splits, settings=settings)
    return EvaluatedModel(model.eval(), harness, COST)
