"""Reference data of a distance: their features, and their moments, kept on disk between jobs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataSplits, Split, TrainedModel
from flowbench.api.specs import SplitName
from flowbench_metrics.extractors import Extractor, Weights
from flowbench_metrics.features import Features, batches_of_features, features_of, once
from flowbench_metrics.frechet import Moments, RunningMoments, moments

FOLDER = "statistics"  # within the data folder
MAX_KEPT = 50_000  # reference images whose features are held in memory
RECIPE = 2  # raised when the same key would name other numbers


class Reference:
    """One split of the data, seen through an extractor.

    The training split is that which was published, less the examples that test holds too: where
    the harness took validation examples off it, they count.

    Args:
        trained: The model, for its data and its device.
        data: The splits.
        split: Which of them.
    """

    def __init__(
        self,
        trained: TrainedModel,
        data: DataSplits,
        split: SplitName,
        extractor: Extractor,
        weights: Weights,
    ) -> None:
        self._trained, self._extractor, self._weights = trained, extractor, weights
        self.split = split
        self._owner: Split = data[split]
        self._parts = [self._owner.x]
        if split == "train" and data.validation_of_train and data.validation is not None:
            self._parts.append(data.validation.x)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def protocol(self) -> dict[str, Any]:
        """What two values must share of their reference: the split, and the data that it is of."""
        return {
            "reference": self.split,
            "num_reference": len(self),
            "reference_sha256": self._trained.data_sha256 or None,
        }

    def features(self) -> Features:
        """Features of the split; of `MAX_KEPT` images at even distances where it has more."""
        parts = evenly(self._parts, MAX_KEPT)
        return features_of(self._trained, self._extractor, self._weights, self._owner, parts)

    def moments(self, layer: str) -> Moments:
        """Moments of the whole split's features, from disk where they are known.

        Returns:
            The moments.
        """
        key = ("moments", self._extractor, self._weights, layer)
        return once(self._owner, key, lambda: self._stored_moments(layer))

    def _stored_moments(self, layer: str) -> Moments:
        if not self._trained.data_sha256:
            return self._compute(layer)
        facts = self._facts(layer)
        path = self._trained.data_dir / FOLDER / f"{_file_name(facts)}.npz"
        known = read_moments(path, facts)
        if known is None:
            known = self._compute(layer)
            write_moments(path, facts, known)
        return known

    def _compute(self, layer: str) -> Moments:
        if len(self) <= MAX_KEPT:
            return moments(self.features()[layer])
        running = RunningMoments()
        found = batches_of_features(self._trained, self._extractor, self._weights, self._parts)
        for batch in found:
            running.add(batch[layer])
        return running.result()

    def _facts(self, layer: str) -> dict[str, Any]:
        """All that the moments depend on."""
        return {
            "recipe": RECIPE,
            "dataset": self._trained.data.name,
            "dataset_sha256": self._trained.data_sha256,
            "split": self.split,
            "num_examples": len(self),
            "extractor": self._extractor.name,
            "layer": layer,
            "weights_sha256": self._weights.sha256,
            "dtype": self._extractor.dtype,
            "device": self._trained.device_kind,
            "library": self._extractor.library,
            **self._extractor.protocol(self._trained.data),
        }


def evenly(parts: Sequence[NDArray[Any]], most: int) -> list[NDArray[Any]]:
    """As many images, at even distances, as are wanted.

    Args:
        parts: Images that follow one another.
        most: How many are wanted.

    Returns:
        All of them if there are no more.
    """
    total = sum(map(len, parts))
    if total <= most:
        return list(parts)
    wanted = np.linspace(0, total - 1, most).astype(np.int64)
    ends = np.cumsum([len(part) for part in parts])
    starts = ends - [len(part) for part in parts]
    return [
        part[wanted[(wanted >= start) & (wanted < end)] - start]
        for part, start, end in zip(parts, starts, ends, strict=True)
    ]


def read_moments(path: Path, facts: dict[str, Any]) -> Moments | None:
    """Moments that an earlier job wrote.

    Args:
        path: Their file.
        facts: What they must be of.

    Returns:
        The moments; None if there are none, or the file is damaged or of something else.
    """
    damaged = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with contextlib.suppress(*damaged), path.open("rb") as source:
        arrays = np.load(source, allow_pickle=False)
        if str(arrays["facts"]) == _canonical(facts):
            return Moments(arrays["mean"], arrays["covariance"])
    return None


def write_moments(path: Path, facts: dict[str, Any], values: Moments) -> None:
    """Keeps moments for later jobs; of two writers at once, one leaves its whole file.

    A folder that cannot be written costs the next job time, and this one nothing.

    Args:
        path: Their file.
        facts: What they are of.
        values: The moments.
    """
    buffer = io.BytesIO()
    np.savez(buffer, mean=values.mean, covariance=values.covariance, facts=_canonical(facts))
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(buffer.getvalue())
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _file_name(facts: dict[str, Any]) -> str:
    digest = hashlib.sha256(_canonical(facts).encode()).hexdigest()[:16]
    readable = "-".join(str(facts[key]) for key in ("dataset", "split", "extractor", "layer"))
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in readable)[:100]
    return f"{safe}-{digest}"


def _canonical(facts: dict[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True)
