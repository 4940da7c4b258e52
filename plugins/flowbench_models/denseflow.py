"""DenseFlow: densely connected flows with noise channels, attention and learned dequantization."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field, model_validator
from pydantic_core import to_jsonable_python
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    Likelihood,
    ModelConfig,
    Phase,
    Preprocessing,
    Preset,
    Scale,
    Training,
    UniformDequantization,
)
from flowbench.errors import ConfigError, ShapeError
from flowbench_models.bijections import FactorOut, Squeeze
from flowbench_models.bijections.bounded_affine import BoundedAffine
from flowbench_models.bijections.channel_gaussian import ChannelGaussian
from flowbench_models.bijections.cross_unit import CrossUnitCoupling, DenseFlowBlock, NoiseNet
from flowbench_models.bijections.dequantization import VariationalDequantizer
from flowbench_models.bijections.flow_unit import FlowModule, FlowUnit, SwapCoupling
from flowbench_models.bijections.levels import LevelScaling
from flowbench_models.nets.conditioner import Conditioner
from flowbench_models.nets.fusion_net import FusionNet
from flowbench_models.nets.plain_conv import PlainConvNet

INTEGERS = Preprocessing(support="discrete")
CENTRED = Preprocessing(noise=UniformDequantization(), bijections=(Scale(low=-0.5, high=0.5),))

PAPER_LR, FINE_TUNING_LR = 1e-3, 2e-5
WARMUP_STEPS = 5000

INERT_DECAY = (
    "the released schedule decays its learning rate by the epoch, but its warm-up rewrites the "
    "rate at every step: what trained the published models, and is done here, is a constant rate"
)
SHIFTS_LEFT_OUT = "augmentation by random shifts of 4 % (edge-padded) is left out"
CHECKPOINTING_OFF = (
    "gradient checkpointing is off, as in the published commands; it changes memory alone"
)
CONV_WIDTH_UNKNOWN = (
    "neither paper nor code gives the width of the Glow coupling in rows 1 to 3: 512, with plain "
    "biases instead of normalisation"
)


def _paper_training(
    *, epochs: int, fine_tuning: int, num_train: int, batch_size: int = 64
) -> Training:
    """Training of the published commands: constant rate, then fine-tuning at a fiftieth of it."""
    share = epochs / (epochs + fine_tuning)
    steps = epochs * -(-num_train // batch_size)
    return Training(
        batch_size=batch_size,
        optimizer="adamax",
        lr=PAPER_LR,
        phases=(
            Phase(share=share, schedule="constant", warmup=WARMUP_STEPS / steps),
            Phase(share=1.0 - share, lr=FINE_TUNING_LR, schedule="constant", warmup=0.0),
        ),
        augment=("horizontal_flip",),
        init_examples=batch_size,
    )


def _paper_preset(
    summary: str,
    *assumptions: str,
    structure: Mapping[str, Any],
    training: Training,
) -> Preset:
    return Preset(
        summary=summary,
        source="paper",
        values={**PAPER_NETWORKS, **structure, "training": training},
        assumptions=(INERT_DECAY, CHECKPOINTING_OFF, *assumptions),
    )


PAPER_NETWORKS: Mapping[str, Any] = {
    "width": 48,
    "dense_depth": 7,
    "dense_growth": 64,
    "attention": "faithful",
    "head_width": 24,
    "landmarks": 4,
    "dequantizer_steps": 4,
    "dequantizer_width": 64,
    "dequantizer_depth": 4,
    "dequantizer_growth": 64,
    "context_growth": 16,
}
L74_K10 = {"units": (6, 4, 1), "modules": (5, 6, 20), "growth": 10}
L45_K6 = {"units": (5, 3, 1), "modules": (3, 5, 15), "growth": 6}
L45_PLAIN = {"units": (1, 1, 1), "modules": (15, 15, 15), "noise": "none"}
WIDE_CONVOLUTIONS = {"coupling": "convolutional", "width": 512}

CIFAR10 = _paper_training(epochs=400, fine_tuning=20, num_train=50_000)
IMAGENET32 = _paper_training(epochs=20, fine_tuning=2, num_train=1_281_149)
IMAGENET64 = _paper_training(epochs=10, fine_tuning=1, num_train=1_281_149, batch_size=32)
CELEBA64 = _paper_training(epochs=50, fine_tuning=5, num_train=162_770, batch_size=32)
ABLATION = _paper_training(epochs=300, fine_tuning=10, num_train=50_000)

PAPER_PRESETS: Mapping[str, Preset] = {
    "74-10": _paper_preset(
        "130.65 M parameters, the paper's model, trained as on CIFAR-10",
        SHIFTS_LEFT_OUT,
        structure=L74_K10,
        training=CIFAR10,
    ),
    "74-10-imagenet32": _paper_preset(
        "the same model, trained as on ImageNet 32x32",
        SHIFTS_LEFT_OUT,
        structure=L74_K10,
        training=IMAGENET32,
    ),
    "74-10-imagenet64": _paper_preset(
        "the same model, trained as on ImageNet 64x64",
        SHIFTS_LEFT_OUT,
        structure=L74_K10,
        training=IMAGENET64,
    ),
    "74-10-celeba64": _paper_preset(
        "the same model, trained as on CelebA 64x64", structure=L74_K10, training=CELEBA64
    ),
    "45-6": _paper_preset(
        "75.02 M parameters, the smaller model of the ablation (CIFAR-10)",
        SHIFTS_LEFT_OUT,
        structure=L45_K6,
        training=ABLATION,
    ),
    "ablation-1": _paper_preset(
        "table 4, row 1: Glow couplings, no noise channels (22.99 M parameters)",
        SHIFTS_LEFT_OUT,
        CONV_WIDTH_UNKNOWN,
        structure={**L45_PLAIN, **WIDE_CONVOLUTIONS},
        training=ABLATION,
    ),
    "ablation-2": _paper_preset(
        "table 4, row 2: Glow couplings, white noise channels (42.77 M parameters)",
        SHIFTS_LEFT_OUT,
        CONV_WIDTH_UNKNOWN,
        structure={**L45_K6, **WIDE_CONVOLUTIONS, "noise": "white"},
        training=ABLATION,
    ),
    "ablation-3": _paper_preset(
        "table 4, row 3: Glow couplings, conditional noise channels (43.97 M parameters)",
        SHIFTS_LEFT_OUT,
        CONV_WIDTH_UNKNOWN,
        structure={**L45_K6, **WIDE_CONVOLUTIONS},
        training=ABLATION,
    ),
    "ablation-4": _paper_preset(
        "table 4, row 4: fused couplings, no noise channels (73.13 M parameters)",
        SHIFTS_LEFT_OUT,
        structure=L45_PLAIN,
        training=ABLATION,
    ),
    "ablation-5": _paper_preset(
        "table 4, row 5: fused couplings, white noise channels (73.82 M parameters)",
        SHIFTS_LEFT_OUT,
        structure={**L45_K6, "noise": "white"},
        training=ABLATION,
    ),
    "ablation-6": _paper_preset(
        "table 4, row 6: fused couplings, conditional noise channels (75.02 M parameters)",
        SHIFTS_LEFT_OUT,
        structure=L45_K6,
        training=ABLATION,
    ),
}


def _small_training(*, batch_size: int, lr: float) -> Training:
    return Training(
        batch_size=batch_size,
        optimizer="adamw",
        lr=lr,
        weight_decay=0.1,
        clip_norm=10.0,
        ema_decay=0.99,
    )


SMALL_PRESETS: Mapping[str, Preset] = {
    "digits": Preset(
        summary="two blocks of eight modules in all, tuned on digits (8x8)",
        values={
            "units": (2, 1),
            "modules": (2, 4),
            "landmarks": 64,
            "logit_alpha": 0.05,
            "training": _small_training(batch_size=64, lr=6e-3),
        },
        tuning_trials=19,
    ),
    "natural-patches": Preset(
        summary="three blocks of eleven modules in all, for minutes on 32x32 images",
        values={
            "units": (2, 1, 1),
            "modules": (2, 3, 4),
            "landmarks": 256,
            "dequantization": "uniform",
            "training": _small_training(batch_size=8, lr=1e-2),
        },
        tuning_trials=6,
    ),
}


class DenseFlowConfig(ModelConfig):
    """Configuration of DenseFlow.

    Attributes:
        units: Units of each block; the blocks are separated by squeezing and dropping half.
        modules: Invertible modules of each unit, block by block.
        growth: Noise channels added before each unit but a block's first.
        noise: ``conditional``: mean and scale of the added noise come from earlier
            representations; ``white``: it is standard normal; ``none``: nothing is added.
        cross_unit: Whether conditional noise sees ``all`` earlier representations or the ``last``.
        coupling: Coupling network: ``fusion`` of a dense block and attention, or Glow's
            ``convolutional`` one.
        width: Hidden channels of the coupling networks.
        dense_depth: Layers of their dense block.
        dense_growth: Channels that each of those layers appends.
        attention: Attention branch of ``fusion``: ``faithful`` to the released code, ``standard``
            Nystrom attention, or ``none``.
        head_width: Width of queries, keys and values.
        landmarks: Landmarks of the attention; with as many as positions it is softmax attention.
        dropout: Part of hidden channels of ``fusion`` networks that are dropped in training.
        checkpointing: Whether coupling networks are recomputed in the backward pass, for memory.
        dequantization: ``variational``, by a flow of its own, or ``uniform``.
        logit_alpha: Alpha of a logit after variational dequantization; None centres instead.
        dequantizer_steps: Flow steps of the variational dequantizer.
        dequantizer_width: Channels of its context and networks.
        dequantizer_depth: Layers of its dense blocks.
        dequantizer_growth: Channels that each layer of its coupling networks appends.
        context_growth: Channels that each layer of its context networks appends.
    """

    units: tuple[int, ...] = Field(default=(2, 1), min_length=1)
    modules: tuple[int, ...] = Field(default=(2, 4), min_length=1)
    growth: int = Field(default=2, ge=1)
    noise: Literal["conditional", "white", "none"] = "conditional"
    cross_unit: Literal["all", "last"] = "all"
    coupling: Literal["fusion", "convolutional"] = "fusion"
    width: int = Field(default=16, ge=1)
    dense_depth: int = Field(default=2, ge=1)
    dense_growth: int = Field(default=16, ge=1)
    attention: Literal["faithful", "standard", "none"] = "standard"
    head_width: int = Field(default=8, ge=1)
    landmarks: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    checkpointing: bool = False
    dequantization: Literal["variational", "uniform"] = "variational"
    logit_alpha: float | None = Field(default=None, gt=0, lt=0.5)
    dequantizer_steps: int = Field(default=2, ge=1)
    dequantizer_width: int = Field(default=8, ge=1)
    dequantizer_depth: int = Field(default=1, ge=1)
    dequantizer_growth: int = Field(default=8, ge=1)
    context_growth: int = Field(default=8, ge=1)
    preprocessing: Preprocessing = INTEGERS

    presets: ClassVar[Mapping[str, Preset]] = {**SMALL_PRESETS, **PAPER_PRESETS}

    @model_validator(mode="before")
    @classmethod
    def _preprocessing_follows_dequantization(cls, values: Any) -> Any:
        """Lets ``dequantization`` alone switch between the two usual preprocessings."""
        if not isinstance(values, Mapping):
            return values
        variational = values.get("dequantization", "variational") == "variational"
        wanted, other = (INTEGERS, CENTRED) if variational else (CENTRED, INTEGERS)
        given = to_jsonable_python(values.get("preprocessing", INTEGERS))
        if given == other.model_dump(mode="json"):
            return {**values, "preprocessing": wanted}
        return values

    @model_validator(mode="after")
    def _is_consistent(self) -> DenseFlowConfig:
        if len(self.units) != len(self.modules) or min(self.units + self.modules) < 1:
            raise ValueError(
                f"units {self.units} and modules {self.modules} need one number >= 1 for each block"
            )
        discrete = self.preprocessing.support == "discrete"
        if discrete != (self.dequantization == "variational"):
            raise ValueError(
                f"dequantization={self.dequantization} contradicts preprocessing.support="
                f"{self.preprocessing.support}; variational needs discrete, uniform continuous"
            )
        if self.logit_alpha is not None and not discrete:
            raise ValueError(
                "logit_alpha goes with dequantization=variational; otherwise add a logit to "
                "preprocessing.bijections"
            )
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16 or of odd sizes, else ``natural-patches``."""
        height, width = data.event_shape[-2:] if len(data.event_shape) == 3 else (0, 0)
        large = min(height, width) > 16 and height % 8 == width % 8 == 0
        return "natural-patches" if large else "digits"

    def likelihood(self, data: DatasetInfo) -> Likelihood:
        """A bound: the noise of dequantization and augmentation is integrated by importance."""
        kind = "variational" if self.dequantization == "variational" else "uniform"
        return Likelihood(measure="discrete", dequantization=kind, estimate="bound")

    def unsupported(self, data: DatasetInfo) -> str | None:
        """DenseFlow squeezes images of integer levels, once for each block."""
        if len(data.event_shape) != 3:
            return (
                "denseflow needs images (C, H, W), "
                f"{data.name} has events of shape {data.event_shape}"
            )
        if data.levels is None:
            return f"denseflow dequantizes integer levels, {data.name} has real values"
        _, height, width = data.event_shape
        factor = 2 ** len(self.units)
        if height % factor or width % factor:
            return (
                f"denseflow with {len(self.units)} blocks needs height and width divisible by "
                f"{factor}, {data.name} has {height}x{width}; set fewer units and modules"
            )
        return None

    @property
    def num_augmentations(self) -> tuple[int, ...]:
        """How often each block adds noise channels."""
        return tuple(0 if self.noise == "none" else units - 1 for units in self.units)


