r"""Whether samples are draws of the density: a p-value.

A sample x is moved by some steps of Metropolis' rule, which leave the density p as it is. If x is a
draw of p, then so is where it ends, y, and the pair (x, y) is as probable as (y, x): whatever is
measured of both, its change is as often up as down, by equally much. Wilcoxon's signed ranks test
that, for any model and number of dims, without anything known of p but its ratios; a constant
factor is not seen, which `density_mass` sees. A flow's samples are moved as latents too, by its
base density alone. The smallest p-value of several measures counts, times their number.

References:
    Metropolis et al. (1953), Equation of State Calculations by Fast Computing Machines,
    https://doi.org/10.1063/1.1699114.
    Wilcoxon (1945), Individual Comparisons by Ranking Methods, https://doi.org/10.2307/3001968.
    ter Braak (2006), A Markov Chain Monte Carlo version of the genetic algorithm Differential
    Evolution, https://doi.org/10.1007/s11222-006-8769-1: steps along differences of data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from torch import Tensor

from flowbench.api import (
    DataSplits,
    DensityModel,
    InvertibleModel,
    MetricSettings,
    MetricValue,
    SamplingOptions,
    TrainedModel,
    split_info,
)
from flowbench_metrics.sample_protocol import sample_protocol
from flowbench_metrics.specs import SAMPLE_AGREEMENT

NUM_STEPS = 16
NUM_LATENT_STEPS = 64  # which cost no pass through the model
# The fewer dims, the less a sample tells of a temperature: so many show one of 0.97 in 2 and in 64.
NUM_VALUES, FEWEST, MOST = 65536, 128, 32768
AT_A_TIME = 1 << 15  # values; more samples than that in a batch only where the protocol says so
NUM_DATA = 1024  # training examples whose differences are directions to step along
STEP_SIZES = (0.05, 3.0)  # over the root of the number of dims, relative to the data's spread
NUM_PROJECTIONS = 3


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Draws samples in the model's space, without labels, and moves them by its density.

    Args:
        trained: The model.
        data: Training data, whose spread and differences say how far to step.
        settings: Gives the seed, and how samples are drawn.

    Returns:
        ``sample_agreement``, the p-value; unavailable where samples do not claim to follow the
        density that ``log_prob`` gives, or where that is random in itself.
    """
    model = trained.model
    reason = _no_claim(trained, settings)
    if reason is not None or not isinstance(model, DensityModel):
        return [MetricValue.unavailable(SAMPLE_AGREEMENT, reason or "the model has no density")]
    around = trained.preprocess(data.train.x[:NUM_DATA], seed=settings.seed)
    generator = torch.Generator(around.device).manual_seed(settings.seed)
    once, again = (_log_prob(model, around[:8], seed) for seed in (1, 2))
    if not torch.allclose(once, again, rtol=1e-5, atol=1e-4, equal_nan=True):
        reason = (
            "log_prob is random in itself (a bound or an estimate): it has no ratios to move by"
        )
        return [MetricValue.unavailable(SAMPLE_AGREEMENT, reason)]
    num, size = _how_many(around[0].numel(), settings.batch_size)
    changes = []
    for start in range(0, num, size):
        trained.tick("holding samples against the density")
        x = _sample(trained, min(size, num - start), settings, generator)
        spaces = [
            _Space(partial(_log_prob, model), x, around, NUM_STEPS),
            *_latent_space(model, x, generator),
        ]
        changes.append(np.concatenate([_changes(space, generator) for space in spaces]))
    change = np.concatenate(changes, axis=1)  # (measures, N)
    value = MetricValue(
        name=SAMPLE_AGREEMENT.name,
        value=p_value(change),
        unit=SAMPLE_AGREEMENT.unit,
        direction=SAMPLE_AGREEMENT.direction,
        num_examples=num,
        protocol={"steps": [NUM_STEPS, NUM_LATENT_STEPS], **sample_protocol(trained, settings)},
    )
    num_bad = int(np.isnan(change[0]).sum())
    if 2 * num_bad > num:
        reason = f"{num_bad} of {num} samples have no finite density, or stay where they are"
        return [replace(value, value=None, status="failed", reason=reason)]
    return [value]


def _no_claim(trained: TrainedModel, settings: MetricSettings) -> str | None:
    """Why the protocol's samples need not follow the density; None if they do."""
    kind = trained.likelihood("test").likelihood
    if kind.given:
        return f"the likelihood is given {', '.join(kind.given)}; samples are drawn without"
    if trained.config.preprocessing.support == "discrete":
        return "the model's samples are integers, which no small steps move"
    if not _options(trained, settings).follow_density:
        return (
            f"samples are drawn with {settings.sample.model_dump(exclude_defaults=True)}; they "
            "follow the density at temperature 1 without guidance alone"
        )
    return None


def _options(trained: TrainedModel, settings: MetricSettings) -> SamplingOptions:
    asked = settings.sample
    return trained.config.sampling(temperature=asked.temperature, **dict(asked.options))


