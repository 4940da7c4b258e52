"""Guided and denoised samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Guidance:
    r"""Exaggerates what the label, or sharp attention, adds to each block's parameters.

    With the parameters :math:`\theta` of the guided branch and those :math:`\theta_u` of a branch
    that sees no label, and whose attention logits are divided by :math:`\tau`, the inverse of a
    block takes :math:`\theta + g (\theta - \theta_u)` for both the log-scale and the mean. g is the
    weight w, or rises with the position i as :math:`w\,(i + 1) / (N - 1)`.

    Attributes:
        weight: w, not negative.
        linear: Whether g rises linearly with the position, to w at the last token.
        temperature: tau of the other branch's attention.
        withheld: Label that stands for no label, the number of classes.

    References:
        Zhai et al. (2024), Normalizing Flows are Capable Generative Models,
        https://arxiv.org/abs/2412.06329, section 3.4.
    """

    weight: float
    linear: bool = False
    temperature: float = 1.0
    withheld: int = 0

    def both_labels(self, labels: Tensor | None) -> Tensor | None:
        """Labels of the guided rows, then of the others.

        Args:
            labels: Of the guided rows, shape (B,); None withholds all.

        Returns:
            Shape (2B,); None if all are withheld.
        """
        if labels is None:
            return None
        return torch.cat([labels, torch.full_like(labels, self.withheld)])

    def both_temperatures(self, like: Tensor) -> Tensor | None:
        """Attention temperatures of the guided rows, then of the others.

        Args:
            like: A tensor (B, ...) of the guided rows.

        Returns:
            Shape (2B,); None if all are 1.
        """
        if self.temperature == 1.0:
            return None
        ones = like.new_ones(len(like))
        return torch.cat([ones, self.temperature * ones])

    def combine(self, parameters: Tensor, part: float | Tensor = 1.0) -> Tensor:
        """Parameters to invert with.

        Args:
            parameters: Of the guided rows, then of the others, shape (2B, ...).
            part: Position of the token to come over that of the last, in (0, 1]; of several tokens
                shape (M, 1).

        Returns:
            Shape (B, ...).
        """
        guided, other = parameters.chunk(2)
        strength = self.weight * part if self.linear else self.weight
        # Beyond the guided end: from the other branch through the guided one.
        return guided + strength * (guided - other)


@dataclass(frozen=True, kw_only=True)
class Sweeps:
    r"""Inverts a block by sweeps over all tokens at once instead of token by token.

    A sweep computes every token from the others as they stand, :math:`x_i \leftarrow
    \mu_i(x_{<i}) + e^{\alpha_i(x_{<i})} z_i`, the Jacobi iteration of the triangular system. As the
    first token is right from the start, each sweep makes one more exact: all N after N - 1 at most.
    With several segments each is swept in turn, given those before it (Gauss-Seidel-Jacobi), and is
    exact after as many sweeps as it has tokens.

    Attributes:
        tolerance: A segment is done when no value has changed by more.
        most: Sweeps of a segment, at most; None for as many as make it exact.
        segments: Number of segments.

    References:
        Song et al. (2021), Accelerating Feedforward Computation via Parallel Nonlinear Equation
        Solving, https://arxiv.org/abs/2002.03629; Liu and Qin (2025), Accelerate TarFlow Sampling
        with GS-Jacobi Iteration, https://arxiv.org/abs/2505.12849.
    """

    tolerance: float = 0.0
    most: int | None = None
    segments: int = 1

    def bounds(self, num_moved: int) -> list[int]:
        """Where segments of the tokens that a block moves begin, and the last ends."""
        segments = min(self.segments, num_moved)
        return [num_moved * segment // segments for segment in range(segments + 1)]


def denoise(y: Tensor, sigma: float, log_prob: Callable[[Tensor], Tensor]) -> Tensor:
    r"""Posterior mean of each noisy example by the score, in one pass over the batch.

    For :math:`y = x + \sigma\epsilon` with density p, :math:`E[x \mid y] = y + \sigma^2 \nabla_y
    \log p(y)` (Tweedie's formula), which is exact for the p that the model learned.

    Args:
        y: Noisy examples, shape (B, *event_shape).
        sigma: Standard deviation of their noise.
        log_prob: Log-density of noisy examples, shape (B,), in nats; each depends on its own
            example alone.

    Returns:
        Shape (B, *event_shape).

    References:
        Zhai et al. (2024), https://arxiv.org/abs/2412.06329, section 3.3;
        Efron (2011), Tweedie's Formula and Selection Bias,
        https://doi.org/10.1198/jasa.2011.tm11181.
    """
    with torch.enable_grad():
        # Sampling runs without gradients, and its result is no leaf of a graph.
        leaf = y.detach().requires_grad_()
        (score,) = torch.autograd.grad(log_prob(leaf).sum(), leaf)
    return y + sigma**2 * score


@contextmanager
def held_fixed(module: nn.Module) -> Iterator[None]:
    """Parameters need no gradients inside the block, so that a score costs none of theirs.

    Yields:
        Nothing.
    """
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_()
