r"""The flow blocks of TarFlow: autoregressive over tokens, and the coupling of its ablation.

Both apply :math:`z = (x - \\mu)\\,e^{-\alpha}` to values of tokens (B, N, D), with
:math:`\\mathrm{ladj} = -\\sum \alpha`; a volume-preserving block has :math:`\alpha = 0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.autoregressive.tarflow.config import TarFlowConfig
from flowbench_models.autoregressive.tarflow.sampling import Guidance, Sweeps
from flowbench_models.nets.transformer import TokenDecoder, TokenTransformer

Tick = Callable[[float], None]


SOFTPLUS_ONE = math.log(math.e - 1.0)
"""Where a softplus is 1."""

FAR = 1e4
"""Values that sweeps do not go beyond on their way: in attention one infinity spoils all tokens."""


class FlowBlock(nn.Module):
    """A bijection of token sequences that may depend on a class label.

    Attributes:
        sweeps: How many the last inverse took.
    """

    def __init__(self, config: TarFlowConfig) -> None:
        super().__init__()
        self.sweeps = 0
        self._soft_clip = config.soft_clip
        self._softplus = config.scale == "softplus" and not config.volume_preserving

    def parameters_of(self, raw: Tensor) -> Tensor:
        """Log-scales and means, of what a network gives: (..., D or 2D), as `_normalise` has it."""
        if self._soft_clip is not None:
            raw = self._soft_clip * torch.tanh(raw / self._soft_clip)
        if not self._softplus:
            return raw
        scale, mean = raw.chunk(2, dim=-1)
        return torch.cat((F.softplus(scale + SOFTPLUS_ONE).log(), mean), dim=-1)

    def forward(
        self, x: Tensor, labels: Tensor | None, *, checkpoint: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Maps data to latent.

        Args:
            x: Tokens, shape (B, N, D).
            labels: Shape (B,), the number of classes where one is withheld; None withholds all.
            checkpoint: Whether the network is recomputed in the backward pass.

        Returns:
            z, shape (B, N, D), and ladj, shape (B,), in nats.
        """
        raise NotImplementedError

    def inverse(
        self,
        z: Tensor,
        labels: Tensor | None,
        guidance: Guidance | None,
        tick: Tick,
        sweeps: Sweeps | None = None,
    ) -> Tensor:
        """Maps latent to data; nothing is differentiated.

        Args:
            z: Tokens, shape (B, N, D).
            labels: As in `forward`.
            guidance: Exaggerates the parameters; None inverts `forward`.
            tick: Told the part of the work that is done.
            sweeps: How all tokens are made at once; None makes one after the other.

        Returns:
            x, shape (B, N, D).
        """
        raise NotImplementedError


