"""NanoFlow: Glow whose steps share one density estimator a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    Logit,
    ModelConfig,
    Phase,
    Preprocessing,
    Preset,
    Scale,
    Training,
    UniformDequantization,
)
from flowbench.errors import ConfigError
from flowbench_models.bijections import (
    ActNorm,
    Bijection,
    Composition,
    FactorOut,
    MultiScale,
    PLUConv1x1,
    SigmoidAffine,
    Squeeze,
    mix_channels,
    sum_event_dims,
)
from flowbench_models.bijections.folding import fold_mixings
from flowbench_models.glow import TopPrior
from flowbench_models.nets.convnet import Kernel, ZeroConv2d
from flowbench_models.nets.convolution import convolve
from flowbench_models.nets.precision import full_precision
from flowbench_models.nets.shared_estimator import (
    FlowIndication,
    SharedEstimator,
    fold_projections,
)

CENTRED = Preprocessing(noise=UniformDequantization(), bijections=(Scale(low=-0.5, high=0.5),))
LOGIT = Preprocessing(noise=UniformDequantization(), bijections=(Scale(), Logit(alpha=0.05)))

WARMUP_EPOCHS = 5
PAPER_EPOCHS, ALT_EPOCHS = 3000, 600


def _paper_training(epochs: int) -> Training:
    """Training of the released code: constant rate after a short warm-up."""
    return Training(
        batch_size=64,
        optimizer="adamax",
        lr=5e-4,
        weight_decay=5e-5,
        phases=(Phase(schedule="constant", warmup=WARMUP_EPOCHS / epochs),),
        augment=("horizontal_flip",),
        init_examples=512,
    )


PAPER_ASSUMPTIONS = (
    "the warm-up over five epochs is linear over steps, not a staircase over epochs",
    "augmentation by random shifts of 10 % is left out",
)
ALT_ASSUMPTIONS = (
    *PAPER_ASSUMPTIONS,
    "the released files of this variant do not run as published; smallest repairs, which give the "
    "published count, are assumed",
)
DEAD_GATES = "six rows of gates for two hidden layers, as released: four rows have no effect"


def _paper_preset(summary: str, *, epochs: int, values: Mapping[str, Any]) -> Preset:
    alternative = epochs == ALT_EPOCHS
    assumptions = ALT_ASSUMPTIONS if alternative else PAPER_ASSUMPTIONS
    if "gate_rows" in values:
        assumptions = (*assumptions, DEAD_GATES)
    return Preset(
        summary=summary,
        source="paper",
        values={
            "levels": 3,
            "steps": 32,
            "width": 256,
            "training": _paper_training(epochs),
            **values,
        },
        assumptions=assumptions,
    )


SIX_CONVOLUTIONS = {"hidden_kernels": (3, 3, 3, 3, 3, 3), "output_kernel": 1}
GLOW_CONVOLUTIONS = {"hidden_kernels": (3, 1), "output_kernel": 3}

PAPER_PRESETS: Mapping[str, Preset] = {
    "k32": _paper_preset(
        "10.11 M parameters: shared estimators, own projections, embeddings of 1 channel",
        epochs=PAPER_EPOCHS,
        values={**SIX_CONVOLUTIONS, "embedding": 1},
    ),
    "k48": _paper_preset(
        "10.72 M parameters: 48 steps a scale, embeddings of 3 channels",
        epochs=PAPER_EPOCHS,
        values={**SIX_CONVOLUTIONS, "steps": 48, "embedding": 3},
    ),
    "decomp": _paper_preset(
        "9.93 M parameters: shared estimators, own projections, no embeddings",
        epochs=PAPER_EPOCHS,
        values={**SIX_CONVOLUTIONS, "embedding": 0},
    ),
    "naive": _paper_preset(
        "9.26 M parameters: estimators shared with their projection",
        epochs=PAPER_EPOCHS,
        values={**SIX_CONVOLUTIONS, "embedding": 0, "shared_projection": True},
    ),
    "alt": _paper_preset(
        "6.96 M parameters: Glow's own convolutions shared, a 3x3 projection for each step",
        epochs=ALT_EPOCHS,
        values={**GLOW_CONVOLUTIONS, "embedding": 1, "gate_rows": 6},
    ),
    "alt-k48": _paper_preset(
        "10.32 M parameters: as alt, with 48 steps a scale and embeddings of 3 channels",
        epochs=ALT_EPOCHS,
        values={**GLOW_CONVOLUTIONS, "steps": 48, "embedding": 3, "gate_rows": 6},
    ),
    "alt-decomp": _paper_preset(
        "6.78 M parameters: as alt, without embeddings",
        epochs=ALT_EPOCHS,
        values={**GLOW_CONVOLUTIONS, "embedding": 0},
    ),
    "alt-naive": _paper_preset(
        "0.78 M parameters: Glow's own convolutions shared with their projection",
        epochs=ALT_EPOCHS,
        values={**GLOW_CONVOLUTIONS, "embedding": 0, "shared_projection": True},
    ),
}


def _small_training(batch_size: int) -> Training:
    return Training(
        batch_size=batch_size,
        optimizer="adamw",
        lr=3e-3,
        weight_decay=0.1,
        clip_norm=10.0,
        ema_decay=0.99,
    )


SMALL_CONVOLUTIONS = {"hidden_kernels": (3, 3), "output_kernel": 1}

SMALL_PRESETS: Mapping[str, Preset] = {
    "digits": Preset(
        summary="two scales of four steps, tuned on digits (8x8)",
        values={
            **SMALL_CONVOLUTIONS,
            "levels": 2,
            "steps": 4,
            "width": 64,
            "dropout": 0.1,
            "preprocessing": LOGIT,
            "training": _small_training(batch_size=64),
        },
        tuning_trials=4,
    ),
    "natural-patches": Preset(
        summary="three scales of four steps with 32 channels, for minutes on 32x32 images",
        values={
            **SMALL_CONVOLUTIONS,
            "levels": 3,
            "steps": 4,
            "width": 32,
            "training": _small_training(batch_size=16),
        },
        tuning_trials=1,
    ),
}


class NanoFlowConfig(ModelConfig):
    """Configuration of NanoFlow.

    Attributes:
        levels: Scales; each halves height and width.
        steps: Flow steps in each scale.
        width: Hidden channels of the shared estimators.
        hidden_kernels: Kernel size of each shared convolution.
        output_kernel: Kernel size of the projections.
        shared_projection: Whether all steps of a scale share their projection too.
        embedding: Channels of the flow indication embedding in the first scale, twice as many in
            each further one; 0 leaves out embeddings and gates.
        gate_rows: Rows of multiplicative gates of each step; None takes one for each shared
            convolution. More than that have no effect, but count as parameters.
        learn_top: Whether mean and scale of the last latent are learned, one pair a channel.
        dropout: Part of hidden channels of the shared estimators that are dropped in training.
    """

    levels: int = Field(default=3, ge=1)
    steps: int = Field(default=8, ge=1)
    width: int = Field(default=64, ge=1)
    hidden_kernels: tuple[Literal[1, 3], ...] = Field(default=(3, 1), min_length=1)
    output_kernel: Literal[1, 3] = 3
    shared_projection: bool = False
    embedding: int = Field(default=1, ge=0)
    gate_rows: int | None = Field(default=None, ge=1)
    learn_top: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    preprocessing: Preprocessing = CENTRED

    presets: ClassVar[Mapping[str, Preset]] = {**SMALL_PRESETS, **PAPER_PRESETS}

    @model_validator(mode="after")
    def _has_a_gate_for_each_layer(self) -> NanoFlowConfig:
        if self.gate_rows is not None and self.gate_rows < len(self.hidden_kernels):
            raise ValueError(
                f"gate_rows={self.gate_rows} is less than the {len(self.hidden_kernels)} shared "
                "convolutions; leave it out to have one for each"
            )
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16 or of odd sizes, else ``natural-patches``."""
        height, width = data.event_shape[-2:] if len(data.event_shape) == 3 else (0, 0)
        large = min(height, width) > 16 and height % 8 == width % 8 == 0
        return "natural-patches" if large else "digits"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """NanoFlow squeezes images, so it needs them, of a size that can be halved."""
        if len(data.event_shape) != 3:
            return (
                "nanoflow needs images (C, H, W), "
                f"{data.name} has events of shape {data.event_shape}"
            )
        _, height, width = data.event_shape
        factor = 2**self.levels
        if height % factor or width % factor:
            return (
                f"nanoflow with levels={self.levels} needs height and width divisible by "
                f"{factor}, {data.name} has {height}x{width}; set fewer levels"
            )
        return None


