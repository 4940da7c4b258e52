"""Small data for the tests."""

from __future__ import annotations

from flowbench.api import DatasetInfo


def images(channels: int, height: int, width: int, levels: int | None) -> DatasetInfo:
    """Facts of images."""
    return DatasetInfo(
        name="some-images",
        modality="image",
        event_shape=(channels, height, width),
        levels=levels,
        num_train=64,
        num_validation=8,
        num_test=8,
    )


def vectors(num_dims: int) -> DatasetInfo:
    """Facts of real vectors."""
    return DatasetInfo(
        name="some-vectors",
        modality="vector",
        event_shape=(num_dims,),
        levels=None,
        num_train=64,
        num_validation=8,
        num_test=8,
    )
