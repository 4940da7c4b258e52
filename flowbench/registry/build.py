"""Names -> things: a dataset's checked splits, a model built from its stored configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbench.api.config import ModelConfig
from flowbench.api.specs import DatasetInfo
from flowbench.data.splits import LoadedData, load_splits, not_readable_yet
from flowbench.errors import DataError
from flowbench.registry.configs import config_class
from flowbench.registry.registry import Registry

if TYPE_CHECKING:
    from flowbench.api.models import GenerativeModel


def load_dataset(registry: Registry, dataset: str, data_dir: str | Path) -> LoadedData:
    """Loads and checks a dataset.

    Args:
        registry: The loaded plugins.
        dataset: Its name.
        data_dir: Where prepared datasets are.

    Returns:
        The checked data.

    Raises:
        DataError: flowbench cannot read this dataset yet.
    """
    entry = registry.dataset(dataset)
    if entry.spec.load is None:
        raise DataError(str(not_readable_yet(entry.spec)))
    return load_splits(entry.spec, entry.resolve(entry.spec.load), Path(data_dir))


def build_model(
    registry: Registry, name: str, config: dict[str, Any], info: DatasetInfo
) -> GenerativeModel:
    """Builds a model from its stored configuration.

    Args:
        registry: The loaded plugins.
        name: The model.
        config: Its resolved configuration.
        info: The dataset.

    Returns:
        The model, on the current default device.
    """
    entry = registry.model(name)
    resolved: ModelConfig = config_class(entry).model_validate(config)
    model: GenerativeModel = entry.resolve(entry.spec.model)(resolved, info)
    return model


def count_parameters(model: GenerativeModel) -> int:
    """Trainable parameters.

    Args:
        model: The model.

    Returns:
        Their number.
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
