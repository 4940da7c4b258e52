"""What DDPM and improved DDPM share: noise in steps, and a bound with a term for each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    SampleSettings,
    SamplingOptions,
    Step,
    WithInfo,
)
from pydantic import Field
from torch import Tensor

from flowbench_families.diffusion.config import DiffusionConfig, DiffusionSampling
from flowbench_families.diffusion.decoders import binned_normal_log_prob
from flowbench_families.diffusion.denoising import DiffusionModel, beside, evenly, normal

PAPER_STEPS = 1000
"""For which the papers state how much noise a step adds, and that networks count times by."""

LARGEST = 0.999
"""Part of the variance that a step replaces at most; released code of improved DDPM."""

OFFSET = 0.008
"""Of the cosine, by which first steps add enough noise; improved DDPM, section 3.2."""


USUAL_VARIANCE = 0.25
"""About that of images whose levels go from -1 to 1."""


class SteppedConfig(DiffusionConfig):
    """Base of configurations of diffusion in steps.

    Attributes:
        num_steps: Number T of steps; at small ones each adds more noise.
        schedule: How the part of the variance that a step replaces grows: ``linear``, or so that
            the image fades by a ``cosine``.
    """

    num_steps: int = Field(default=100, ge=2)
    schedule: Literal["linear", "cosine"] = "cosine"

    def sampling_ladder(self, data: DatasetInfo) -> tuple[SampleSettings, ...]:
        """As of any diffusion, in no more steps than there are."""
        ladder = super().sampling_ladder(data)
        return tuple(rung for rung in ladder if cast(int, rung.options["steps"]) <= self.num_steps)

    def unsupported_sampling(self, options: SamplingOptions, data: DatasetInfo) -> str | None:
        """Steps can be left out, but none added."""
        del data
        steps = cast(DiffusionSampling, options).steps
        if steps is not None and steps > self.num_steps:
            return f"steps must be at most num_steps={self.num_steps}, got {steps}"
        return None


@dataclass(frozen=True, kw_only=True)
class Look:
    """Images at places on their way to noise, and what a model makes of them.

    Attributes:
        place: Steps n, shape (B,).
        x: The images as numbers, shape (B, C, H, W).
        noise: What was added, as multiples of the spread.
        found: The images that the model expects.
        told: What else it tells of them.
        predicted: The noise that it expects.
    """

    place: Tensor
    x: Tensor
    noise: Tensor
    found: Tensor
    told: Tensor | None
    predicted: Tensor


class SteppedModel(DiffusionModel):
    r"""Base of models that take noise away in T steps.

    .. math:: -\log p(x) \le E_q \Big[ D_{KL}\big(q(y_T | x) \,\|\, p(y_T)\big)
        + \sum_{n=2}^T D_{KL}\big(q(y_{n-1} | y_n, x) \,\|\, p(y_{n-1} | y_n)\big)
        - \log p(x | y_1) \Big]

    The last term is always computed, and one of the sum for each draw, drawn about as often as it
    is large: the mean of many draws is the bound.

    References:
        Ho et al. (2020), Denoising Diffusion Probabilistic Models,
        https://arxiv.org/abs/2006.11239, eq. 5 to 13.
    """

    config: SteppedConfig
    spreads: Tensor
    log_small: Tensor
    log_large: Tensor
    chances: Tensor

    def __init__(self, config: SteppedConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        # In float64, or what differs by little would be lost; no weights, and so not kept.
        kept = kept_variance(config.schedule, config.num_steps)
        spreads = ((1.0 - kept) / kept).sqrt()
        start, end = spreads[1:].square(), spreads[:-1].square()
        log_small = (end * (1.0 - end / start)).log()
        log_large = ((1.0 + end) * (start - end) / (1.0 + start)).log()
        # After the first step nothing is uncertain: it takes the variance of the second.
        log_small[0] = log_small[1] - (1.0 + end[1]).log()
        # About what a term is: of an image of that spread, what noise leaves unknown.
        unknown = USUAL_VARIANCE * start / (USUAL_VARIANCE + start)
        weights = (unknown * (1.0 / end - 1.0 / start))[1:]
        for name, values in (
            ("spreads", spreads),
            ("log_small", log_small),
            ("log_large", log_large),
            ("chances", weights / weights.sum()),
        ):
            self.register_buffer(name, values, persistent=False)

    def predict(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """The noise in images that fade as it comes in, and what else the network tells.

        Args:
            z: Shape (B, C, H, W).
            t: Times, shape (B,), from 0 to `PAPER_STEPS`.
        """
        raise NotImplementedError

    def fraction(self, told: Tensor | None) -> Tensor | float:
        """Where a step's log-variance lies between the smallest, at 0, and the largest, at 1.

        The smallest is right if the image is known, the largest if the image is but noise.
        """
        raise NotImplementedError

    # --- along the way ----------------------------------------------------------------------------

    def spread(self, place: float) -> float:
        """The spread after so many steps."""
        return float(self.spreads[int(place)])

    def path(self, steps: int | None) -> Sequence[float]:
        """All steps backwards, or as many of them at equal distances."""
        last = self.config.num_steps
        num = steps or last
        apart = (last - 1) / max(num - 1, 1)
        return [*(round(last - apart * index) for index in range(num)), 0]

    def denoise(self, y: Tensor, place: Tensor) -> tuple[Tensor, Tensor | None]:
        """The image without the noise that is predicted; see `DiffusionModel.denoise`.

        In evaluation it keeps to what images can hold.
        """
        spread = beside(self.spreads[place.long()].to(y.dtype))
        t = (place.to(y.dtype) - 1.0) * (PAPER_STEPS / self.config.num_steps)
        noise, told = self.predict(y / (1.0 + spread.square()).sqrt(), t)
        x = y - spread * noise
        return (x if self.training else x.clamp(-self.top, self.top)), told

    def log_variance(self, start: float, end: float, told: Tensor | None) -> Tensor | float:
        """Between the smallest and the largest, as the model has it."""
        small = math.log(end**2) + math.log1p(-((end / start) ** 2))
        large = math.log((1.0 + end**2) * (start**2 - end**2) / (1.0 + start**2))
        return small + self.fraction(told) * (large - small)

    def look(self, x: Tensor, place: Tensor, noise: Tensor) -> Look:
        """Adds noise to images, and asks the model what they were.

        Args:
            x: Images as numbers, shape (B, C, H, W).
            place: Steps n, shape (B,).
            noise: Standard normal, of the shape of the images.
        """
        spread = beside(self.spreads[place].to(x.dtype))
        y = x + spread * noise
        found, told = self.denoise(y, place)
        predicted = (y - found) / spread
        return Look(place=place, x=x, noise=noise, found=found, told=told, predicted=predicted)

    # --- the bound --------------------------------------------------------------------------------

    def term(self, levels: Tensor, look: Look, found: Tensor) -> Tensor:
        """The term of the bound at each place.

        Args:
            levels: Integers, shape (B, C, H, W).
            look: At places of the images.
            found: The images that the model expects, with or without their gradient.

        Returns:
            In nats, shape (B,).
        """
        dtype, at = look.x.dtype, look.place - 1
        small, large = (beside(t[at].to(dtype)) for t in (self.log_small, self.log_large))
        log_variance = small + self.fraction(look.told) * (large - small)
        ratio = (self.spreads[look.place - 1] / self.spreads[look.place]).square()
        error = beside((1.0 - ratio).to(dtype)) * (look.x - found)
        excess = log_variance - small
        divergence = 0.5 * (excess - 1.0 + (-excess).exp() + error.square() * (-log_variance).exp())
        num = cast(int, self.data.levels)
        decoded = binned_normal_log_prob(levels, look.x, found, 0.5 * log_variance, num)
        is_first = beside(look.place == 1)
        return torch.where(is_first, -decoded, divergence).sum(dim=(1, 2, 3))

    def drawn_places(
        self, like: Tensor, generator: torch.Generator | None, *, first: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Steps and their chances, both (B,).

        Args:
            like: Shape (B, ...).
            first: Chance of the first step.
        """
        chances = torch.cat((self.chances.new_tensor([first]), (1.0 - first) * self.chances))
        u = evenly(like.to(chances.dtype), generator)
        index = torch.searchsorted(chances.cumsum(0), u, right=True).clamp_max(len(chances) - 1)
        return index + 1, chances[index].to(like.dtype)

    def prior_term(self, x: Tensor) -> Tensor:
        """The term of the bound that no weight changes, (B,), in nats."""
        return self.prior_divergence(x, self.spreads[-1].to(x.dtype))

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """One estimate of the bound, for each image of levels; see `DensityModel.log_prob`."""
        del context
        values = self.values(x)
        later, chance = self.drawn_places(values, generator)
        # Both terms of an image go through the network together.
        places = torch.cat((torch.ones_like(later), later))
        both = torch.cat((values, values))
        look = self.look(both, places, normal(both, generator))
        first, other = self.term(torch.cat((x, x)), look, look.found).chunk(2)
        return -(first + other / chance + self.prior_term(values))

    # --- training ---------------------------------------------------------------------------------

    def uniform_look(self, x: Tensor, generator: torch.Generator | None) -> Look:
        """A look at images at steps that are drawn equally often."""
        place = (evenly(x, generator) * self.config.num_steps).long() + 1
        return self.look(x, place.clamp_max(self.config.num_steps), normal(x, generator))

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """Mean squared error of the noise."""
        look = self.uniform_look(self.values(batch.x), step.generator)
        return (look.predicted - look.noise).square().mean()


