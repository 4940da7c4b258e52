"""Wavelet Flow: one flow for each level of a Haar pyramid, independent of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    Ema,
    InvertibleModel,
    Latents,
    ModelConfig,
    Phase,
    Preprocessing,
    Preset,
    Step,
    Training,
    bits_per_dim,
)
from flowbench.api.models import WithInfo, standard_normal_log_prob
from flowbench_models.bijections.base import (
    Bijection,
    BoundedAffine,
    Composition,
    HalfCoupling,
)
from flowbench_models.bijections.channels import (
    FACTOR,
    ActNorm,
    FlowStep,
    FlowSteps,
    FullConv1x1,
    Squeeze,
)
from flowbench_models.coupling.glow.model import ActNormConv2d
from flowbench_models.defaults import CENTRED, halving_problem, is_large, is_toy, small_training
from flowbench_models.nets.convolution import ContextualConditioner, ZeroConv2d

PAPER_STEPS, WARMUP_STEPS = 5_000_000, 125_000
EPOCH_STEPS = 782
"""What the released code calls an epoch, of the average and of the second moment."""

PAPER_TRAINING = Training(
    batch_size=64,
    optimizer="adamax",
    lr=1e-3,
    betas=(0.9, 1.0 - 1.0 / EPOCH_STEPS),
    average=Ema(decay=1.0 - 1.0 / EPOCH_STEPS),
    phases=(Phase(schedule="constant", warmup=WARMUP_STEPS / PAPER_STEPS),),
    init_examples=64,
)
ASSUMPTIONS = (
    "all levels are trained together, which is the same as one by one: they share no parameter "
    "and Adamax knows no scale; released training ends by hand",
    "the finest level is trained on whole images, where the released code crops a half",
)


def _paper(count: str, size: int, steps: tuple[int, ...], widths: tuple[int, ...]) -> Preset:
    return Preset(
        summary=f"{count} parameters, the ImageNet {size}x{size} model; "
        f"--budget {PAPER_STEPS}steps",
        source="paper",
        values={"steps": steps, "widths": widths, "blocks": 3, "training": PAPER_TRAINING},
        assumptions=ASSUMPTIONS,
    )


class WaveletFlowConfig(ModelConfig):
    """Configuration of Wavelet Flow.

    Attributes:
        steps: Steps of each level's flow, the coarsest first: that of the last averages, then of
            the details of ever finer images.
        widths: Hidden channels of each level's networks.
        blocks: Residual blocks of each network.
        trained: All levels ``together``, or ``in turn``, the coarsest first, each in a phase of its
            own: ``training.phases`` has as many as there are levels.
    """

    steps: tuple[int, ...] = Field(default=(4, 4, 4, 4), min_length=2)
    widths: tuple[int, ...] = Field(default=(32, 32, 32, 32), min_length=2)
    blocks: int = Field(default=1, ge=1)
    trained: Literal["together", "in turn"] = "together"
    preprocessing: Preprocessing = CENTRED

    presets: ClassVar[Mapping[str, Preset]] = {
        "toy": Preset(
            summary="three levels of two steps, for images of a few pixels",
            values={
                "steps": (2, 2, 2),
                "widths": (16, 16, 16),
                "training": small_training(batch_size=64),
            },
        ),
        "digits": Preset(
            summary="four levels of four steps, for a minute on digits (8x8)",
            tuning_trials=4,
            values={"training": small_training(batch_size=64, lr=6e-3)},
        ),
        "natural-patches": Preset(
            summary="six levels of two steps, for minutes on 32x32 images",
            tuning_trials=2,
            values={
                "steps": (2,) * 6,
                "widths": (32,) * 6,
                "training": small_training(batch_size=16, lr=6e-3),
            },
        ),
        "imagenet32": _paper("64,225,936", 32, (8, 8, 16, 16, 16, 16), (*(128,) * 5, 256)),
        "imagenet64": _paper("96,139,794", 64, (8, 8, 16, 16, 16, 16, 16), (*(128,) * 5, 256, 256)),
    }

    @model_validator(mode="after")
    def _has_as_many_of_each_as_levels(self) -> Self:
        levels = len(self.steps)
        if len(self.widths) != levels or min(self.steps) < 1 or min(self.widths) < 1:
            raise ValueError(
                f"steps {self.steps} and widths {self.widths} are positive, one for each level"
            )
        phases = len(self.training.phases)
        if self.trained == "in turn" and phases != levels:
            raise ValueError(
                f"levels in turn need {levels} training.phases, one for each, got {phases}"
            )
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16 or of odd sizes, else ``natural-patches``.

        Images of fewer than 8x8 pixels take ``toy``.
        """
        if is_toy(data):
            return "toy"
        return "natural-patches" if is_large(data) else "digits"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """A pyramid halves images, once for each level but the coarsest."""
        levels = len(self.steps)
        name = f"wavelet-flow with {levels} levels"
        return halving_problem(data, levels - 1, model=name, remedy="set fewer steps and widths")