def _how_many(num_dims: int, batch_size: int) -> tuple[int, int]:
    """How many samples to move, and how many of them at a time."""
    num = min(max(NUM_VALUES // num_dims, FEWEST), MOST)
    return num, max(batch_size, AT_A_TIME // num_dims)


@torch.no_grad()
def _sample(
    trained: TrainedModel, num: int, settings: MetricSettings, generator: torch.Generator
) -> Tensor:
    options = _options(trained, settings)
    return split_info(trained.model.sample(num, None, settings=options, generator=generator))[0]


@torch.no_grad()
def _log_prob(model: DensityModel, x: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator(x.device).manual_seed(seed)
    return split_info(model.log_prob(x, None, generator=generator))[0].double()


@dataclass(frozen=True)
class _Space:
    """Where samples are moved: by their density, with steps as long as what is around is wide."""

    log_prob: Callable[[Tensor], Tensor]
    samples: Tensor
    around: Tensor
    num_steps: int


@torch.no_grad()
def _latent_space(model: DensityModel, x: Tensor, generator: torch.Generator) -> Iterator[_Space]:
    """That of a flow's latents, all in one row; nothing for another model."""
    if not isinstance(model, InvertibleModel):
        return
    latents, _ = model.to_latent(x, None)
    shapes = [z.shape[1:] for z in latents]

    def log_prob(rows: Tensor) -> Tensor:
        parts = rows.split([shape.numel() for shape in shapes], dim=1)
        named = (part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
        return model.base_log_prob(tuple(named)).double()

    drawn = model.sample_base(NUM_DATA, temperature=1.0, generator=generator, device=x.device)
    rows, around = (torch.cat([z.flatten(1) for z in part], dim=1) for part in (latents, drawn))
    yield _Space(log_prob, rows, around, NUM_LATENT_STEPS)


@torch.no_grad()
def _changes(space: _Space, generator: torch.Generator) -> NDArray[np.float64]:
    """What some Metropolis steps change of samples: measures by samples."""
    x, around = space.samples, space.around
    mean, spread = around.mean(dim=0), around.std(dim=0)
    density = first = space.log_prob(x)
    moved = x
    for _ in range(space.num_steps):
        proposed, ladj = _proposed(moved, around, mean, spread, generator)
        of_proposed = space.log_prob(proposed)
        luck = torch.rand(len(x), generator=generator, device=x.device).log()
        # A comparison with what is not a number is false: such a step is not taken.
        taken = luck < of_proposed + ladj - density
        moved = torch.where(_by_row(taken, x), proposed, moved)
        density = torch.where(taken, of_proposed, density)
    shape = (x[0].numel(), NUM_PROJECTIONS)
    basis = torch.randn(shape, generator=generator, device=x.device).double()
    before, after = (((v - mean) / spread.clamp_min(1e-9)).flatten(1).double() for v in (x, moved))
    change = [
        density - first,
        (after.square() - before.square()).sum(dim=1),
        *((after - before) @ basis).T,
    ]
    return torch.stack(change).cpu().numpy()


def _proposed(
    x: Tensor, around: Tensor, mean: Tensor, spread: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Where each sample may go, as likely as back from there but for the ladj, in nats.

    A third of them goes anywhere, a third along a difference of data, a third to or from the mean.
    """
    device, size, num_dims = x.device, len(x), x[0].numel()

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    low, high = map(math.log, STEP_SIZES)
    length = (low + (high - low) * uniform(size)).exp() / math.sqrt(num_dims)
    noise = torch.randn(x.shape, generator=generator, device=device)
    pairs = around[torch.randint(len(around), (2, size), generator=generator, device=device)]
    scale = length * torch.randn(size, generator=generator, device=device)
    kind = torch.randint(3, (size,), generator=generator, device=device)
    step = torch.where(_by_row(kind == 0, x), spread * noise, pairs[0] - pairs[1])
    step = torch.where(
        _by_row(kind == 2, x),
        _by_row(torch.expm1(scale), x) * (x - mean),
        _by_row(length, x) * step,
    )
    return x + step, torch.where(kind == 2, num_dims * scale, 0.0).double()


def _by_row(values: Tensor, x: Tensor) -> Tensor:
    """One value a row, in a shape that broadcasts over events."""
    return values.view(-1, *([1] * (x.ndim - 1)))


def p_value(changes: NDArray[np.float64]) -> float:
    """Wilcoxon's two-sided p-value that changes are as often up as down, by equally much.

    Args:
        changes: Changes of each measure, shape (M, N); those of 0 and those that are not a number
            say nothing.

    Returns:
        The smallest of the measures, times their number; at most 1.
    """
    smallest = 1.0
    for change in changes:
        told = change[np.isfinite(change) & (change != 0)]
        if len(told):
            ranks = rankdata(np.abs(told))
            score = float((np.sign(told) * ranks).sum() / np.sqrt(np.square(ranks).sum()))
            smallest = min(smallest, 2.0 * float(norm.sf(abs(score))))
    return min(1.0, len(changes) * smallest)