class AutoregressiveBlock(FlowBlock):
    r"""Transforms each token given those before it; the first one passes.

    The causal transformer's output at a token holds the parameters of the next, so the last token
    is not fed to it. Its position therefore has no effect, as in the released code.

    Args:
        num_tokens: Number N of tokens.
        token_dims: Values D of a token.
        num_classes: Number of class labels; 0 without any.
        num_layers: Of the transformer.

    References:
        Zhai et al. (2024), Normalizing Flows are Capable Generative Models,
        https://arxiv.org/abs/2412.06329, eq. 5-8.
    """

    def __init__(
        self,
        config: TarFlowConfig,
        num_tokens: int,
        token_dims: int,
        num_classes: int,
        *,
        num_layers: int,
    ) -> None:
        super().__init__(config)
        num_parameters = token_dims * (1 if config.volume_preserving else 2)
        self.net = _network(config, token_dims, num_parameters, num_tokens, num_classes, num_layers)

    def forward(
        self, x: Tensor, labels: Tensor | None, *, checkpoint: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Maps data to latent, all tokens at once; see `FlowBlock.forward`."""
        first, rest = x[:, :1], x[:, 1:]
        # The output at a token is about the next one, so the last input would be about none.
        raw = self.net(x[:, :-1], labels, checkpoint=checkpoint)
        moved, ladj = _normalise(rest, self.parameters_of(raw))
        return torch.cat([first, moved], dim=1), ladj

    @torch.no_grad()
    def inverse(
        self,
        z: Tensor,
        labels: Tensor | None,
        guidance: Guidance | None,
        tick: Tick,
        sweeps: Sweeps | None = None,
    ) -> Tensor:
        """Maps latent to data, token by token or by sweeps; see `FlowBlock.inverse`."""
        self.sweeps = 0
        if sweeps is not None:
            return self._sweep(z, labels, guidance, tick, sweeps)
        # Tokens outermost: each step then writes one contiguous piece.
        x = z.transpose(0, 1).clone(memory_format=torch.contiguous_format)  # (N, B, D)
        tokens = x.unbind(0)
        last = len(tokens) - 1
        decoder = self._decoder(z, labels, guidance)
        for position in range(last):
            token = tokens[position]
            if guidance is None:
                parameters = self.parameters_of(decoder.step(token, position))
            else:
                # Both branches in one batch: a step is short, and its launches cost more than its
                # rows.
                both = decoder.step(torch.cat([token, token]), position)
                parameters = guidance.combine(self.parameters_of(both), (position + 1) / last)
            # In place: the next step reads it from there.
            _restore_(tokens[position + 1], parameters)
            tick((position + 1) / last)
        return x.transpose(0, 1)

    def _sweep(
        self,
        z: Tensor,
        labels: Tensor | None,
        guidance: Guidance | None,
        tick: Tick,
        sweeps: Sweeps,
    ) -> Tensor:
        x, last = z.clamp(-FAR, FAR), z.shape[1] - 1
        for start, end in pairwise(sweeps.bounds(last)):
            moved = slice(start + 1, end + 1)
            for _ in range(min(end - start, sweeps.most or last)):
                parameters = self._swept(x[:, :end], labels, guidance, last)[:, start:]
                new = _restore_(z[:, moved].clone(), parameters).nan_to_num(0.0).clamp(-FAR, FAR)
                change = float((new - x[:, moved]).abs().max())
                x[:, moved] = new
                self.sweeps += 1
                if change <= sweeps.tolerance:
                    break
            tick(end / last)
        return x

    def _swept(
        self, x: Tensor, labels: Tensor | None, guidance: Guidance | None, last: int
    ) -> Tensor:
        """Parameters of the tokens behind each of x, all at once."""
        if guidance is None:
            return self.parameters_of(self.net(x, labels))
        both = self.net(torch.cat([x, x]), guidance.both_labels(labels))
        positions = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)
        return guidance.combine(self.parameters_of(both), (positions / last).unsqueeze(-1))

    def _decoder(self, z: Tensor, labels: Tensor | None, guidance: Guidance | None) -> TokenDecoder:
        if guidance is None:
            return TokenDecoder(self.net, len(z), labels)
        return TokenDecoder(
            self.net, 2 * len(z), guidance.both_labels(labels), guidance.both_temperatures(z)
        )


class CouplingBlock(FlowBlock):
    """Transforms one half of every token's values given the other halves of all tokens.

    Args:
        num_tokens: Number N of tokens.
        token_dims: Values D of a token.
        num_classes: Number of class labels; 0 without any.
        num_layers: Of the transformer.
        swap: Whether the second half is read and the first transformed.
    """

    def __init__(
        self,
        config: TarFlowConfig,
        num_tokens: int,
        token_dims: int,
        num_classes: int,
        *,
        num_layers: int,
        swap: bool,
    ) -> None:
        super().__init__(config)
        self.swap = swap
        second = token_dims // 2
        self._first = token_dims - second
        num_read, num_moved = (second, self._first) if swap else (self._first, second)
        num_parameters = num_moved * (1 if config.volume_preserving else 2)
        self.net = _network(config, num_read, num_parameters, num_tokens, num_classes, num_layers)

    def forward(
        self, x: Tensor, labels: Tensor | None, *, checkpoint: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `FlowBlock.forward`."""
        read, rest = self._halves(x)
        raw = self.net(read, labels, checkpoint=checkpoint)
        moved, ladj = _normalise(rest, self.parameters_of(raw))
        return self._joined(read, moved), ladj

    @torch.no_grad()
    def inverse(
        self,
        z: Tensor,
        labels: Tensor | None,
        guidance: Guidance | None,
        tick: Tick,
        sweeps: Sweeps | None = None,
    ) -> Tensor:
        """Maps latent to data in one pass; see `FlowBlock.inverse`."""
        read, rest = self._halves(z)
        raw = self.net(read, labels)
        if guidance is None:
            parameters = self.parameters_of(raw)
        else:
            both = torch.cat([raw, self.net(read, None)])
            parameters = guidance.combine(self.parameters_of(both))
        tick(1.0)
        return self._joined(read, _restore_(rest.clone(), parameters))

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x[..., : self._first], x[..., self._first :]
        return (second, first) if self.swap else (first, second)

    def _joined(self, read: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, read] if self.swap else [read, moved], dim=-1)


def _network(
    config: TarFlowConfig,
    in_dims: int,
    out_dims: int,
    num_tokens: int,
    num_classes: int,
    num_layers: int,
) -> TokenTransformer:
    return TokenTransformer(
        in_dims,
        out_dims,
        num_tokens=num_tokens,
        width=config.width,
        num_layers=num_layers,
        head_dim=config.head_dim,
        causal=config.block == "autoregressive",
        num_classes=num_classes,
    )


def _normalise(x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Values (B, M, D) less their mean, over their scale; parameters are (B, M, D or 2D)."""
    parameters = parameters.to(x.dtype)  # out of autocast: the scale needs float32
    if parameters.shape[-1] == x.shape[-1]:
        return x - parameters, x.new_zeros(len(x))
    log_scale, mean = parameters.chunk(2, dim=-1)
    return (x - mean) * (-log_scale).exp(), -log_scale.sum(dim=(1, 2))


def _restore_(z: Tensor, parameters: Tensor) -> Tensor:
    """Undoes `_normalise`, in place."""
    if parameters.shape[-1] == z.shape[-1]:
        return z.add_(parameters)
    log_scale, mean = parameters.chunk(2, dim=-1)
    return z.mul_(log_scale.exp()).add_(mean)
