"""Several processes that train one model, each on a device of its own: what they do as one.

Each takes an equal part of every batch, draws the noise of the whole batch and keeps its part of
it, and steps with the mean of all gradients; so all of them hold the same weights, the same moments
and generators in the same state, which are those of one process that has the whole batch. Rank 0 is
the job's worker: it alone reads the clock, looks at validation and keeps state, and the others do
the steps that it does.
"""

from __future__ import annotations

import datetime
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._distributed_c10d import TCPStore
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from flowbench.api.devices import mean_over_devices
from flowbench.api.models import Batch, GenerativeModel, Info, Step, split_info
from flowbench.data.batches import TrainBatches
from flowbench.errors import ConfigError
from flowbench.training.compiled import Loss
from flowbench.training.ranks import Ranks

HERE = "127.0.0.1"
PATIENCE = datetime.timedelta(days=7)


def meeting_place() -> TCPStore:
    """Where the processes of a machine meet; the others are told its port."""
    return TCPStore(HERE, 0, is_master=True, wait_for_workers=False)


def store_at(port: int) -> TCPStore:
    """The meeting place that another process has made."""
    return TCPStore(HERE, port, is_master=False)


def meet(place: TCPStore, device_kind: str, index: int, num: int) -> None:
    """Waits until all processes of a training are there, as torch's default group.

    Args:
        place: The meeting place.
        device_kind: What they compute on, which says how they speak to one another.
        index: Which of them this one is.
        num: How many they are.
    """
    backend = "nccl" if device_kind == "cuda" else "gloo"
    if backend == "gloo" and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all of them are on this machine
    dist.init_process_group(
        # The others wait as long as rank 0 looks at validation; one that ends is noticed at once.
        backend,
        store=place,
        rank=index,
        world_size=num,
        timeout=PATIENCE,
    )


class SeveralRanks(Ranks):
    """One of several processes of a training, in torch's default process group.

    Args:
        index: Which of them.
        agree: Tells the others how far training is, or is told.
    """

    def __init__(self, index: int, agree: Callable[[float], float]) -> None:
        self.num, self._index = dist.get_world_size(), index
        self._agree = agree
        self._loss: _SharedLoss | None = None
        self._parallel: DistributedDataParallel | None = None

    def agree(self, progress: float) -> float:
        """The progress of the next step, which rank 0 tells all others; see `Ranks.agree`."""
        return self._agree(progress)

    def part_of(self, batches: TrainBatches, parts: int) -> TrainBatches:
        """A stream of this process's part of each batch; see `Ranks.part_of`.

        Raises:
            ConfigError: A batch has no equal parts for all.
        """
        if batches.batch_size % (parts * self.num):
            raise ConfigError(
                f"a batch of {batches.batch_size} in {parts} parts has no equal share for each of "
                f"{self.num} devices; set training.batch_size or --devices-per-job"
            )
        return batches.of_part(self._own(parts))

    def drawing(self, size: int, parts: int = 1) -> AbstractContextManager[Any]:
        """Draws for the whole batch; see `Ranks.drawing`."""
        everybody = functools.partial(for_all, num=self.num, parts=parts)
        return AsOne(size, everybody, self._own(parts))

    def sharing(self, model: GenerativeModel, loss: Loss) -> Loss:
        """The loss as what torch's own data parallelism wraps; see `Ranks.sharing`.

        Raises:
            ConfigError: The model cannot be trained so.
        """
        groups = list(model.optimizer_groups())
        if len(groups) > 1:
            raise ConfigError(
                f"the model has several optimizer groups ({', '.join(groups)}), which several "
                "devices cannot train yet; leave --devices-per-job at 1"
            )
        if not groups:  # nothing is trained
            return loss
        self._loss = _SharedLoss(model, loss)
        self._parallel = DistributedDataParallel(
            self._loss,
            find_unused_parameters=True,  # which the loss reaches may change from step to step
        )
        # Those of rank 0 are everybody's from here on; and what changes of them does so alike,
        # since statistics are those of the whole batch. (An argument for it has changed its name.)
        self._parallel.broadcast_buffers = False
        return self._parallel

    @contextmanager
    def summing(self, last: bool) -> Iterator[None]:
        """Puts off the sum until the last part; see `Ranks.summing`."""
        with nullcontext() if last or self._parallel is None else self._parallel.no_sync():
            yield

    def part(self) -> None:
        """Leaves the group; see `Ranks.part`."""
        dist.destroy_process_group()

    def mean_loss(self, own: Tensor) -> Tensor:
        """The loss of the whole batch, which came with the gradients; see `Ranks.mean_loss`."""
        if self._loss is None or self._loss.carrier.grad is None:
            return own
        mean, self._loss.carrier.grad = self._loss.carrier.grad, None
        return mean

    def _own(self, parts: int) -> Callable[[Tensor], Tensor]:
        return functools.partial(own_of, index=self._index, num=self.num, parts=parts)


def own_of(values: Tensor, *, index: int, num: int, parts: int) -> Tensor:
    """Rows of one process of those of a whole batch.

    Args:
        values: Rows of the whole batch, (B, ...).
        index: Which of the processes.
        num: How many they are.
        parts: Parts that the batch goes through the model in; of each of them all have a share.

    Returns:
        Its rows, (B / num, ...), in their order.
    """
    of_parts: Tensor = values.unflatten(0, (parts, num, -1))
    return of_parts[:, index].flatten(0, 1)


