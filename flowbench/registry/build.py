"""Names -> things: a dataset's checked splits, a model built from its stored configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbench.api.config import ModelConfig
from flowbench.api.specs import DatasetInfo
from flowbench.api.training import training_as_version_2
from flowbench.data.library.folder import folder_converter, is_folder
from flowbench.data.library.manifest import Manifest
from flowbench.data.library.prepare import prepare
from flowbench.data.library.splits import LoadedData, load_prepared, load_splits, not_readable_yet
from flowbench.errors import ConfigError, DataError
from flowbench.registry.configs import config_class, undequantized
from flowbench.registry.registry import Registry

if TYPE_CHECKING:
    from flowbench.api.models import GenerativeModel


def load_dataset(registry: Registry, dataset: str, data_dir: str | Path) -> LoadedData:
    """Loads and checks a dataset.

    Args:
        dataset: Its name, or ``folder:PATH?size=64`` or ``folder-audio:PATH``; such a folder is
            converted when it is first used, since all that it needs is there.
        data_dir: Where prepared datasets are.

    Returns:
        The checked data.

    Raises:
        DataMissingError: It is not prepared.
        DataError: flowbench cannot read this dataset yet, or its data are damaged.
    """
    entry, folder = registry.dataset(dataset), Path(data_dir)
    # All that it needs is on this machine, so nobody has to ask for it in a step of its own.
    if is_folder(entry.spec.name):
        prepare_dataset(registry, dataset, folder)
    if entry.spec.convert is not None:
        return load_prepared(entry.spec, folder)
    if entry.spec.load is None:
        raise DataError(str(not_readable_yet(entry.spec)))
    return load_splits(entry.spec, entry.resolve(entry.spec.load), folder)


def prepare_dataset(
    registry: Registry,
    dataset: str,
    data_dir: Path,
    *,
    given: Path | None = None,
    offline: bool = False,
) -> Manifest | None:
    """Prepares a dataset, unless that is done.

    Args:
        data_dir: Where prepared datasets are.
        given: Folder with files that the user has.
        offline: Refuse to use the network.

    Returns:
        The manifest; None for a dataset that needs no preparation.

    Raises:
        DataError: A file cannot be had, or the data are not what the spec says.
    """
    entry = registry.dataset(dataset)
    if entry.spec.convert is None:
        if entry.spec.load is None:
            raise DataError(str(not_readable_yet(entry.spec)))
        return None
    named = is_folder(entry.spec.name)
    convert = folder_converter(dataset) if named else entry.resolve(entry.spec.convert)
    return prepare(entry.spec, convert, data_dir, given=given, offline=offline)


def build_model(
    registry: Registry, name: str, config: dict[str, Any], info: DatasetInfo
) -> GenerativeModel:
    """Builds a model from its stored configuration.

    Returns:
        The model, on the current default device.

    Raises:
        ConfigError: Its likelihood would be no probability of the data.
    """
    from flowbench.api.models import DensityModel  # planning, which imports this, needs no torch

    entry = registry.model(name)
    resolved: ModelConfig = config_class(entry).model_validate(training_as_version_2(config))
    model: GenerativeModel = entry.resolve(entry.spec.model)(resolved, info)
    # After the model is built, since only its class tells whether it has a density: a GAN's
    # integers need no noise.
    problem = undequantized(resolved, info) if isinstance(model, DensityModel) else None
    if problem is not None:
        raise ConfigError(f"{name} on {info.name}: {problem}")
    return model