def kept_variance(schedule: str, num_steps: int) -> Tensor:
    r"""The part of an image's variance that is left after each step.

    Args:
        schedule: As in `SteppedConfig`.
        num_steps: Number T.

    Returns:
        :math:`\bar\alpha_0 = 1 \ldots \bar\alpha_T`, of float64.

    Example:
        >>> kept_variance("linear", 1000)[[0, 1, 500, 1000]]
        tensor([1.0000e+00, 9.9990e-01, 7.8587e-02, 4.0358e-05], dtype=torch.float64)

    References:
        Nichol and Dhariwal (2021), Improved Denoising Diffusion Probabilistic Models,
        https://arxiv.org/abs/2102.09672, section 3.2; the linear one is that of Ho et al. (2020).
    """
    if schedule == "linear":
        scale = PAPER_STEPS / num_steps
        betas = torch.linspace(1e-4 * scale, 0.02 * scale, num_steps, dtype=torch.float64)
    else:
        times = torch.linspace(0.0, 1.0, num_steps + 1, dtype=torch.float64)
        fade = ((times + OFFSET) / (1.0 + OFFSET) * (math.pi / 2)).cos().square()
        betas = 1.0 - fade[1:] / fade[:-1]
    kept = (1.0 - betas.clamp_max(LARGEST)).cumprod(dim=0)
    return torch.cat((kept.new_ones(1), kept))
