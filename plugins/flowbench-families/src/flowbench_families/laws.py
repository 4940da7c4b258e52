"""Laws of the levels of a pixel, channel after channel."""

from __future__ import annotations

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Law(nn.Module):
    """Base of the laws of all channels of a pixel, with parameters that a network gives.

    Args:
        channels: Number C of channels.
        num_parameters: For each pixel.
    """

    def __init__(self, *, channels: int, num_parameters: int) -> None:
        super().__init__()
        self.channels, self.num_parameters = channels, num_parameters

    def values(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """Pixels as the numbers that a network is shown."""
        raise NotImplementedError

    def log_prob(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        """Log-probabilities of pixels.

        Args:
            pixels: Shape (B, C, H, W).
            parameters: Shape (B, num_parameters, H, W).

        Returns:
            In nats, shape (B, H, W).
        """
        raise NotImplementedError

    def sample(self, parameters: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Draws pixels.

        Args:
            parameters: Shape (B, num_parameters, H, W).
            temperature: The lower, the likelier what is drawn.

        Returns:
            Pixels, shape (B, C, H, W).
        """
        raise NotImplementedError


class PixelLaw(Law):
    """Base of the laws of integer levels.

    Args:
        levels: Number of levels, at least 2.
        channels: Number C of channels.
        num_parameters: For each pixel.
    """

    def __init__(self, *, levels: int, channels: int, num_parameters: int) -> None:
        super().__init__(channels=channels, num_parameters=num_parameters)
        self.levels = levels

    def values(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """Levels as numbers from -1 to 1."""
        return pixels.to(dtype) * (2.0 / (self.levels - 1)) - 1.0


def earlier_channels(channels: int) -> list[tuple[int, int]]:
    """All pairs of a channel and one that comes after it.

    Example:
        >>> earlier_channels(3)
        [(0, 1), (0, 2), (1, 2)]
    """
    return sorted(combinations(range(channels), 2), key=lambda pair: pair[::-1])


def draw_index(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draws from the softmax of ``logits / temperature`` along axis 1, which stays with size 1."""
    race = torch.empty_like(logits).exponential_(generator=generator).log()
    return (logits / temperature - race).argmax(dim=1, keepdim=True)


class Categorical(PixelLaw):
    """A probability for each level, with logits that move with the channels before.

    Example:
        >>> law = Categorical(levels=4, channels=1)
        >>> law.log_prob(torch.zeros(1, 1, 1, 1, dtype=torch.long), torch.zeros(1, 4, 1, 1)).exp()
        tensor([[[0.2500]]])
    """

    def __init__(self, *, levels: int, channels: int) -> None:
        super().__init__(levels=levels, channels=channels, num_parameters=levels * channels)
        # For each pair, by the level of the first channel, what is added to logits of the second.
        self.moves = nn.ParameterList(
            nn.Parameter(torch.zeros(levels, levels)) for _ in earlier_channels(channels)
        )

    def log_prob(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        """Log-probabilities of pixels; see `Law.log_prob`."""
        total = parameters.new_zeros(())
        for c in range(self.channels):
            log_p = self._logits(c, parameters, pixels).log_softmax(dim=1)
            total = total + log_p.gather(1, pixels[:, c : c + 1]).squeeze(1)
        return total

    def sample(self, parameters: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Draws pixels; see `Law.sample`.

        The temperature divides the logits.
        """
        drawn = torch.zeros_like(parameters[:, : self.channels], dtype=torch.long)
        for c in range(self.channels):
            logits = self._logits(c, parameters, drawn)
            drawn[:, c : c + 1] = draw_index(logits, temperature, generator)
        return drawn

    def _logits(self, c: int, parameters: Tensor, levels: Tensor) -> Tensor:
        """Of a channel, (B, L, H, W), given the levels of those before it."""
        logits: Tensor = parameters.unflatten(1, (self.channels, -1))[:, c]
        for move, (before, after) in zip(self.moves, earlier_channels(self.channels), strict=True):
            if after == c:
                logits = logits + F.embedding(levels[:, before], move).movedim(-1, 1)
        return logits
