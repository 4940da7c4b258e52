"""Floating-point operations of a training step and of a sample, by torch's counter.

It counts matrix products, convolutions and attention, two operations for each multiply-add, forward
and backward, as they run; elementwise work does not count. A model without any of these has 0.
Attention counts as two products forward and four backward, whatever kernel a device takes: that
some compute the logits a second time to save memory is no work of the algorithm.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.flop_counter import (
    FlopCounterMode,
    flop_registry,
    sdpa_flop_count,
)
from torch.utils.module_tracker import ModuleTracker

from flowbench.api import (
    Batch,
    DataSplits,
    GenerativeModel,
    MetricSettings,
    MetricValue,
    Step,
    TrainedModel,
    split_info,
)
from flowbench_metrics.sample_protocol import sample_protocol
from flowbench_metrics.specs import FLOPS


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Counts a training step of the configured batch size, and one sample.

    Args:
        trained: The model; a copy of it takes the step.
        data: Gives a batch of training examples.
        settings: How samples are drawn.

    Returns:
        ``flops``, of a step of every optimizer group in the last phase, and ``flops_per_sample``.
    """
    size = min(trained.config.training.batch_size, len(data.train))
    step = count_step(trained, batch_of(trained, data, size, settings.seed), settings.seed)
    with _counter() as counter:
        trained.draw(1, seed=settings.seed)
    of_step = {"batch_size": size, "counted": "matrix products, convolutions, attention"}
    of_sample = {"counted": of_step["counted"], **sample_protocol(trained, settings)}
    return [
        _value(FLOPS.name, step, of_step),
        _value("flops_per_sample", counter.get_total_flops(), of_sample),
    ]


def batch_of(trained: TrainedModel, data: DataSplits, size: int, seed: int) -> Batch:
    """The first training examples as the model sees them.

    Args:
        trained: The model; gives the preprocessing and the device.
        data: Gives the examples.
        size: How many.
        seed: Seed of the preprocessing's noise.

    Returns:
        The batch.
    """
    x = trained.preprocess(data.train.x[:size], seed=seed)
    context = {k: torch.tensor(v[:size], device=x.device) for k, v in data.train.context.items()}
    return Batch(x=x, context=context)


def count_step(trained: TrainedModel, batch: Batch, seed: int) -> int:
    """Operations of a step of all optimizer groups, forward and backward, a mean over steps.

    Args:
        trained: The model; it is copied, since a step in training mode may change buffers.
        batch: What the step trains on.
        seed: Seed of the step's noise.

    Returns:
        The count.
    """
    model = copy.deepcopy(trained.model).train()
    training = trained.config.training
    last_phase = len(training.phases) - 1
    generator = torch.Generator(batch.x.device).manual_seed(seed)
    total = 0
    with torch.random.fork_rng(devices=_devices(batch.x)), torch.enable_grad():
        for group, parameters in model.optimizer_groups().items():
            if not training.phases[last_phase].trains(group):
                continue
            step = Step(
                progress=torch.ones((), device=batch.x.device),
                phase=last_phase,
                group=group,
                generator=generator,
                seed=seed,
            )
            total += round(_count(model, batch, step, parameters) / training.apart(group).every)
    return total


def _count(model: GenerativeModel, batch: Batch, step: Step, parameters: list[Any]) -> int:
    with _counter() as counter:
        loss, _ = split_info(model.loss(batch, step))
        torch.autograd.grad(loss, parameters, allow_unused=True)
    return int(counter.get_total_flops())


# Kernels that do all of attention, by what their names begin with.
_ATTENTION = tuple(
    f"_scaled_dot_product_{kernel}"
    for kernel in (
        "flash_attention",
        "efficient_attention",
        "cudnn_attention",
        "flash_attention_for_cpu",
    )
)


class _NoModules(ModuleTracker):
    """Does not follow the counter through modules: only the total is wanted.

    Torch's hooks into backward passes refuse a gradient within a loss, such as a penalty of it.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _counter() -> FlopCounterMode:
    """Torch's counter, told of what it has no formulas for, or other ones than for products."""
    aten = torch.ops.aten
    formulas: dict[Any, Callable[..., int]] = {
        aten.addmm_: _in_place(aten.addmm),
        aten.baddbmm_: _in_place(aten.baddbmm),
    }
    for kernel in _ATTENTION:
        formulas[getattr(aten, kernel)] = _attention
        formulas[getattr(aten, f"{kernel}_backward")] = _attention_backward
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    counter.mod_tracker = _NoModules()
    return counter


def _in_place(product: Any) -> Callable[..., int]:
    """The formula of a product, for the operator that adds it to a tensor in place."""
    formula = flop_registry[product]
    return lambda *shapes, **_: int(formula(*shapes))


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))


def _attention_backward(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    del grad  # of four products each is as large as one of the two forward
    return 2 * int(sdpa_flop_count(q, k, v))


def _devices(x: Tensor) -> list[torch.device]:
    return [x.device] if x.device.type == "cuda" else []


def _value(name: str, count: int, protocol: dict[str, Any]) -> MetricValue:
    return MetricValue(
        name=name,
        value=float(count),
        unit=FLOPS.unit,
        direction=FLOPS.direction,
        protocol=protocol,
    )
