"""Discrete flow matching: tokens jump from a source to text, each at a time of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor

from flowbench.api import (
    Context,
    DatasetInfo,
    DensityModel,
    Ema,
    Likelihood,
    ModelConfig,
    NoLikelihood,
    Phase,
    Preprocessing,
    Preset,
    SampleSettings,
    SamplingOptions,
    Training,
    WithInfo,
)
from flowbench_models.continuous.discrete_matching.network import TokenNetwork

LADDER = (1, 2, 4, 8, 16, 32)
"""Steps in which samples are drawn for a curve of quality against cost."""


class JumpSampling(SamplingOptions):
    """How samples are drawn (``--sample steps=64``).

    Attributes:
        temperature: Divides the logits of the tokens.
        steps: Equal stretches of time, within which tokens jump independently of each other.
    """

    steps: int = Field(default=128, ge=1)


def _training(batch_size: int, **changes: Any) -> Training:
    """AdamW as the released example on text trains."""
    return Training.model_validate(
        {
            "batch_size": batch_size,
            "optimizer": "adamw",
            "lr": 3e-4,
            "betas": (0.9, 0.95),
            "weight_decay": 0.03,
            "clip_norm": 1.0,
            "average": Ema(decay=0.999),
            "select": "last",
            **changes,
        }
    )


_RELEASED: dict[str, Any] = {
    "width": 768,
    "blocks": 12,
    "heads": 12,
    "time_width": 128,
    "dropout": 0.1,
    "training": _training(
        512, phases=(Phase(warmup=2_500 / 1_000_000, final_lr_ratio=0.1),), average=None
    ),
}
_ASSUMPTIONS = ("trained by the bound itself (released: by cross-entropy, or by that bound)",)


class DiscreteFlowMatchingConfig(ModelConfig):
    """Configuration of discrete flow matching.

    Attributes:
        source: What every token is before it jumps: ``mask``, a token of its own, or ``uniform``
            over all tokens.
        width: Channels of a token.
        blocks: Layers of the transformer.
        heads: Attention heads, of an even number of channels each.
        time_width: Channels that the time is embedded in.
        dropout: Part of what a layer adds that is dropped in training.
        last: Length of the last stretch of time, of a ``uniform`` source: within it all tokens that
            are left jump at once, since jumps grow ever more frequent towards the end.
    """

    source: Literal["mask", "uniform"] = "mask"
    width: int = Field(default=64, ge=2)
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    time_width: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    last: float = Field(default=1e-3, gt=0, lt=1)
    preprocessing: Preprocessing = Preprocessing(support="discrete")
    training: Training = _training(8, lr=4e-3, betas=(0.9, 0.99))

    sampling: ClassVar[type[SamplingOptions]] = JumpSampling
    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(summary="two layers of 64 channels, for runs of a minute", tuning_trials=4),
        "tiny-uniform": Preset(
            summary="tiny, from tokens drawn uniformly", values={"source": "uniform"}
        ),
        "text-small": Preset(
            summary="1,034,268 parameters on 27 letters: four layers of 128 channels",
            values={
                "width": 128,
                "blocks": 4,
                "heads": 4,
                "dropout": 0.1,
                "training": _training(64, lr=1e-3),
            },
        ),
        "gpt2": Preset(
            summary="169,627,218 parameters at 50,257 tokens, the released example on text, masked",
            source="paper",
            values=_RELEASED,
            assumptions=(*_ASSUMPTIONS, "the mask is never predicted, and what is no mask stays"),
        ),
        "gpt2-uniform": Preset(
            summary="169,625,681 parameters at 50,257 tokens, from tokens drawn uniformly",
            source="paper",
            values={**_RELEASED, "source": "uniform"},
            assumptions=_ASSUMPTIONS,
        ),
    }

    @model_validator(mode="after")
    def _channels_fill_heads(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of twice the heads, got {self.width} and {self.heads}"
            )
        return self

    def likelihood(self, data: DatasetInfo) -> Likelihood | NoLikelihood:
        """A bound of which each draw, at one time, is an estimate."""
        del data
        return Likelihood(measure="discrete", noise="estimates", bound=True)

    def sampling_ladder(self, data: DatasetInfo) -> tuple[SampleSettings, ...]:
        """Few steps to many."""
        del data
        return tuple(SampleSettings(options={"steps": steps}) for steps in LADDER)

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Only integers are tokens."""
        if data.levels is None:
            return f"discrete-flow-matching takes integer tokens, {data.name} has real values"
        return None


