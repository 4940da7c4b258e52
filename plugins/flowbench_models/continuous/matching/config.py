"""What the models that match a velocity are configured by; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from flowbench.api import (
    DatasetInfo,
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
)
from flowbench_models.continuous.matching.presets import (
    ADM,
    CLOSE,
    IMAGE_ASSUMPTIONS,
    SMALL,
    SYMMETRIC,
    TINY,
    VECTOR,
    image_training,
)
from flowbench_models.continuous.settings import SolvedConfig, missing_package
from flowbench_models.defaults import halving_problem, is_large, is_toy

LADDER = (1, 2, 4, 8, 16, 32)
"""Steps in which samples are drawn for a curve of quality against cost."""


class VelocitySampling(SamplingOptions):
    """How samples follow the velocity (``--sample solver=euler,steps=8``).

    Attributes:
        solver: ``dopri5`` chooses its steps by the tolerances of evaluation; the others take equal
            ones.
        steps: Equal steps of the other solvers.
        guidance: Weight w of guidance, which exaggerates what the label adds to the velocity by the
            factor 1 + w; 0 is none.
    """

    solver: Literal["dopri5", "euler", "midpoint", "heun", "rk4"] = "dopri5"
    steps: int | None = Field(default=None, ge=1)
    guidance: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _steps_belong_to_equal_ones(self) -> VelocitySampling:
        if self.solver == "dopri5" and self.steps is not None:
            raise ValueError("dopri5 chooses its steps; leave steps out, or set solver=euler")
        if self.solver != "dopri5" and self.steps is None:
            raise ValueError(f"{self.solver} takes equal steps; say how many, e.g. steps=8")
        return self


def ladder(**options: Any) -> tuple[SampleSettings, ...]:
    """Settings of 1, 2, 4, ... equal steps."""
    return tuple(SampleSettings(options={**options, "steps": steps}) for steps in LADDER)


class NetworkConfig(ModelConfig):
    """Base of configurations of a network that knows the time.

    Attributes:
        network: A perceptron (``mlp``) over all values, or the ``unet`` of
            diffusion models or ``ddpmpp`` over the pixels of an image.
        width: Hidden units, or channels of the first stage, which are even.
        blocks: Residual blocks; of images, of each resolution.
        multipliers: Channels of each resolution, as multiples of ``width``.
        attention: Factors by which height and width are divided where blocks attend.
        head_channels: Channels of an attention head of ``unet``; None takes ``heads`` of them.
        heads: Attention heads of ``unet``, where ``head_channels`` does not say.
        dropout: Part of hidden values that are dropped in training.
        scale_shift: Whether the time scales and shifts normalisations of ``unet``, rather than
            being added.
        resample: How ``unet`` changes resolutions.
        time_scale: What times are multiplied by for the network.
    """

    network: Literal["mlp", "unet", "ddpmpp"] = "unet"
    width: int = Field(default=32, ge=8)
    blocks: int = Field(default=1, ge=1)
    multipliers: tuple[PositiveInt, ...] = Field(default=(1, 2), min_length=1)
    attention: tuple[PositiveInt, ...] = ()
    head_channels: int | None = Field(default=None, ge=1)
    heads: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    scale_shift: bool = False
    resample: Literal["convolution", "pool", "residual"] = "convolution"
    time_scale: float = Field(default=1.0, gt=0)
    preprocessing: Preprocessing = SYMMETRIC

    @model_validator(mode="after")
    def _channels_fill_heads_and_sinusoids(self) -> Self:
        if self.network != "mlp" and self.width % 2:
            raise ValueError(f"width of network={self.network} must be even, got {self.width}")
        per_head = self.head_channels or self.heads
        if self.network == "unet" and self.width % per_head:
            raise ValueError(
                f"width must be a multiple of head_channels or heads, got {self.width} and "
                f"{per_head}"
            )
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``vector`` for vectors; of images ``small`` for 32x32 and the like, else ``tiny``.

        Images of fewer than 8x8 pixels take ``toy``.
        """
        if len(data.event_shape) != 3:
            return "vector"
        if is_toy(data):
            return "toy"
        return "small" if is_large(data) else "tiny"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """A U-Net needs images of a size that it can halve."""
        reason = super().unsupported(data)
        if reason is not None or self.network == "mlp":
            return reason
        levels = len(self.multipliers)
        name = f"network={self.network} with {levels} multipliers"
        return halving_problem(data, levels - 1, model=name, remedy="set fewer multipliers")


