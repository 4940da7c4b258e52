"""What turns images into features: torch-fidelity's networks, and whatever else is given.

Another extractor takes two steps, in any plugin package: a subclass of `Extractor`, and a
`MetricSpec` named ``fd-<its name>`` whose ``compute`` refers to a
`flowbench_metrics.fidelity.FrechetMetric` built on it.
"""

from __future__ import annotations

import functools
import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowbench.api import DataError, DataMissingError, DatasetInfo, RemoteFile
from flowbench_metrics.weights import check_published, find_weights, sha256_of

Network = Callable[[Tensor], tuple[Tensor, ...]]
"""Images (B, C, H, W) -> features (B, D), one tensor for each layer that was asked for."""


class Weights(NamedTuple):
    """A file of weights and its SHA-256."""

    path: Path
    sha256: str


class Extractor(ABC):
    """A network that turns images into features.

    Attributes:
        name: Its name, also in the names of values: ``fd-<name>``.
        layers: Number of features of each layer that is computed, by name.
        dtype: Precision of the network.
    """

    name: str
    layers: Mapping[str, int]
    dtype: str = "float32"

    @property
    @abstractmethod
    def library(self) -> str:
        """Whose code computes the features, with its version."""

    @abstractmethod
    def weights(self, data_dir: Path) -> Weights:
        """Finds the weights.

        Returns:
            The file and its hash.

        Raises:
            DataError: They are not here or not the right ones; becomes the reason of an
                unavailable value.
        """

    @abstractmethod
    def images(self, raw: Tensor, info: DatasetInfo) -> Tensor:
        """Raw integer levels (B, C, H, W) as the network takes them.

        Raises:
            DataError: It has no features of such images.
        """

    @abstractmethod
    def network(self, weights: Weights, device: torch.device) -> Network:
        """Builds the network on a device."""

    def protocol(self, info: DatasetInfo) -> dict[str, Any]:
        """What else two values must share: how raw levels became the network's input."""
        del info
        return {}


class TorchFidelityExtractor(Extractor):
    """A network that is registered with torch-fidelity; it takes RGB images of 8 bits.

    Grey images are replicated to RGB, other numbers of levels are stretched to 0..255, and
    torch-fidelity resizes images of any size as TensorFlow 1 did; the protocol says all three.

    Args:
        name: Its name here.
        registered: Its name with torch-fidelity.
        layers: Number of features of each layer, by torch-fidelity's names.
        file: Its published weights.
        prepare: Their name for ``flowbench data prepare``.
        size: Height and width in pixels that the network takes.
        published: Take no other weights. Values from others must say so in their names.
    """

    def __init__(
        self,
        name: str,
        registered: str,
        layers: Mapping[str, int],
        file: RemoteFile,
        prepare: str,
        *,
        size: int,
        published: bool = True,
    ) -> None:
        self.name, self.layers = name, layers
        self._registered, self._size = registered, size
        self._file, self._prepare, self._published = file, prepare, published

    @property
    def library(self) -> str:
        """torch-fidelity and its version."""
        return f"torch-fidelity {importlib.metadata.version('torch-fidelity')}"

    def weights(self, data_dir: Path) -> Weights:
        """Finds the weights; those that must be the published ones are held to their hash."""
        path = find_weights(self._file, self._prepare, data_dir)
        published = self._published
        return Weights(path, check_published(self._file, path) if published else sha256_of(path))

    def images(self, raw: Tensor, info: DatasetInfo) -> Tensor:
        """RGB of 8 bits.

        Raises:
            DataError: The images have neither one colour nor three.
        """
        levels = info.levels or 0
        if raw.shape[1] not in (1, 3) or levels < 2:
            raise DataError(f"{self.name} takes grey or RGB images, {info.name} has others")
        if levels != 256:
            raw = (raw.to(torch.float32) * (255.0 / (levels - 1))).round()
        return raw.to(torch.uint8).expand(-1, 3, -1, -1)

    def network(self, weights: Weights, device: torch.device) -> Network:
        """torch-fidelity's network with all of ``layers`` in one pass."""
        from torch_fidelity.utils import create_feature_extractor

        path = self._loadable(weights.path)
        network = create_feature_extractor(
            self._registered,
            list(self.layers),
            cuda=False,
            verbose=False,
            feature_extractor_weights_path=path,
        )
        return network.to(device)  # type: ignore[no-any-return]

    def _loadable(self, path: Path) -> str | None:
        """The path, once it is known that torch-fidelity's unpickling can run no code from it.

        Raises:
            DataError: The file holds more than tensors.
        """
        if self._published:  # its hash was checked
            return str(path)
        try:
            torch.load(path, map_location="meta", weights_only=True)
        except Exception as exc:  # whatever unpickling runs into
            raise DataError(
                f"{path} is no plain file of weights ({type(exc).__name__}); expected a state "
                f"dict like that of {self._file.name}"
            ) from exc
        return str(path)

    def protocol(self, info: DatasetInfo) -> dict[str, Any]:
        """How levels and colours became RGB of 8 bits, and those as large as the network takes."""
        grey = info.event_shape[0] == 1
        levels = info.levels
        return {
            "colours": "grey replicated to RGB" if grey else "RGB",
            "levels": "as they are" if levels == 256 else f"0..{(levels or 0) - 1} to 0..255",
            "resize": f"bilinear as in TensorFlow 1, to {self._size}x{self._size}",
        }


class DinoExtractor(TorchFidelityExtractor):
    """DINOv2, whose code torch.hub keeps; without a copy of it there nothing is downloaded."""

    REPOSITORY = "facebookresearch_dinov2_main"

    def weights(self, data_dir: Path) -> Weights:
        """Finds code and weights where torch.hub keeps them.

        Raises:
            DataMissingError: They are not there.
        """
        hub = Path(torch.hub.get_dir())
        path = hub / "checkpoints" / self._file.name
        if not (hub / self.REPOSITORY).is_dir() or not path.is_file():
            raise DataMissingError(
                f"dinov2 takes code and weights from {hub} and they are not there; with a "
                "network, run python -c \"import torch; torch.hub.load('facebookresearch/dinov2', "
                "'dinov2_vitl14')\""
            )
        return Weights(path, sha256_of(path))

    def _loadable(self, path: Path) -> None:
        """torch-fidelity finds these weights itself."""


@functools.lru_cache(maxsize=4)
def shared_network(extractor: Extractor, weights: Weights, device: torch.device) -> Network:
    """The network, built once in a process.

    Returns:
        The network.
    """
    return extractor.network(weights, device)