class DenseFlow(InvertibleModel):
    r"""DenseFlow.

    Levels x are dequantized and squeezed; each block runs units of [actnorm, 1x1 convolution,
    coupling] and appends k channels of noise before each unit but its first; between blocks the
    image is squeezed and half of its channels become a latent. With explicit noise
    :math:`\epsilon` of the dequantizer and :math:`e_i` of the units, all standard normal, the map
    (noise) to latents is a bijection for each x, so that one draw's log-weight is

    .. math:: \log w = \log N(z) + \mathrm{ladj} - \log N(\epsilon) - \sum_i \log N(e_i)

    and its expectation a lower bound of the log-likelihood.

    Args:
        config: The configuration.
        data: Facts of the dataset.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627, with the details of the released code. Departures: halves
        in the place of even and odd channels in the order of couplings' parameters, and actnorm in
        Glow's form (with the population's standard deviation at initialisation).
    """

    config: DenseFlowConfig

    def __init__(self, config: DenseFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        reason = config.unsupported(data)
        if reason is not None:
            raise ConfigError(reason)
        self.dequantizer: VariationalDequantizer | None = None
        self.scaling: LevelScaling | None = None
        if config.dequantization == "variational":
            self.dequantizer = _dequantizer(config, data)
            self.scaling = LevelScaling(data.levels or 0, config.logit_alpha)
        self.squeeze = Squeeze()
        self.drop = FactorOut()
        shapes = _block_shapes(config, data)
        self.blocks = nn.ModuleList(
            _block(config, index, channels) for index, (channels, _, _) in enumerate(shapes)
        )
        self.top = ChannelGaussian(_channels_out(config, len(shapes) - 1, shapes[-1][0]))
        self.to(memory_format=torch.channels_last)

    def initialize(self, batch: Batch) -> None:
        """Normalises every actnorm from a first batch."""
        aux = self.sample_aux(batch.x, generator=None) or ()

        def through(
            block: DenseFlowBlock, x: Tensor, noises: Sequence[Tensor]
        ) -> tuple[Tensor, Tensor]:
            return block.initialize(x, noises), x.new_zeros(x.shape[0])

        with torch.no_grad():
            self._encode(batch.x, aux, through)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The dropped half of each transition, and the last block's output."""
        shapes = _block_shapes(self.config, self.data)
        dropped = [shape for _, shape in pairwise(shapes)]  # as many channels go on as are dropped
        channels, height, width = shapes[-1]
        return (*dropped, (_channels_out(self.config, len(shapes) - 1, channels), height, width))

    def aux_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Event shape of each noise: the dequantizer's, then the blocks' e_i in order."""
        shapes = _block_shapes(self.config, self.data)
        added = [
            (self.config.growth, height, width)
            for (_, height, width), count in zip(shapes, self.config.num_augmentations, strict=True)
            for _ in range(count)
        ]
        return (shapes[0], *added) if self.dequantizer is not None else tuple(added)

    def sample_aux(self, x: Tensor, *, generator: torch.Generator | None) -> Latents | None:
        """Draws the noise of dequantization and of every cross-unit coupling."""
        dtype = self.top.mean.dtype
        noises = tuple(
            torch.randn(x.shape[0], *shape, generator=generator, device=x.device, dtype=dtype)
            for shape in self.aux_shapes()
        )
        return noises or None

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps images (B, C, H, W) and explicit noise to latents; see `InvertibleModel`.

        Args:
            x: Integer levels, or dequantized values under uniform dequantization.
            context: Not used.
            aux: Noise from ``sample_aux``.

        Returns:
            All latents, and the ladj of the joint map, shape (B,), in nats.

        Raises:
            ShapeError: The noise is not what ``sample_aux`` draws.
        """
        noises = aux or ()
        given = [tuple(noise.shape[1:]) for noise in noises]
        if given != list(self.aux_shapes()):
            raise ShapeError(
                f"denseflow was given noise of shapes {given}, it needs {list(self.aux_shapes())}; "
                "draw it with sample_aux"
            )
        return self._encode(x, noises, lambda block, value, noise: block(value, noise))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents to images (B, C, H, W): integer levels after variational dequantization."""
        x = self.decode(latents)
        if self.scaling is None:
            return x
        highest = self.scaling.levels - 1
        return self.scaling.inverse(x).nan_to_num(0.0).floor().clamp(0, highest).long()

    def decode(self, latents: Latents) -> Tensor:
        """Maps latents to the flow's own space, without the noise that was added on the way.

        Args:
            latents: All latents.

        Returns:
            Dequantized and scaled images, shape (B, C, H, W).
        """
        x = self.top.inverse(latents[-1])
        blocks = cast("list[DenseFlowBlock]", list(self.blocks))
        for block, dropped in zip(reversed(blocks[1:]), reversed(latents[:-1]), strict=True):
            x = self.squeeze.inverse(self.drop.inverse(block.inverse(x), dropped))
        return self.squeeze.inverse(blocks[0].inverse(x))

    def _encode(
        self,
        x: Tensor,
        noises: Sequence[Tensor],
        through: Callable[[DenseFlowBlock, Tensor, Sequence[Tensor]], tuple[Tensor, Tensor]],
    ) -> tuple[Latents, Tensor]:
        x, ladj, noises = self._dequantize(x, noises)
        latents: list[Tensor] = []
        for index, block in enumerate(cast("list[DenseFlowBlock]", list(self.blocks))):
            x, _ = self.squeeze(x)
            if index:
                x, dropped, _ = self.drop(x)
                latents.append(dropped)
            own, noises = noises[: block.num_noises], noises[block.num_noises :]
            x, term = through(block, x, own)
            ladj = ladj + term
        z, term = self.top(x)
        return (*latents, z), ladj + term

    def _dequantize(
        self, x: Tensor, noises: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        if self.dequantizer is None or self.scaling is None:
            return x, x.new_zeros(x.shape[0]), noises
        levels = x.to(self.top.mean.dtype)
        u, ladj = self.dequantizer(levels, noises[0])
        scaled, term = self.scaling(levels + u)
        return scaled, ladj + term, noises[1:]


def _block_shapes(config: DenseFlowConfig, data: DatasetInfo) -> list[tuple[int, int, int]]:
    """Shape in which an image enters each block."""
    channels, height, width = data.event_shape
    shapes = [(4 * channels, height // 2, width // 2)]
    for index in range(1, len(config.units)):
        channels, height, width = shapes[-1]
        channels = _channels_out(config, index - 1, channels)
        shapes.append((2 * channels, height // 2, width // 2))  # squeezing gives 4, half goes on
    return shapes


def _channels_out(config: DenseFlowConfig, index: int, num_channels: int) -> int:
    return num_channels + config.growth * config.num_augmentations[index]


def _block(config: DenseFlowConfig, index: int, num_channels: int) -> DenseFlowBlock:
    added = config.growth if config.num_augmentations[index] else 0
    widths = [num_channels + added * unit for unit in range(config.units[index])]
    units = [_unit(config, width, config.modules[index]) for width in widths]
    augmentations = [
        _augmentation(config, [num_channels, *widths[: unit - 1]])
        for unit in range(1, config.num_augmentations[index] + 1)
    ]
    return DenseFlowBlock(units, augmentations, config.growth)


def _augmentation(config: DenseFlowConfig, earlier: Sequence[int]) -> CrossUnitCoupling:
    if config.noise == "white":
        return CrossUnitCoupling(None)
    only_last = config.cross_unit == "last"
    num_inputs = earlier[-1] if only_last else sum(earlier)
    return CrossUnitCoupling(NoiseNet(num_inputs, config.growth), only_last=only_last)


def _unit(config: DenseFlowConfig, num_channels: int, num_modules: int) -> FlowUnit:
    return FlowUnit(
        FlowModule(
            num_channels,
            SwapCoupling(
                BoundedAffine(),
                _coupling_net(config, num_channels),
                checkpointing=config.checkpointing,
            ),
        )
        for _ in range(num_modules)
    )


def _coupling_net(config: DenseFlowConfig, num_channels: int) -> Conditioner:
    num_transformed = num_channels // 2
    num_inputs = num_channels - num_transformed
    num_outputs = BoundedAffine.num_parameters * num_transformed
    if config.coupling == "convolutional":
        return PlainConvNet(num_inputs, num_outputs, width=config.width)
    return FusionNet(
        num_inputs,
        num_outputs,
        width=config.width,
        depth=config.dense_depth,
        growth=config.dense_growth,
        attention=None if config.attention == "none" else config.attention,
        head_width=config.head_width,
        num_landmarks=config.landmarks,
        dropout=config.dropout,
    )


def _dequantizer(config: DenseFlowConfig, data: DatasetInfo) -> VariationalDequantizer:
    return VariationalDequantizer(
        data.event_shape[0],
        levels=data.levels or 0,
        steps=config.dequantizer_steps,
        width=config.dequantizer_width,
        depth=config.dequantizer_depth,
        growth=config.dequantizer_growth,
        context_growth=config.context_growth,
    )