class VelocityConfig(NetworkConfig, SolvedConfig):
    """Base of configurations of models that match a velocity.

    Attributes:
        start_time: At which noise is taken to lie; data lie at 1.
        times: Of training: uniform, or ``skewed`` towards data.
        class_conditional: Whether the network sees the class label.
        label_dropout: Part of training labels that are withheld, which trains the velocity without
            a label too.
    """

    start_time: float = Field(default=0.0, ge=0, lt=1)
    times: Literal["uniform", "skewed"] = "uniform"
    class_conditional: bool = False
    label_dropout: float = Field(default=0.1, gt=0, lt=1)

    sampling: ClassVar[type[SamplingOptions]] = VelocitySampling

    def unsupported(self, data: DatasetInfo) -> str | None:
        """There must be labels if it is given some, and a network that sees them."""
        if self.class_conditional and not data.num_classes:
            return f"class_conditional=true needs labels, {data.name} has none"
        if self.class_conditional and self.network == "ddpmpp":
            return "ddpmpp sees no labels; set network=unet, or class_conditional=false"
        return super().unsupported(data)

    def unsupported_sampling(self, options: SamplingOptions, data: DatasetInfo) -> str | None:
        """Guidance needs both velocities, with a label and without."""
        del data
        guided = isinstance(options, VelocitySampling) and options.guidance > 0
        if guided and not self.class_conditional:
            return "guidance needs class_conditional=true; this model sees no labels"
        return None

    def sampling_ladder(self, data: DatasetInfo) -> tuple[SampleSettings, ...]:
        """Euler's steps, from one to as many as the adaptive solver takes."""
        del data
        return ladder(solver="euler")

    def also_given(self, data: DatasetInfo) -> tuple[tuple[str, ...], ...]:
        """A class-conditional model has both densities: labels were dropped in training."""
        return (("label",),) if self.class_conditional else ()


SMALL_PRESETS: Mapping[str, Preset] = {
    "toy": Preset(
        summary="a perceptron of 64 units, for images of a few pixels",
        values={**TINY, "width": 64},
    ),
    "tiny": Preset(
        summary="a perceptron over all pixels, for digits (8x8)",
        tuning_trials=4,
        values={**TINY, **CLOSE},
    ),
    "tiny-unet": Preset(
        summary="a U-Net of two resolutions, for digits (8x8)",
        values={**SMALL, **CLOSE, "width": 32, "multipliers": (1, 2), "attention": (2,)},
    ),
    "small": Preset(summary="a U-Net of three resolutions, for 32x32 images", values=SMALL),
    "vector": Preset(summary="a perceptron of two residual blocks, for vectors", values=VECTOR),
    "tiny-cond": Preset(
        summary="tiny, given the class label", values={**TINY, **CLOSE, "class_conditional": True}
    ),
}


GUIDE_UNET: Mapping[str, Any] = {
    "network": "unet",
    "width": 128,
    "multipliers": (2, 2, 2),
    "blocks": 4,
    "attention": (2,),
    "dropout": 0.3,
    "scale_shift": True,
    "resample": "pool",
}
"""The network of the flow matching guide's released example on CIFAR-10."""


def _guide_values(**network: Any) -> dict[str, Any]:
    """Training of the flow matching guide's released example on images."""
    return {
        "network": "unet",
        "scale_shift": True,
        "times": "skewed",
        **network,
        "training": Training(
            batch_size=512,
            optimizer="adamw",
            lr=1e-4,
            betas=(0.9, 0.95),
            weight_decay=0.01,
            average=Ema(decay=0.999),
            select="last",
            phases=(Phase(schedule="constant", warmup=0.0),),
            augment=("horizontal_flip",),
        ),
    }


GUIDE_ASSUMPTIONS = (
    *IMAGE_ASSUMPTIONS[:1],
    "512 images a batch, and AdamW's own weight decay",
    "labels are withheld image by image (released: for a whole batch at once)",
)