def for_all(values: Tensor, *, num: int, parts: int) -> Tensor:
    """Rows of a whole batch in which each process has the same; `own_of` gives those again."""
    of_parts: Tensor = values.unflatten(0, (parts, 1, -1))
    return of_parts.expand(-1, num, *of_parts.shape[2:]).flatten(0, 2)


class _SharedLoss(nn.Module):
    """A model's loss as the forward pass of a module.

    The mean of all processes' losses rides with their gradients, as that of `carrier`, which is
    always 0: to ask for it apart would be one more wait in each step.
    """

    def __init__(self, model: GenerativeModel, loss: Loss) -> None:
        super().__init__()
        self.model, self._loss = model, loss
        where = next(model.parameters())
        self.carrier = nn.Parameter(torch.zeros((), device=where.device))

    def forward(self, batch: Batch, step: Step) -> tuple[Tensor, Info]:
        loss, info = split_info(self._loss(batch, step))
        # Detached, or a parameter that diagnostics alone reach would count as one of the loss.
        detached = {name: value.detach() for name, value in info.items()}
        return loss + self.carrier * loss.detach(), detached


_DRAWS = frozenset(
    {
        torch.rand,
        torch.randn,
        torch.randint,
        torch.rand_like,
        torch.randn_like,
        torch.randint_like,
        torch.normal,
        torch.bernoulli,
        torch.poisson,
        torch.multinomial,
        Tensor.bernoulli,
        Tensor.multinomial,
    }
)
_IN_PLACE = frozenset(
    {
        Tensor.normal_,
        Tensor.uniform_,
        Tensor.exponential_,
        Tensor.bernoulli_,
        Tensor.random_,
        Tensor.log_normal_,
        Tensor.cauchy_,
        Tensor.geometric_,
    }
)
_DROPOUTS = frozenset({F.dropout, F.dropout1d, F.dropout2d, F.dropout3d})


class AsOne(TorchFunctionMode):
    """Within it, what is random and what is of a whole batch is as if one process had that.

    What has as many rows as this process has examples is drawn for all of them, and its own are
    taken; anything else is drawn alike by all processes.

    Args:
        size: Examples of this process.
        all_of: Makes rows for the whole batch, given those of this process.
        own_of: Takes the rows of this process from those of the whole batch.
    """

    def __init__(
        self, size: int, all_of: Callable[[Tensor], Tensor], own_of: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self._size, self._all, self._own = size, all_of, own_of
        self._whole = len(all_of(torch.empty(size)))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS:
            # `torch.rand(8, 2)` is `torch.rand((8, 2))`; numbers of others are limits.
            by_numbers = func in (torch.rand, torch.randn) and args and isinstance(args[0], int)
            return self._drawn(func, (args,) if by_numbers else args, kwargs)
        if func in _IN_PLACE:
            drawn = self._drawn(func, args, kwargs)
            return drawn if drawn is args[0] else args[0].copy_(drawn)
        if func in _DROPOUTS:
            return self._dropped(func, *args, **kwargs)
        if func is F.batch_norm:
            return _batch_norm(*args, **kwargs)
        if func is mean_over_devices:
            return _mean(*args)
        return func(*args, **kwargs)

    def _drawn(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """What is drawn, of a size or for values that are given; for all examples, if by rows."""
        wide = [self._widened(a) for a in args]
        wide_named = {name: self._widened(a) for name, a in kwargs.items()}
        drawn: Tensor = func(*wide, **wide_named)
        given = [*args, *kwargs.values()]
        widened = any(a is not b for a, b in zip(given, [*wide, *wide_named.values()], strict=True))
        return self._own(drawn) if widened else drawn

    def _widened(self, value: Any) -> Any:
        if isinstance(value, Tensor) and self._is_of_batch(value):
            return self._all(value)
        if isinstance(value, tuple | list) and value and value[0] == self._size:
            return (self._whole, *value[1:])
        return value

    def _is_of_batch(self, value: Tensor) -> bool:
        return value.ndim > 0 and len(value) == self._size

    def _dropped(
        self, func: Any, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        del inplace
        if not training or p == 0.0:
            return x
        # Through a mask: in place of all processes' values it needs none but its own.
        if self._is_of_batch(x):
            mask: Tensor = self._own(func(x.new_ones(self._whole, *x.shape[1:]), p))
        else:
            mask = func(torch.ones_like(x), p)
        return x * mask


class _Sum(torch.autograd.Function):
    """Sum over all processes, whose gradient is the sum of all gradients.

    (Torch has one, whose import takes a second.)
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _mean(own: Tensor) -> Tensor:
    """Mean over all processes, with gradients."""
    total: Tensor = _Sum.apply(own.contiguous())
    mean: Tensor = total / dist.get_world_size()
    return mean


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` by the statistics of a whole batch, on any device.

    Torch's own for several devices is for GPUs alone.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    axes = (0, *range(2, x.ndim))
    shape = (-1, *(1,) * (x.ndim - 2))
    # Two sums, the second of squares about the mean: one of plain squares would lose digits.
    mean = _mean(x.mean(dim=axes))
    centred = x - mean.view(shape)
    var = _mean(centred.square().mean(dim=axes))
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            count = dist.get_world_size() * x.numel() / x.shape[1]
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)
    scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
    y = centred * scale.view(shape)
    result: Tensor = y if bias is None else y + bias.view(shape)
    return result
