"""What all diffusion models share: the noise that hides an image, and the ways back from it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
from flowbench.api import Context, DensityModel, SamplingOptions, WithInfo, report_progress
from torch import Tensor

from flowbench_families.diffusion.config import DiffusionConfig, DiffusionSampling

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class DiffusionModel(DensityModel):
    r"""A denoiser :math:`D(y)` of images under noise, :math:`y = x + s \epsilon`.

    s, the *spread*, goes from almost nothing to so much that nothing of the image is left. Models
    that let the image fade as noise comes in, :math:`z = \alpha x + \sigma \epsilon`, are told
    :math:`z = y / \sqrt{1 + s^2}`, of which :math:`s = \sigma / \alpha`.

    A *place* is what a subclass counts the way by: steps, or the spread itself.

    References:
        Karras et al. (2022), Elucidating the Design Space of Diffusion-Based Generative Models,
        https://arxiv.org/abs/2206.00364, section 2.
    """

    config: DiffusionConfig

    def denoise(self, y: Tensor, place: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the image is expected to be.

        Args:
            y: Image and noise, shape (B, C, H, W).
            place: Where on the way, shape (B,).

        Returns:
            The image, of the same shape; and what else the network tells of it, as ``log_variance``
            takes it.
        """
        raise NotImplementedError

    def spread(self, place: float) -> float:
        """The spread at a place."""
        raise NotImplementedError

    def path(self, steps: int | None) -> Sequence[float]:
        """The places that samples go through: where they start, and where each step ends.

        Args:
            steps: Number of steps; None takes as many as are usual.
        """
        raise NotImplementedError

    def prior_variance(self, spread: Tensor) -> Tensor:
        """Variance of y where samples start: there z is standard normal."""
        return 1.0 + spread.square()

    def log_variance(self, start: float, end: float, told: Tensor | None) -> Tensor | float:
        """Log-variance of an ancestral step from one spread to another, above 0.

        By default that of y at the end, were the image known.
        """
        del told
        return math.log(end**2) + math.log1p(-((end / start) ** 2))

    def corrected(
        self, y: Tensor, x: Tensor, ahead: Tensor, x_ahead: Tensor, start: float, end: float
    ) -> Tensor:
        """A step of second order along the probability flow.

        Solved for what is linear in the flow, so that steps may begin at much more noise than they
        end at; the image is taken as the mean of what is expected at both ends.

        Args:
            y: Where the step begins.
            x: The image that is expected there.
            ahead: Where a step of first order ends.
            x_ahead: The image that is expected there.
            start: The spread where it begins.
            end: The spread where it ends, above 0.
        """
        del ahead
        mean = 0.5 * (x + x_ahead)
        return mean + (end / start) * (y - mean)

    # --- levels and numbers -----------------------------------------------------------------------

    @property
    def top(self) -> float:
        """The number of the top level; that of the lowest is its negative."""
        return 1.0

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights."""
        return next(self.parameters()).dtype

    def values(self, levels: Tensor) -> Tensor:
        """Levels as numbers."""
        num = cast(int, self.data.levels) - 1
        return levels.to(self.dtype) * (2.0 * self.top / num) - self.top

    def levels(self, values: Tensor) -> Tensor:
        """The levels that lie nearest to numbers."""
        num = cast(int, self.data.levels) - 1
        return ((values + self.top) * (0.5 * num / self.top)).round().clamp(0, num).long()

    # --- the bound --------------------------------------------------------------------------------

    def prior_divergence(self, x: Tensor, spread: Tensor) -> Tensor:
        """Divergence of noisy images from what samples start from, (B,), in nats.

        Args:
            x: Images, shape (B, C, H, W).
            spread: Of the start, shape ().
        """
        variance = self.prior_variance(spread)
        part = spread.square() / variance
        return 0.5 * (x.square() / variance + part - 1.0 - part.log()).sum(dim=(1, 2, 3))

    # --- samples ----------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> WithInfo:
        """Goes from noise to images; see `GenerativeModel.sample`.

        It notes how often the network was evaluated.
        """
        del context
        asked = cast(DiffusionSampling, settings)
        places = self.path(asked.steps)
        start = torch.tensor(self.spread(places[0]), dtype=self.dtype, device=generator.device)
        y = start.new_empty(num, *self.data.event_shape)
        y = self.prior_variance(start).sqrt() * normal(y, generator)
        y, evaluations = self.follow(y, places, asked.solver, generator)
        count = torch.tensor(float(evaluations), dtype=y.dtype, device=y.device)
        return self.levels(y), {"num_function_evaluations": count}

    def follow(
        self, y: Tensor, places: Sequence[float], solver: str, generator: torch.Generator | None
    ) -> tuple[Tensor, int]:
        """Takes noise away along a path.

        Args:
            y: Image and noise at the first place, shape (B, C, H, W).
            places: As `path` gives them.
            solver: As in `DiffusionSampling`.
            generator: Source of new noise.

        Returns:
            What is left at the last place, and how often the network was evaluated.
        """
        evaluations = 0

        def denoised(y: Tensor, place: float) -> tuple[Tensor, Tensor | None]:
            nonlocal evaluations
            evaluations += 1
            return self.denoise(y, torch.full((len(y),), place, dtype=y.dtype, device=y.device))

        for index, (here, there) in enumerate(itertools.pairwise(places)):
            start, end = self.spread(here), self.spread(there)
            x, told = denoised(y, here)
            if solver == "ancestral":
                y = x + (end / start) ** 2 * (y - x)
                if end > 0:
                    half = 0.5 * self.log_variance(start, end, told)
                    scale = torch.as_tensor(half, dtype=y.dtype, device=y.device).exp()
                    y = y + scale * normal(y, generator)
            else:
                ahead = x + (end / start) * (y - x)
                if solver == "heun" and end > 0:
                    ahead = self.corrected(y, x, ahead, denoised(ahead, there)[0], start, end)
                y = ahead
            report_progress((index + 1) / (len(places) - 1))
        return y, evaluations


def evenly(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Numbers uniform on [0, 1), one a row, that rows near each other spread out evenly.

    Each is uniform by itself; whatever rows lie side by side, draws of one example or a whole
    batch, have few gaps: means over them have less noise than those of independent numbers.

    Args:
        like: Shape (B, ...).

    Returns:
        Shape (B,).

    Example:
        >>> u = evenly(torch.zeros(1000), torch.Generator().manual_seed(0))
        >>> round(float(u.square().mean()), 2)
        0.33
    """
    start = torch.rand((), generator=generator, dtype=like.dtype, device=like.device)
    rows = torch.arange(len(like), dtype=like.dtype, device=like.device)
    return (start + GOLDEN * rows).remainder(1.0)


def normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise of the shape of a tensor."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def beside(place: Tensor) -> Tensor:
    """Numbers (B,) as (B, 1, 1, 1), to go with images."""
    return place.view(-1, 1, 1, 1)
