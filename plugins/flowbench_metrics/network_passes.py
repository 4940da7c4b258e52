"""How often a likelihood, and a sample, go through the model's networks one after the other.

Counted as they run: every matrix product and convolution of data with weights counts as a use of
those weights, however they were cut, masked or stacked before. The most uses of any weight are the
passes: 1 for a network that sees its input once, about D for one that is asked again for each of D
elements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flowbench.api import (
    DataSplits,
    DensityModel,
    Likelihood,
    MetricSettings,
    MetricValue,
    TrainedModel,
)
from flowbench_metrics.sample_protocol import sample_protocol
from flowbench_metrics.specs import NETWORK_PASSES

_PRODUCTS = frozenset(
    {"mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_", "linear", "convolution", "mv", "addmv"}
)

_NOISE = ("rand", "normal", "bernoulli", "exponential", "uniform", "multinomial")


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Evaluates the density of two test examples, and draws two samples.

    Args:
        trained: The model.
        data: Gives the examples.
        settings: How samples are drawn.

    Returns:
        ``network_passes`` of a likelihood, unavailable for a model without one;
        ``network_passes_sampling`` of a sample.
    """
    x = trained.preprocess(data.test.x[:2], seed=settings.seed)
    kind = trained.config.likelihood(trained.data)
    given = kind.given if isinstance(kind, Likelihood) else ()
    context = {k: torch.tensor(data.test.context[k][:2], device=x.device) for k in given}
    model = trained.model
    values = [MetricValue.unavailable(NETWORK_PASSES, f"{type(model).__name__} has no likelihood")]
    if isinstance(model, DensityModel) and isinstance(kind, Likelihood):
        generator = torch.Generator(x.device).manual_seed(settings.seed)
        with torch.no_grad(), _Uses(model) as uses:
            model.log_prob(x, context or None, generator=generator)
        values = [_value(NETWORK_PASSES.name, uses.most, {})]
    with _Uses(model) as uses:
        trained.draw(2, seed=settings.seed)
    drawn = sample_protocol(trained, settings)
    return [*values, _value("network_passes_sampling", uses.most, drawn)]


class _Uses(TorchDispatchMode):
    """Counts how often data are multiplied by what is made of each weight alone.

    Tensors are known by their storage, so that views are what they are views of.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self._uses: Counter[object] = Counter()
        # Which weights a tensor without data in it is made of; of none, if it is a constant.
        self._weights: dict[int, frozenset[int]] = {}
        self._alive: list[Tensor] = []  # or another tensor may get the storage of a freed one
        for buffer in model.buffers():
            self._note(buffer, frozenset())
        for number, parameter in enumerate(model.parameters()):
            # Vectors are biases and the like; what products take of a network are matrices.
            self._note(parameter, frozenset({number} if parameter.ndim > 1 else ()))

    @property
    def most(self) -> int:
        """Most uses of any weight."""
        return max(self._uses.values(), default=0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operator, and notes whether it multiplies data by weights."""
        del types
        returned = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given = list(_tensors((args, kwargs)))
        made_of = [self._weights.get(_storage(tensor)) for tensor in given]
        without_data = [weights for weights in made_of if weights is not None]
        # Of those it has but the shape.
        is_new = name.startswith("new_") or name.endswith("_like")
        weights: frozenset[int] = frozenset().union(*(() if is_new else without_data))
        is_data = len(without_data) < len(made_of) and not is_new
        is_data |= any(word in name for word in _NOISE)
        if is_data and name in _PRODUCTS:
            self._uses.update(
                _key(tensor, of) for tensor, of in zip(given, made_of, strict=True) if of
            )
        for tensor in _tensors(returned):
            if is_data:  # also where it was written into a constant
                self._weights.pop(_storage(tensor), None)
            else:  # masked, stacked, sliced
                self._note(tensor, weights)
        return returned

    def _note(self, tensor: Tensor, weights: frozenset[int]) -> None:
        if tensor.numel():  # empty ones have no storage to be known by
            self._weights[_storage(tensor)] = weights
            self._alive.append(tensor)


def _key(tensor: Tensor, weights: frozenset[int]) -> object:
    """What a use is counted under.

    Made of one weight, that, whatever part of it is taken. Made of several, such as a stack of the
    matrices of all layers, each part is another weight.
    """
    return weights if len(weights) == 1 else (weights, tensor.storage_offset(), tensor.shape)


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _value(name: str, count: int, protocol: dict[str, Any]) -> MetricValue:
    return MetricValue(
        name=name,
        value=float(count),
        unit=NETWORK_PASSES.unit,
        direction=NETWORK_PASSES.direction,
        protocol={"counted": "most uses of a weight in products with data", **protocol},
    )