class DiscreteFlowMatching(DensityModel):
    r"""Tokens that jump from a source :math:`x_0` to data :math:`x_1`, by the time t with chance t.

    A network learns :math:`p(x_1^i \mid x_t)`. Tokens jump at the rate
    :math:`\frac{1}{1 - t}\, p(y \mid x_t)`. From a uniform source, what is left at
    :math:`1 - \epsilon` jumps at once:

    .. math:: -\log p(x_1) \le \int_0^{1-\epsilon} \frac{dt}{1-t}\, \mathbb{E} \sum_i
        \left[ \delta_{x_t^i x_1^i} - p(x_t^i \mid x_t)
        - (1 - \delta_{x_t^i x_1^i}) \log p(x_1^i \mid x_t) \right]
        - \mathbb{E} \sum_i \log p(x_1^i \mid x_{1-\epsilon})

    From a source of masks, what is no mask stays as it is, and no mask is predicted. A token jumps
    once: at the time t of any one of N jumps, drawn at random, a set M of tokens is left, each as
    likely to be the one that jumps:

    .. math:: -\log p(x_1) \le - \mathbb{E}\, \frac{N}{|M|} \sum_{i \in M} \log p(x_1^i \mid x_t)

    References:
        Gat et al. (2024), Discrete Flow Matching, https://arxiv.org/abs/2407.15595, eq. 10 and 22;
        the bound is that of Shaul et al. (2024), Flow Matching with General Discrete Paths,
        https://arxiv.org/abs/2412.03487, eq. 27, ended before its rates grow without end.
    """

    config: DiscreteFlowMatchingConfig

    def __init__(self, config: DiscreteFlowMatchingConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.num_tokens = data.levels or 0
        self.mask = self.num_tokens if config.source == "mask" else None  # the token after the last
        self.network = TokenNetwork(
            self.num_tokens + (self.mask is not None),
            width=config.width,
            num_layers=config.blocks,
            heads=config.heads,
            time_width=config.time_width,
            dropout=config.dropout,
        )

    def log_posterior(self, tokens: Tensor, t: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-probabilities of what tokens will be.

        Args:
            tokens: At these times, shape (B, N).
            t: Times, shape (B,).
            temperature: Divides the logits.

        Returns:
            Shape (B, N, K), without the mask; of a token that is not masked, where others are, it
            is not asked for.
        """
        logits = self.network(tokens, t.to(self.network.out.weight.dtype))
        log_p: Tensor = (logits[..., : self.num_tokens] / temperature).log_softmax(dim=-1)
        return log_p

    # --- the bound --------------------------------------------------------------------------------

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> WithInfo:
        """One estimate of the bound, for each example; see `DensityModel.log_prob`."""
        del context
        data = x.flatten(1).long()
        # Spread over the batch, one in each part of time: their mean has less noise.
        places = torch.arange(len(data), device=x.device)
        start = torch.rand((), generator=generator, device=x.device)
        order = torch.rand(len(data), generator=generator, device=x.device).argsort()
        spread = (places[order] + start) / len(data)
        bound = self._from_uniform if self.mask is None else self._from_masks
        return bound(data, spread, generator)

    def _from_masks(
        self, data: Tensor, spread: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Estimates at one jump each, which is so far (B,) along all of them."""
        num = data.shape[1]
        times = torch.rand(data.shape, generator=generator, device=data.device)
        jump = (num * spread).long().clamp_max(num - 1)
        t = times.sort(dim=1).values.gather(1, jump[:, None])
        left = times >= t
        tokens = data.masked_fill(left, self.num_tokens)
        log_p = self.log_posterior(tokens, t.squeeze(1)).gather(-1, data[..., None]).squeeze(-1)
        return num * (log_p * left).sum(dim=1) / left.sum(dim=1)

    def _from_uniform(
        self, data: Tensor, spread: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Estimates at one time each, which grows with a part of time (B,), and at the end."""
        # Terms grow with the rate, and so later times are drawn more often.
        t = 1.0 - self.config.last**spread
        last = torch.full_like(t, 1.0 - self.config.last)
        # The last stretch rides along, one pass for both.
        both, times = torch.cat((data, data)), torch.cat((t, last))
        tokens = self._jumped(both, times, generator)
        log_p = self.log_posterior(tokens, times)
        along, at_end = log_p.gather(-1, both[..., None]).squeeze(-1).chunk(2)
        here = tokens[: len(data)]
        of_here = log_p[: len(data)].gather(-1, here[..., None]).squeeze(-1)
        stays = here == data
        rate = stays.to(along.dtype) - of_here.exp() - along * ~stays
        return at_end.sum(dim=1) + math.log(self.config.last) * rate.sum(dim=1)

    def _jumped(self, data: Tensor, t: Tensor, generator: torch.Generator | None) -> Tensor:
        """Tokens at times (B,), of which each has jumped to the data's with that chance."""
        stays = torch.rand(data.shape, generator=generator, device=data.device) >= t[:, None]
        return torch.where(stays, self._source(data, generator), data)

    def _source(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.mask is not None:
            return torch.full_like(like, self.mask)
        return torch.randint(self.num_tokens, like.shape, generator=generator, device=like.device)

    # --- samples ----------------------------------------------------------------------------------

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> WithInfo:
        """Runs the process from its source, stretch by stretch; see `GenerativeModel.sample`."""
        del context
        asked = cast(JumpSampling, settings)
        shape = (num, self.data.num_dims)
        tokens = self._source(
            torch.zeros(shape, dtype=torch.long, device=generator.device), generator
        )
        for place in range(asked.steps):
            tokens = self.step(
                tokens, place / asked.steps, (place + 1) / asked.steps, generator,
                asked.temperature,
            )  # fmt: skip
        return tokens.view(num, *self.data.event_shape)

    def step(
        self,
        tokens: Tensor,
        start: float,
        end: float,
        generator: torch.Generator,
        temperature: float = 1.0,
    ) -> Tensor:
        """Tokens (B, N) at the end of a stretch of time, from those at its start.

        A token jumps within it with the chance that it has on the whole way, and to what the
        network says of it at the start.
        """
        t = torch.full((len(tokens),), start, device=tokens.device)
        gumbel = -torch.empty(
            (*tokens.shape, self.num_tokens), device=tokens.device
        ).exponential_(generator=generator).log()  # fmt: skip
        target = (self.log_posterior(tokens, t, temperature) + gumbel).argmax(dim=-1)
        chance = (end - start) / (1.0 - start)
        jumps = torch.rand(tokens.shape, generator=generator, device=tokens.device) < chance
        if self.mask is not None:
            jumps &= tokens == self.mask
        return torch.where(jumps, target, tokens)
