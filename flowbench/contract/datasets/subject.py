"""A dataset with its loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flowbench.api.data import DataSplits
from flowbench.api.specs import DatasetSpec
from flowbench.registry.containment import Kept
from flowbench.training.seeds import seed_globals


@dataclass(frozen=True, kw_only=True)
class DatasetSubject:
    """What the checks of datasets look at.

    Attributes:
        spec: What the dataset says of itself.
        loader: The function that reads it.
        data_dir: Folder of prepared data.
    """

    spec: DatasetSpec
    loader: Callable[[Path], DataSplits]
    data_dir: Path

    @cached_property
    def splits(self) -> DataSplits:
        """What the loader gives, read once."""
        return self.loader(self.data_dir)

    def load_again(self) -> tuple[DataSplits, Kept]:
        """Reads the data under other global seeds, with the generators as they were before."""
        seed_globals()
        before = Kept.generators()
        return self.loader(self.data_dir), before
