"""The types of the fixtures that the tests of the models share; `conftest` makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from flowbench.api import DatasetInfo, DensityModel, InvertibleModel
from flowbench.api.models import WithInfo
from flowbench_models.bijections.base import Bijection

ModuleT = TypeVar("ModuleT", bound=nn.Module)

JacobianLogAbsDet = Callable[[Callable[[Tensor], Any], Tensor], Tensor]
AssertIsBijection = Callable[[Bijection, Tensor], None]
TrainOn = Callable[[InvertibleModel, Tensor, int], None]
AssertBoundTightens = Callable[[DensityModel, Tensor], None]


class MakeDataset(Protocol):
    """Makes the facts of a data set of some shape."""

    def __call__(self, *event_shape: int, levels: int | None = 17) -> DatasetInfo: ...


class Perturb(Protocol):
    """Moves parameters off their initial values, and gives the module back in float64."""

    def __call__(self, module: ModuleT, std: float = 0.2) -> ModuleT: ...


def tensor(returned: WithInfo) -> Tensor:
    """What a model that tells nothing beside its values returns."""
    assert isinstance(returned, Tensor)
    return returned