class FlowMatchingConfig(VelocityConfig):
    """Configuration of flow matching along conditional optimal-transport paths.

    Attributes:
        sigma_min: Standard deviation around an example that a path ends with.
    """

    sigma_min: float = Field(default=0.0, ge=0, lt=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        **SMALL_PRESETS,
        "cifar10": Preset(
            summary="55,676,419 parameters, the network of the flow matching guide on CIFAR-10",
            source="paper",
            values=_guide_values(**GUIDE_UNET),
            assumptions=GUIDE_ASSUMPTIONS,
        ),
        "imagenet64": Preset(
            summary="295,900,035 parameters, the network of the flow matching guide on ImageNet "
            "(64x64), given one of 1,000 classes; not the network behind published bits per "
            "dimension of flow matching",
            source="paper",
            values=_guide_values(
                width=192,
                multipliers=(1, 2, 3, 4),
                blocks=3,
                attention=(2, 4, 8),
                head_channels=64,
                dropout=0.1,
                resample="residual",
                class_conditional=True,
                label_dropout=0.2,
            ),
            assumptions=(
                *GUIDE_ASSUMPTIONS,
                "queries, keys and values of a head lie side by side (released: of all heads)",
            ),
        ),
    }


class OTCFMConfig(VelocityConfig):
    """Configuration of conditional flow matching between paired noise and data.

    Attributes:
        pairing: ``optimal``: pairs are drawn from the optimal transport between a batch of noise
            and one of data; ``independent``: as they come.
        sigma: Standard deviation around a path.
    """

    pairing: Literal["optimal", "independent"] = "optimal"
    sigma: float = Field(default=0.0, ge=0)

    full_graph: ClassVar[bool] = False
    full_graph_reason: ClassVar[str] = "pairs are found on the host"

    presets: ClassVar[Mapping[str, Preset]] = {
        **SMALL_PRESETS,
        "vector-independent": Preset(
            summary="vector, with noise and data paired as they come",
            values={**VECTOR, "pairing": "independent"},
        ),
        "cifar10": Preset(
            summary="35,746,307 parameters, the released example on CIFAR-10; --budget 400001steps",
            source="paper",
            values={**ADM, "training": image_training(steps=400_001)},
            assumptions=IMAGE_ASSUMPTIONS[:1],
        ),
        "cifar10-256ch": Preset(
            summary="142,861,315 parameters: 256 channels, without dropout",
            source="paper",
            values={
                **ADM,
                "width": 256,
                "dropout": 0.0,
                "pairing": "independent",
                "training": image_training(
                    steps=400_001,
                    lr=5e-4,
                    phases=(Phase(schedule="polynomial", power=1.0, warmup=5_000 / 400_001),),
                ),
            },
            assumptions=(
                *IMAGE_ASSUMPTIONS[:1],
                "batches, warm-up and average are those of the smaller network",
            ),
        ),
    }

    @property
    def whole_batch(self) -> str | None:
        """Optimal pairs are those of a batch."""
        coupled = "noise and data are paired over the whole batch (pairing=optimal)"
        return coupled if self.pairing == "optimal" else None

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Optimal pairs need POT."""
        missing = missing_package("ot") if self.pairing == "optimal" else None
        return (missing and f"pairing=optimal: {missing}") or super().unsupported(data)


Stage = Literal["rectify", "reflow", "distil"]


def _staged(values: Mapping[str, Any], *stages: tuple[Stage, float]) -> dict[str, Any]:
    """A preset in stages, each with its share of the budget."""
    phases = tuple(Phase(share=share) for _, share in stages)
    training = values["training"].model_copy(update={"phases": phases})
    return {**values, "stages": tuple(stage for stage, _ in stages), "training": training}


DDPMPP: Mapping[str, Any] = {
    "network": "ddpmpp",
    "width": 128,
    "multipliers": (1, 2, 2, 2),
    "blocks": 4,
    "attention": (2,),
    "dropout": 0.15,
    "time_scale": 999.0,
}
"""The network of rectified flow's released code on CIFAR-10."""

