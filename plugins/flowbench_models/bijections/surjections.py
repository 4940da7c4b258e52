"""Surjections: slicing and max pooling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowbench_models.bijections.base import Surjection
from flowbench_models.bijections.channels import FACTOR

BLOCK = FACTOR**2
BITS = BLOCK.bit_length() - 1
"""What it takes to say which of a block's values is the largest."""


class Slice(Surjection):
    """Keeps the first channels; the others are the latent, standard normal.

    Args:
        num_kept: How many are kept.

    Example:
        >>> kept, latent, ladj = Slice(1)(torch.arange(4.0).view(1, 4, 1, 1))
        >>> kept.flatten(), latent.flatten(), ladj
        (tensor([0.]), tensor([1., 2., 3.]), tensor([0.]))

    References:
        Nielsen et al. (2020), SurVAE Flows, https://arxiv.org/abs/2007.02731, section 3.1.
    """

    def __init__(self, num_kept: int) -> None:
        super().__init__()
        self.num_kept = num_kept

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Takes data (B, C, ...) apart; see `Surjection.forward`."""
        return x[:, : self.num_kept], x[:, self.num_kept :], x.new_zeros(x.shape[0])

    def inverse(self, kept: Tensor, latent: Tensor) -> Tensor:
        """Puts data together again."""
        return torch.cat((kept, latent), dim=1)


class MaxPool(Surjection):
    r"""Keeps the largest value of each 2x2 block: (C, H, W) to (C, H/2, W/2).

    What is lost is at which of four places it stood, uniform, and how much smaller the other three
    values are, half-normal. Both are one latent of three channels for each: absolute values are the
    distances, and the signs of the first two spell the place. The third sign is free, and fixed to
    be positive, so that the latent is standard normal but for a factor of 2:

    .. math:: \log \tfrac14 + \sum_{j=1}^3 \log 2 N(d_j) = \log 2 + \sum_{j=1}^3 \log N(\pm d_j)

    Example:
        >>> x = torch.tensor([[[[1.0, 5.0], [2.0, 4.0]]]])
        >>> kept, latent, ladj = MaxPool()(x)
        >>> kept.flatten(), latent.flatten(), ladj  # the second of four: the first bit is set
        (tensor([5.]), tensor([-4.,  3.,  1.]), tensor([0.]))
        >>> torch.equal(MaxPool().inverse(kept, latent), x)
        True

    References:
        Nielsen et al. (2020), SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows,
        https://arxiv.org/abs/2007.02731, section 3.2 and appendix D; the half-normal distances are
        those of the released code.
    """

    others: Tensor
    order: Tensor

    def __init__(self) -> None:
        super().__init__()
        places = range(BLOCK)
        others = [[place for place in places if place != largest] for largest in places]
        order = [
            [0 if place == largest else 1 + rest.index(place) for place in places]
            for largest, rest in enumerate(others)
        ]
        # Not saved: both are fixed.
        self.register_buffer("others", torch.tensor(others), persistent=False)
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Takes images (B, C, H, W) apart; see `Surjection.forward`."""
        batch, channels, height, width = x.shape
        blocks = x.view(batch, channels, height // FACTOR, FACTOR, width // FACTOR, FACTOR)
        blocks = blocks.transpose(3, 4).flatten(-2)  # (B, C, H/2, W/2, 4)
        kept, place = blocks.max(dim=-1)
        distances = kept[..., None] - blocks.gather(-1, self.others[place])
        bits = [place.bitwise_right_shift(bit).bitwise_and(1) for bit in range(BITS)]
        signs = torch.stack([*(1 - 2 * bit for bit in bits), torch.ones_like(place)], dim=-1)
        # By the sign alone, which a distance of 0 has, too.
        latent = torch.copysign(distances, signs.to(x.dtype))
        return kept, latent.permute(0, 1, 4, 2, 3).flatten(1, 2), x.new_zeros(batch)

    def inverse(self, kept: Tensor, latent: Tensor) -> Tensor:
        """Puts images together again."""
        latent = latent.unflatten(1, (-1, BLOCK - 1)).permute(0, 1, 3, 4, 2)
        bits = torch.signbit(latent[..., :BITS]).long()
        place = sum(bits[..., bit] << bit for bit in range(BITS))
        sorted_blocks = torch.cat((kept[..., None], kept[..., None] - latent.abs()), dim=-1)
        blocks = sorted_blocks.gather(-1, self.order[place])
        batch, channels, rows, columns, _ = blocks.shape
        x = blocks.view(batch, channels, rows, columns, FACTOR, FACTOR).transpose(3, 4)
        return x.reshape(batch, channels, rows * FACTOR, columns * FACTOR)

    def log_weight(self, latent: Tensor) -> Tensor:
        """Is log 2 for each value kept, if every third sign is positive; see `Surjection`."""
        last = latent.unflatten(1, (-1, BLOCK - 1))[:, :, -1]  # (B, C, H/2, W/2)
        possible = (last >= 0).flatten(1).all(dim=1)
        weight = latent.new_full((latent.shape[0],), math.log(2.0) * last[0].numel())
        return weight.masked_fill(~possible, -math.inf)

    def from_normal(self, noise: Tensor) -> Tensor:
        """Makes a latent of standard normal noise of its shape."""
        noise = noise.unflatten(1, (-1, BLOCK - 1))
        return torch.cat((noise[:, :, :BITS], noise[:, :, BITS:].abs()), dim=2).flatten(1, 2)