class NanoFlow(InvertibleModel):
    r"""NanoFlow.

    Glow's scales and steps, but the coupling networks of a scale share their hidden layers. A step
    has its own projection to shift and scale, and is told to the shared layers by an embedding at
    their input and by gates on their channels.

    Args:
        config: The configuration.
        data: Facts of the dataset.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Lee et al. (2020), NanoFlow: Scalable Normalizing Flows with Sublinear Parameter Complexity,
        https://arxiv.org/abs/2006.06280, sections 3 and 4.2. Mean and log-scale of couplings and
        priors are halves of their network's channels, where the released code takes even and odd
        channels.
    """

    config: NanoFlowConfig

    def __init__(self, config: NanoFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        reason = config.unsupported(data)
        if reason is not None:
            raise ConfigError(reason)
        shapes = self._scale_shapes()
        scales = [
            Composition([Squeeze(), NanoFlowSteps(config, shape, level)])
            for level, shape in enumerate(shapes)
        ]
        if config.learn_top:
            scales[-1].bijections.append(TopPrior(shapes[-1][0]))
        splits = [FactorOut(ZeroConv2d(shape[0] // 2, shape[0])) for shape in shapes[:-1]]
        self.flow = MultiScale(scales, splits)

    def initialize(self, batch: Batch) -> None:
        """Normalises every actnorm from a first batch; shared ones in the first of their steps."""
        with torch.no_grad():
            self.flow.initialize(batch.x)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent a scale; each but the last has half of that scale's channels."""
        shapes = self._scale_shapes()
        halves = [(channels // 2, height, width) for channels, height, width in shapes[:-1]]
        return (*halves, shapes[-1])

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps images (B, C, H, W) to latents; see `InvertibleModel.to_latent`."""
        latents, ladj = self.flow(x)
        return latents, ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents to images (B, C, H, W)."""
        return self.flow.inverse(latents)

    def _scale_shapes(self) -> list[tuple[int, int, int]]:
        channels, height, width = self.data.event_shape
        return [
            (channels * 4 * 2**level, height >> (level + 1), width >> (level + 1))
            for level in range(self.config.levels)
        ]


class NanoFlowSteps(Bijection):
    """The steps of one scale and the estimator that they share.

    Args:
        config: The configuration.
        shape: Shape (C, H, W) of the scale's data, squeezed.
        level: Index of the scale.
    """

    def __init__(self, config: NanoFlowConfig, shape: tuple[int, int, int], level: int) -> None:
        super().__init__()
        channels, height, width = shape
        embedding = config.embedding * 2**level
        self.norms = nn.ModuleList(ActNorm(channels) for _ in range(config.steps))
        self.mixings = nn.ModuleList(PLUConv1x1(channels) for _ in range(config.steps))
        self.estimator = SharedEstimator(
            channels // 2 + embedding,
            width=config.width,
            hidden_kernels=config.hidden_kernels,
            dropout=config.dropout,
        )
        self.indications = nn.ModuleList(
            FlowIndication(
                (embedding, height, width),
                gate_rows=config.gate_rows or len(config.hidden_kernels),
                width=config.width,
            )
            for _ in range(config.steps if embedding else 0)
        )
        self.projections = nn.ModuleList(
            ZeroConv2d(config.width, channels, config.output_kernel)
            for _ in range(1 if config.shared_projection else config.steps)
        )
        self.law = SigmoidAffine()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        mixings = fold_mixings(self._norms(), self._mixings())
        ladj = x.shape[2] * x.shape[3] * mixings.log_abs_det
        steps = zip(mixings.matrices, mixings.offsets, self._networks(), strict=True)
        for matrix, offset, network in steps:
            with full_precision(x):
                x = mix_channels(x, matrix, offset)
            passing, transformed = x.chunk(2, dim=1)
            transformed, log_derivative = self.law(transformed, self._run(network, passing))
            x = torch.cat((passing, transformed), dim=1)
            ladj = ladj + sum_event_dims(log_derivative)
        return x, ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        steps = list(zip(self._norms(), self._mixings(), self._networks(), strict=True))
        for norm, mixing, network in reversed(steps):
            passing, transformed = z.chunk(2, dim=1)
            transformed = self.law.inverse(transformed, self._run(network, passing))
            z = torch.cat((passing, transformed), dim=1)
            z = norm.inverse(mixing.inverse(z))
        return z

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises step by step; the estimator, once, in the first of them."""
        for each in self._indications():
            each.initialize()
        indications: Sequence[FlowIndication | None]
        indications = self._indications() or [None] * len(self.norms)
        steps = zip(self._norms(), self._mixings(), indications, self._projections(), strict=True)
        for norm, mixing, indication, projection in steps:
            x = mixing.initialize(norm.initialize(x))
            passing, transformed = x.chunk(2, dim=1)
            embedding = None if indication is None else FlowIndication.embeddings([indication])
            h = self.estimator.initialize(_with_embedding(passing, embedding), indication)
            transformed, _ = self.law(transformed, projection(h))
            x = torch.cat((passing, transformed), dim=1)
        return x

    def _networks(self) -> list[tuple[Tensor | None, list[Kernel], Kernel]]:
        """Embedding, shared kernels and projection of each step, computed for all at once."""
        indications, num_steps = self._indications(), len(self.norms)
        kernels = self.estimator.fold(indications, num_steps)
        projections = fold_projections(self._projections())
        images: Sequence[Tensor | None] = [None] * num_steps
        if indications:
            images = torch.split(FlowIndication.embeddings(indications), 1)
        return list(zip(images, kernels, projections, strict=True))

    def _run(self, network: tuple[Tensor | None, list[Kernel], Kernel], passing: Tensor) -> Tensor:
        embedding, kernels, (weight, bias) = network
        h = self.estimator(kernels, _with_embedding(passing, embedding))
        return convolve(h, weight, bias).to(passing.dtype)

    def _norms(self) -> list[ActNorm]:
        return cast("list[ActNorm]", list(self.norms))

    def _mixings(self) -> list[PLUConv1x1]:
        return cast("list[PLUConv1x1]", list(self.mixings))

    def _indications(self) -> list[FlowIndication]:
        return cast("list[FlowIndication]", list(self.indications))

    def _projections(self) -> list[ZeroConv2d]:
        """One a step, the same one again where it is shared."""
        projections = cast("list[ZeroConv2d]", list(self.projections))
        return projections * (len(self.norms) // len(projections))


def _with_embedding(passing: Tensor, embedding: Tensor | None) -> Tensor:
    if embedding is None:
        return passing
    expanded = embedding.to(passing.dtype).expand(passing.shape[0], -1, -1, -1)
    return torch.cat((passing, expanded), dim=1)