RECTIFIED_ASSUMPTIONS = (
    *IMAGE_ASSUMPTIONS[:1],
    "densities and samples both start at a time of 0.001 (released: densities at 0.00001)",
)


class RectifiedFlowConfig(VelocityConfig):
    """Configuration of rectified flow.

    Attributes:
        stages: What each phase of training does. ``rectify`` draws lines between noise and data;
            ``reflow`` between noise and what the flow so far makes of it; ``distil`` trains the
            velocity at the start alone, so that one step goes all the way.
        num_pairs: Pairs that the flow so far makes at the start of a ``reflow``, or of a
            ``distil`` that no ``reflow`` precedes; charged to the budget.
    """

    start_time: float = Field(default=1e-3, ge=0, lt=1)
    stages: tuple[Stage, ...] = ("rectify",)
    num_pairs: int = Field(default=10_000, ge=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        **SMALL_PRESETS,
        "vector-reflow": Preset(
            summary="vector, straightened by one reflow",
            values=_staged(VECTOR, ("rectify", 0.6), ("reflow", 0.4)),
        ),
        "tiny-reflow": Preset(
            summary="tiny, straightened by one reflow",
            values=_staged({**TINY, **CLOSE}, ("rectify", 0.6), ("reflow", 0.4)),
        ),
        "tiny-distilled": Preset(
            summary="tiny, straightened and then distilled to one step; without a likelihood",
            values=_staged({**TINY, **CLOSE}, ("rectify", 0.5), ("reflow", 0.3), ("distil", 0.2)),
        ),
        "cifar10": Preset(
            summary="61,804,419 parameters, the released model on CIFAR-10; --budget 1300001steps",
            source="paper",
            values={
                **DDPMPP,
                "training": image_training(steps=1_300_001, average=Ema(decay=0.999999)),
            },
            assumptions=RECTIFIED_ASSUMPTIONS,
        ),
        "cifar10-reflow": Preset(
            summary="cifar10, then one reflow on a million pairs, in one budget; "
            "--budget 1600001steps; 24 GB of memory for the pairs",
            source="paper",
            values=_staged(
                {
                    **DDPMPP,
                    "num_pairs": 1_000_000,
                    "training": image_training(steps=1_300_001),
                },
                ("rectify", 0.8125),
                ("reflow", 0.1875),
            ),
            assumptions=(
                *RECTIFIED_ASSUMPTIONS,
                "300,000 steps of the budget go to the reflow, at the same dropout of 0.15 "
                "(released: 0.1 in the reflow) and averaged alike",
                "both stages anneal the rate by a cosine",
            ),
        ),
    }

    @model_validator(mode="after")
    def _every_phase_has_a_stage(self) -> RectifiedFlowConfig:
        phases = len(self.training.phases)
        if len(self.stages) != phases:
            raise ValueError(
                f"there are {len(self.stages)} stages and {phases} training.phases; give each "
                "phase its stage"
            )
        if self.stages[0] != "rectify":
            raise ValueError(f"the first stage is rectify, got {self.stages[0]}")
        if "distil" in self.stages[:-1]:
            raise ValueError(f"distil is the last stage, got {', '.join(self.stages)}")
        return self

    @property
    def distilled(self) -> bool:
        """Whether training ends with a velocity for one step alone."""
        return self.stages[-1] == "distil"

    def likelihood(self, data: DatasetInfo) -> Likelihood | NoLikelihood:
        """As of any flow; none once it is distilled."""
        if self.distilled:
            return NoLikelihood(
                reason="distilled to one step: no velocity but the first is trained"
            )
        return super().likelihood(data)

    def sampling_ladder(self, data: DatasetInfo) -> tuple[SampleSettings, ...]:
        """As of any velocity; a distilled flow has its one step alone."""
        return () if self.distilled else super().sampling_ladder(data)

    def unsupported_sampling(self, options: SamplingOptions, data: DatasetInfo) -> str | None:
        """A distilled flow takes one step."""
        steps = getattr(options, "steps", None)
        if self.distilled and steps not in (None, 1):
            return f"a distilled flow takes one step, got steps={steps}"
        return super().unsupported_sampling(options, data)
