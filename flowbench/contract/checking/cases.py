"""Small data that the contract makes itself: no plugin is needed to check another.

What a model does to random data of the right form is what the contract asks about, so the data are
random: blurred levels for images, a mixture of two Gaussians near the origin for everything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import DataSplits, Split
from flowbench.api.manifolds import manifold_of
from flowbench.api.specs import LABEL, ContextInput, DatasetInfo, Modality

NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 512, 64, 64
SEED = 4  # of the data; any will do, but it stays

# main: every check; variant: another shape of the same; mass: probability is summed up, if the case
# is small enough.
Role = Literal["main", "variant", "mass"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Data of one form.

    Attributes:
        roles: Which checks run on it.
        info: What a model is told of it.
    """

    roles: frozenset[Role]
    info: DatasetInfo

    @property
    def label(self) -> str:
        """The form in words, such as ``1x8x8 image, 17 levels``."""
        shape = "x".join(map(str, self.info.event_shape))
        values = "real-valued" if self.info.levels is None else f"{self.info.levels} levels"
        return f"{shape} {self.info.modality}, {values}"

    @cached_property
    def splits(self) -> DataSplits:
        """Random data of that form, the same at every call."""
        rng = np.random.default_rng(SEED)
        train, validation, test = (
            _draw(self.info, num, rng) for num in (NUM_TRAIN, NUM_VALIDATION, NUM_TEST)
        )
        return DataSplits(train=train, validation=validation, test=test)

    @cached_property
    def fresh(self) -> Split:
        """As many examples as there are of train, of the same distribution and in no split."""
        return _draw(self.info, NUM_TRAIN, np.random.default_rng(SEED + 1))


def _draw(info: DatasetInfo, num: int, rng: np.random.Generator) -> Split:
    if info.manifold is not None:
        points = manifold_of(info.manifold).sample_uniform(num, rng)
        return Split(x=points.astype(np.float32), context=_context(info, num, rng))
    sides = rng.choice([-0.8, 0.8], size=(num, *(1,) * len(info.event_shape)))
    values = sides + 0.6 * rng.standard_normal((num, *info.event_shape))
    return Split(x=_as_raw(values, info.levels), context=_context(info, num, rng))


def _as_raw(values: NDArray[np.float64], levels: int | None) -> NDArray[Any]:
    if levels is None:
        return values.astype(np.float32)
    spread = np.rint((values / 6.0 + 0.5) * (levels - 1))
    return np.clip(spread, 0, levels - 1).astype(np.uint8 if levels <= 256 else np.int32)


def _context(info: DatasetInfo, num: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    context: dict[str, NDArray[Any]] = {}
    for name, given in info.context.items():
        size = (num, *given.shape)
        if given.num_classes is not None:
            context[name] = rng.integers(0, given.num_classes, size=size)
        else:
            context[name] = rng.standard_normal(size).astype(np.float32)
    return context


def cases_of_forms(forms: Sequence[DatasetInfo]) -> list[list[Case]]:
    """Cases of the forms that a model's spec names, in the place of the contract's own.

    Args:
        forms: The forms; the first is checked most thoroughly.

    Returns:
        Groups of one case each; on the smallest form the probability is summed up, too.
    """
    smallest = min(forms, key=lambda form: form.num_dims)
    groups = []
    for turn, form in enumerate(forms):
        roles: tuple[Role, ...] = ("variant",) if turn else ("main",)
        groups.append([case_of(form, *roles, *(("mass",) if form is smallest else ()))])
    return groups


def case_of(info: DatasetInfo, *roles: Role) -> Case:
    """A case of a dataset's form, filled with random data and few examples.

    Args:
        info: Facts of the dataset.
        *roles: Which checks run on it.

    Returns:
        The case.
    """
    facts = {**vars(info), "num_train": NUM_TRAIN, "num_validation": NUM_VALIDATION}
    return Case(roles=frozenset(roles), info=DatasetInfo(**{**facts, "num_test": NUM_TEST}))


def _case(
    roles: str, modality: Modality, *shape: int, levels: int | None = None, classes: int = 0
) -> Case:
    label = {LABEL: ContextInput(shape=(), num_classes=classes)}
    known = {role: role for role in get_args(Role)}
    info = DatasetInfo(
        name="contract-" + "x".join(map(str, shape)),
        modality=modality,
        event_shape=shape,
        levels=levels,
        num_train=NUM_TRAIN,
        num_validation=NUM_VALIDATION,
        num_test=NUM_TEST,
        context=label if classes else {},
    )
    return Case(roles=frozenset(known[role] for role in roles.split()), info=info)


# For each modality, groups of cases: the first of a group that a model can run on is taken.
CASES: Mapping[Modality, tuple[tuple[Case, ...], ...]] = {
    "image": (
        (
            _case("main", "image", 1, 8, 8, levels=17, classes=4),
            _case("main", "image", 1, 16, 16, levels=17, classes=4),
            _case("main", "image", 3, 32, 32, levels=256, classes=4),
        ),
        (_case("variant", "image", 3, 8, 8, levels=256),),
        (
            _case("mass", "image", 1, 1, 2, levels=4),
            _case("mass", "image", 1, 2, 2, levels=3),
        ),
    ),
    "vector": (
        (_case("main mass", "vector", 2), _case("main mass", "vector", 6)),
        (_case("variant", "vector", 5),),
        (_case("mass", "vector", 1),),
    ),
    "audio": (
        (_case("main", "audio", 1, 64), _case("main", "audio", 1, 256)),
        (_case("mass", "audio", 1, 2),),
    ),
    "sequence": (
        (_case("main", "sequence", 1, 64), _case("main", "sequence", 1, 256)),
        (_case("main", "sequence", 1, 32, levels=27),),
        (_case("mass", "sequence", 1, 2),),
    ),
    "manifold": (),  # a model that knows one names it in its forms
}