class WaveletFlow(InvertibleModel):
    r"""Wavelet Flow.

    An image is taken apart into averages of 2x2 blocks and details, the averages again, and so on:
    :math:`p(x) = p(a_0) \prod_l p(d_l \mid a_l)`. Each factor is a flow of steps [actnorm, 1x1
    convolution, coupling] and a last actnorm, whose networks see the averages at the same size.
    No two share anything. Averages of images of one channel have a Gaussian alone.

    ``log_prob`` tells each level's part in bits for each dimension of the image; they add up to
    those of the whole.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Yu et al. (2020), Wavelet Flow: Fast Training of High Resolution Normalizing Flows,
        https://arxiv.org/abs/2010.13821, with the details of the released code. Departures: the
        logarithms of actnorms' scales have no factor of 3, and the shift of a coupling comes after
        its scale, the same up to its size.
    """

    config: WaveletFlowConfig

    def __init__(self, config: WaveletFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        channels = data.event_shape[0]
        self.haar = Haar()
        details = (FACTOR**2 - 1) * channels
        self.flows = nn.ModuleList(
            _level(
                details if level else channels,
                channels if level else 0,
                steps=steps,
                width=width,
                blocks=config.blocks,
            )
            for level, (steps, width) in enumerate(zip(config.steps, config.widths, strict=True))
        )
        self.to(memory_format=torch.channels_last)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent a level, the coarsest first."""
        channels, height, width = self.data.event_shape
        deepest = len(self.flows) - 1
        sizes = [(height >> times, width >> times) for times in range(deepest, 0, -1)]
        details = (FACTOR**2 - 1) * channels
        return ((channels, *sizes[0]), *((details, *size) for size in sizes))

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Initialises each level from a first batch."""
        with torch.no_grad():
            for flow, level in zip(self._flows(), self._pyramid(batch.x), strict=True):
                flow.initialize(level[0], level[1])

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps images (B, C, H, W) to one latent a level; see `InvertibleModel.to_latent`."""
        levels = [self._to_latent(level, x) for level in range(len(self.flows))]
        return tuple(z for z, _ in levels), torch.stack([ladj for _, ladj in levels]).sum(dim=0)

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents to images, the coarsest level first."""
        flows = self._flows()
        x = flows[0].inverse(latents[0])
        for flow, latent in zip(flows[1:], latents[1:], strict=True):
            x = self.haar.inverse(torch.cat((x, flow.inverse(latent, x)), dim=1))
        return x

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> WithInfo:
        """Log-density, with each level's part; see `InvertibleModel.log_prob`."""
        levels = [self._level_log_prob(level, x) for level in range(len(self.flows))]
        info = {
            f"bits_level_{level}": bits_per_dim(value, self.data.num_dims)
            for level, value in enumerate(levels)
        }
        return torch.stack(levels).sum(dim=0), info

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """As for any density; of levels in turn, that of the phase's level alone."""
        if self.config.trained == "together":
            return super().loss(batch, step)
        log_prob = self._level_log_prob(step.phase, batch.x)
        return bits_per_dim(log_prob, self.data.num_dims).mean()

    def _flows(self) -> list[Composition]:
        return cast("list[Composition]", list(self.flows))

    def _level_log_prob(self, level: int, x: Tensor) -> Tensor:
        z, ladj = self._to_latent(level, x)
        return standard_normal_log_prob((z,)) + ladj

    def _to_latent(self, level: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """The latent of one level, and ladj with that of the halving it belongs to."""
        values, averages, halving = self._pyramid(x)[level]
        z, ladj = self.flows[level](values, averages)
        return z, ladj + halving

    def _pyramid(self, x: Tensor) -> list[tuple[Tensor, Tensor | None, Tensor]]:
        """Of each level, the coarsest first: its values, their context, and ladj of the halving."""
        levels: list[tuple[Tensor, Tensor | None, Tensor]] = []
        for _ in range(len(self.flows) - 1):
            halved, ladj = self.haar(x)
            channels = x.shape[1]
            x, details = halved[:, :channels], halved[:, channels:]
            levels.append((details, x, ladj))
        return [(x, None, x.new_zeros(x.shape[0])), *reversed(levels)]


class Haar(Bijection):
    r"""Averages of 2x2 blocks and differences: (C, H, W) to (4C, H/2, W/2), averages first.

    Four neighbours a, b, c, d become a quarter of a+b+c+d, a-b+c-d, a+b-c-d and a-b-c+d, so that
    ladj is :math:`-\log 2` for each dimension.

    Example:
        >>> z, ladj = Haar()(torch.tensor([[[[4.0, 0.0], [0.0, 0.0]]]]))
        >>> z.flatten(), torch.allclose(ladj, torch.tensor(-4 * math.log(2.0)))
        (tensor([1., 1., 1., 1.]), True)

    References:
        Yu et al. (2020), Wavelet Flow, https://arxiv.org/abs/2010.13821, section 3.1.
    """

    mixing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = Squeeze(by_position=True)
        signs = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
        # Not saved: it is fixed.
        self.register_buffer("mixing", torch.tensor(signs, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        ladj = x.new_full((x.shape[0],), -math.log(2.0) * x[0].numel())
        return self._mix(self.squeeze(x)[0]) / FACTOR**2, ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        # The matrix of signs is symmetric, and its square four times the identity.
        return self.squeeze.inverse(self._mix(z))

    def _mix(self, z: Tensor) -> Tensor:
        blocks = z.unflatten(1, (FACTOR**2, -1))  # (B, 4, C, H, W)
        return torch.einsum("ij,bjchw->bichw", self.mixing, blocks).flatten(1, 2)


class ResidualNet(ContextualConditioner):
    """Normalised convolutions: 1x1, residual blocks of 3x3 and 1x1, then one that starts at zero.

    Args:
        num_context: Channels of a context that is seen beside the input; 0 for none.
        width: Hidden channels.
        blocks: Residual blocks.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, *, num_context: int, width: int, blocks: int
    ) -> None:
        super().__init__()
        self.input = ActNormConv2d(num_inputs + num_context, width, 1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [ActNormConv2d(width, width, 3), ActNormConv2d(width, width, 1, rectify=False)]
            )
            for _ in range(blocks)
        )
        self.output = ZeroConv2d(width, num_outputs)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, num_inputs, H, W), and a context of its size, to (B, num_outputs, H, W)."""
        parameters: Tensor = self.output(self._hidden(h, context, calibrate=False))
        return parameters

    def initialize(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Normalises layer by layer from a first batch; returns the parameters."""
        parameters: Tensor = self.output(self._hidden(h, context, calibrate=True))
        return parameters

    def _hidden(self, h: Tensor, context: Tensor | None, *, calibrate: bool) -> Tensor:
        def run(layer: Any, h: Tensor) -> Tensor:
            out: Tensor = layer.initialize(h) if calibrate else layer(h)
            return out

        h = run(self.input, h if context is None else torch.cat((h, context), dim=1))
        for block in self.blocks:
            inner = h
            for layer in block.children():
                inner = run(layer, inner)
            h = (h + inner).relu()
        return h


def _level(
    num_channels: int, num_context: int, *, steps: int, width: int, blocks: int
) -> Composition:
    """The flow of a level; without couplings where one channel has no halves."""
    if num_channels == 1:
        return Composition([ActNorm(num_channels)])
    num_conditioning = num_channels // 2
    num_transformed = num_channels - num_conditioning
    parts: list[FlowStep] = []
    for _ in range(steps):
        law = BoundedAffine(bound=1.0)
        net = ResidualNet(
            num_conditioning,
            law.num_parameters * num_transformed,
            num_context=num_context,
            width=width,
            blocks=blocks,
        )
        coupling = HalfCoupling(law, net, swap=False, num_transformed=num_transformed)
        parts.append(FlowStep(ActNorm(num_channels), FullConv1x1(num_channels), coupling))
    return Composition([FlowSteps(parts), ActNorm(num_channels)])
