"""The files of weights that metrics need: found by name, downloaded or taken from the user."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from flowbench.api.specs import WEIGHTS_FOLDER, MetricSpec, RemoteFile
from flowbench.data.library.download import check_file, fetch_file
from flowbench.errors import DataError
from flowbench.paths import WEIGHTS
from flowbench.registry.registry import Registry


def weight_files(registry: Registry) -> dict[str, RemoteFile]:
    """All files of weights that the registered metrics name.

    Returns:
        Files by the name that ``flowbench data prepare`` takes.
    """
    return {
        name: file
        for entry in registry.metrics.values()
        for name, file in entry.spec.weights.items()
    }


def weights_here(spec: MetricSpec, data_dir: Path) -> bool:
    """Whether a metric that takes weights may now find them.

    Args:
        data_dir: Folder of prepared data.

    Returns:
        True if the user names a place of weights or they are prepared; False for a metric that
        takes none.
    """
    folder = data_dir / WEIGHTS_FOLDER
    prepared = all((folder / file.name).is_file() for file in spec.weights.values())
    # What a user names may hold only some of them; the metric itself says which is missing.
    return bool(spec.weights) and (prepared or bool(os.environ.get(WEIGHTS)))


def prepare_weights(
    registry: Registry,
    name: str,
    data_dir: Path,
    *,
    given: Path | None = None,
    offline: bool = False,
) -> Path:
    """Puts a file of weights where metrics look for it, unless it is there.

    Args:
        name: The name of the weights.
        data_dir: Folder of prepared data.
        given: The file, or a folder that holds it under its published name.
        offline: Refuse to use the network.

    Returns:
        Its path.

    Raises:
        DataError: It cannot be had, or is not what was published.
    """
    file = weight_files(registry)[name]
    folder = data_dir / WEIGHTS_FOLDER
    if given is not None:
        _copy(file, given / file.name if given.is_dir() else given, folder)
    retry = f"flowbench data prepare {name} --data-dir {shlex.quote(str(data_dir))}"
    return fetch_file(file, folder, offline=offline, retry=retry)


def _copy(file: RemoteFile, source: Path, folder: Path) -> None:
    if not source.is_file():
        raise DataError(f"--from names {source}, which is no file; expected {file.name}")
    # Before it is copied: in the folder of weights a wrong file would be found again each time.
    check_file(file, source)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{file.name}.part"
    shutil.copyfile(source, partial)
    partial.replace(folder / file.name)
