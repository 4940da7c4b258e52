"""Data as they pass between datasets, the harness and metrics: NumPy arrays, never tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeVar

from flowbench.api.specs import SplitName
from flowbench.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """Examples of different lengths, one after the other.

    Attributes:
        values: Raw values of all examples, shape (C, T_1 + ... + T_N).
        lengths: Length T_i of each example, shape (N,).

    Raises:
        DataError: The lengths are not those of the values.

    Example:
        >>> clips = Ragged(values=np.arange(5.0).reshape(1, 5), lengths=np.array([3, 2]))
        >>> len(clips), clips.example(1)
        (2, array([[3., 4.]]))
        >>> clips.take(np.array([1, 0])).values
        array([[3., 4., 0., 1., 2.]])
    """

    # One after the other, so that examples can be mapped from the disk as one array.
    values: NDArray[Any]
    lengths: NDArray[np.int64]

    def __post_init__(self) -> None:
        total = int(self.lengths.sum())
        if self.values.ndim != 2 or self.values.shape[1] != total or (self.lengths < 1).any():
            raise DataError(
                f"Ragged: values of shape {self.values.shape} with lengths that sum to {total}; "
                "expected (C, that sum), and each length 1 or more"
            )

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each example begins, shape (N,)."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.values.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.values.nbytes

    def example(self, index: int, start: int = 0, length: int | None = None) -> NDArray[Any]:
        """One example, or a stretch of it.

        Args:
            index: Which example.
            start: First of its values.
            length: How many; None takes all from there on.

        Returns:
            Its values, shape (C, length); a view.
        """
        first = int(self.starts[index])
        end = first + int(self.lengths[index])
        return self.values[:, first + start : end if length is None else first + start + length]

    def take(self, indices: NDArray[np.int64]) -> Ragged:
        """Copies examples, in the order given.

        Args:
            indices: Positions, shape (M,).
        """
        lengths = self.lengths[indices]
        values = np.empty((len(self.values), int(lengths.sum())), dtype=self.dtype)
        taken = Ragged(values=values, lengths=lengths)
        for place, index in enumerate(indices):
            taken.example(place)[...] = self.example(int(index))
        return taken


# `Split` alone means examples of one shape, in one array: nobody who reads such has to tell apart.
ExamplesT = TypeVar("ExamplesT", bound=NDArray[Any] | Ragged, default=NDArray[Any])


@dataclass(frozen=True, kw_only=True)
class Split(Generic[ExamplesT]):
    """One split of a dataset; ``Split`` alone is one of an array, ``Split[Ragged]`` of `Ragged`.

    Attributes:
        x: Raw values, shape (N, *event_shape): an integer dtype with values ``0..K-1``, or floats.
            May be memory-mapped. `Ragged` for examples of different lengths.
        context: Conditioning inputs by name, each of shape (N, *context_shape); ``label`` holds
            int64 class indices. An input with a stride is `Ragged` where the examples are.

    Example:
        >>> images = Split(x=np.zeros((4, 1, 8, 8), np.uint8), context={"label": np.arange(4)})
        >>> len(images), images.take(np.array([2, 0])).context["label"]
        (4, array([2, 0]))
    """

    x: ExamplesT
    context: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: NDArray[np.int64]) -> Split[ExamplesT]:
        """Picks examples.

        Args:
            indices: Positions, shape (M,).

        Returns:
            The split of those examples, in that order.
        """
        context = {name: _taken(values, indices) for name, values in self.context.items()}
        return Split(x=_taken(self.x, indices), context=context)


def _taken(values: Any, indices: NDArray[np.int64]) -> Any:
    return values.take(indices) if isinstance(values, Ragged) else values[indices]


@dataclass(frozen=True, kw_only=True)
class DataSplits:
    """A dataset's splits. A loader that has no validation split of its own leaves it None.

    Attributes:
        train: What a model is fitted to.
        test: What results are measured on, and nothing is chosen by.
        validation: What weights and settings are chosen by.
        validation_of_train: The harness took the validation examples off the training split as it
            was published; statistics of that split are over both.

    Example:
        >>> points = Split(x=np.zeros((10, 2), np.float32))
        >>> splits = DataSplits(train=points, test=points.take(np.arange(3)))
        >>> len(splits["test"])
        3
    """

    train: Split[Any]
    test: Split[Any]
    validation: Split[Any] | None = None
    # FID statistics of a published training set are over all of it, so a metric must know.
    validation_of_train: bool = False

    def __getitem__(self, name: SplitName) -> Split[Any]:
        splits = self.named()
        if name == "validation" and name not in splits:
            raise KeyError("validation: this dataset has none; the harness makes it on loading")
        return splits[name]

    def named(self) -> dict[SplitName, Split[Any]]:
        """The splits that there are, by name: train, validation if there is one, test."""
        named: dict[SplitName, Split[Any] | None] = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        return {name: split for name, split in named.items() if split is not None}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A manifold in a rectangle, as pictures show it: equal areas for equal shares of its volume.

    Attributes:
        ends: Where each of its two axes begins and ends.
        to_plane: Takes points (N, *event_shape) into it, (N, 2).
        from_plane: Takes them back; None where several points lie in one place of it, of which a
            picture then shows no density.

    Example:
        >>> square = Chart(ends=((0.0, 1.0), (0.0, 1.0)), to_plane=lambda x: x)
        >>> square.from_plane is None
        True
    """

    ends: tuple[tuple[float, float], tuple[float, float]]
    to_plane: Callable[[NDArray[Any]], NDArray[Any]]
    from_plane: Callable[[NDArray[Any]], NDArray[Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class Manifold:
    """Where data lie that are no vectors; densities are with respect to its own volume.

    Attributes:
        name: What models that know its geometry know it by, such as ``sphere``.
        dim: Dimension d of the manifold itself.
        volume: Its volume, in the d-dimensional measure.
        sample_uniform: Draws points, shape (N, *event_shape), given N and a source of randomness.
        contains: Whether points (N, *event_shape) lie on it, shape (N,).
        chart: How pictures show it; None for no pictures.

    Example:
        >>> def on_circle(num: int, rng: np.random.Generator):
        ...     angle = rng.uniform(0, 2 * np.pi, num)
        ...     return np.stack([np.cos(angle), np.sin(angle)], axis=1)
        >>> circle = Manifold(
        ...     name="circle",
        ...     dim=1,
        ...     volume=2 * np.pi,
        ...     sample_uniform=on_circle,
        ...     contains=lambda x: np.isclose(np.linalg.norm(x, axis=1), 1.0),
        ... )
        >>> circle.contains(circle.sample_uniform(3, np.random.default_rng(0))).all()
        np.True_
    """

    name: str
    dim: int
    volume: float
    sample_uniform: Callable[[int, np.random.Generator], NDArray[Any]]
    contains: Callable[[NDArray[Any]], NDArray[np.bool_]]
    chart: Chart | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """Samples as people look at or listen to them: one, or several on one picture.

    Attributes:
        name: Its name, e.g. ``clip-3``.
        media_type: E.g. ``audio/wav`` or ``image/png``.
        content: The file's bytes.
        thumbnail: A small PNG image that stands for it; None for none.

    Example:
        >>> Artifact(name="clip-3", media_type="audio/wav", content=b"RIFF").thumbnail
    """

    name: str
    media_type: str
    content: bytes
    thumbnail: bytes | None = None
