"""Configurations of Residual Flow, i-ResNet and i-DenseNet; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from flowbench.api import (
    DatasetInfo,
    Ema,
    Likelihood,
    ModelConfig,
    NoLikelihood,
    Phase,
    Preprocessing,
    Preset,
    Training,
)
from flowbench_models.defaults import (
    CENTRED,
    LOGIT,
    SHARP_LOGIT,
    STANDARDISED,
    TABLE_TRAINING,
    VECTOR_TRAINING,
    halving_problem,
    is_large,
    is_toy,
    small_training,
)

EXACT_DIMS = 16
"""Dims up to which log-determinants are evaluated from whole Jacobians, without noise."""

EPOCHS, WARMUP_STEPS = 1000, 1000  # released code
UPDATES = "singular vectors are iterated until norms settle within 1e-5, not until vectors do"

# --- presets of papers ----------------------------------------------------------------------------


def _training(images: int, batch_size: int = 64, *, flip: bool = True) -> Training:
    """That of the released code, with its warm-up as a part of its epochs."""
    return Training(
        batch_size=batch_size,
        lr=1e-3,
        betas=(0.9, 0.99),
        clip_norm=1.0,
        average=Ema(decay=0.999),
        phases=(Phase(schedule="constant", warmup=WARMUP_STEPS / (EPOCHS * images // batch_size)),),
        augment=("horizontal_flip",) if flip else (),
    )


PAPER: Mapping[str, Any] = {
    "blocks": (16, 16, 16),
    "width": 512,
    "dense_blocks": 4,
    "dense_layers": 2,
    "dense_width": 128,
    "evaluation_terms": 20,
    "variance_floor": 0.2,
    "preprocessing": LOGIT,
    "training": _training(50_000),
}
CIFAR_IMAGES, MNIST_IMAGES, IMAGENET_IMAGES, FACES = 50_000, 60_000, 1_281_149, 27_000


def paper_preset(summary: str, *assumptions: str, **values: Any) -> Preset:
    """A preset of the released code, with what it changes from that of CIFAR-10.

    Returns:
        The preset, whose summary ends with the parameters that are counted and not made.
    """
    values = {**PAPER, **values}
    # Two for the series of each block.
    unused = values.setdefault("unused", 2 * (sum(values["blocks"]) + values["dense_blocks"]))
    return Preset(
        summary=f"{summary}, {unused} of which the released code counts and never uses",
        source="paper",
        values=values,
        assumptions=(*assumptions, UPDATES),
    )


# --- presets for small data -----------------------------------------------------------------------

VECTORS: Mapping[str, Any] = {"blocks": (), "dense_width": 64, "preprocessing": STANDARDISED}
VECTOR = VECTOR_TRAINING.model_copy(update={"lr": 5e-3})
SMALL_IMAGES = small_training(batch_size=32, lr=2e-3, weight_decay=0.01)


SMALL_PRESETS: Mapping[str, Preset] = {
    "toy": Preset(
        summary="two scales of one block, for images of a few pixels",
        values={
            "blocks": (1, 1),
            "dense_blocks": 1,
            "squeeze_first": True,
            "training": SMALL_IMAGES,
        },
    ),
    "tiny": Preset(
        summary="two scales of four blocks, for digits (8x8)",
        tuning_trials=4,
        values={
            "blocks": (4, 4),
            "squeeze_first": True,
            "training": SMALL_IMAGES.model_copy(update={"lr": 4e-3}),
        },
    ),
    "patches": Preset(
        summary="two scales of three blocks, for minutes on 32x32 images",
        tuning_trials=2,
        values={
            "blocks": (3, 3),
            "squeeze_first": True,
            "dense_blocks": 0,
            "evaluation_terms": 6,
            "training": SMALL_IMAGES.model_copy(update={"batch_size": 16, "lr": 4e-3}),
        },
    ),
    "vector": Preset(
        summary="eight fully connected blocks, for points in the plane",
        values={**VECTORS, "dense_blocks": 8, "dense_layers": 3, "training": VECTOR},
    ),
    "table": Preset(
        summary="four fully connected blocks, for tables of some hundred rows",
        values={**VECTORS, "dense_blocks": 4, "dense_layers": 2, "training": TABLE_TRAINING},
    ),
}
"""For minutes on a CPU; models differ there in their defaults alone."""


class ResidualFlowConfig(ModelConfig):
    """Configuration of a Residual Flow.

    Attributes:
        blocks: Residual blocks of each scale of an image, between which images are squeezed; none
            for vectors.
        width: Hidden channels of the blocks' convolutions.
        dense_blocks: Fully connected residual blocks behind the last scale, or of a vector.
        dense_layers: Hidden layers of each.
        dense_width: Hidden units of each layer.
        activation: Between linear layers, each of Lipschitz constant 1.
        coefficient: Largest spectral norm of a linear layer.
        norms: Where actnorms are: ``around`` blocks, before the first and after each, or ``before``
            each.
        variance_floor: Variance that a norm's first batch counts as having at least.
        squeeze_first: Whether images are squeezed before the first scale, too.
        factor_out: Whether a half of the channels leaves between scales: the ``last`` or the
            ``first``.
        learned_prior: Whether mean and scale of each latent dim are learned.
        training_terms: Terms of the series of log-determinants in training, which is then cut off
            there, with a bias; None cuts it at random, without.
        exact_terms: Terms that a random series always has, in training.
        evaluation_terms: The same in evaluation, where the series is always without bias. Above
            16 dims: up to there log-determinants are exact.
        rate: Mean number of further terms.
        unused: Parameters that the paper's code has and never uses: counted, not made.
    """

    full_graph: ClassVar[bool] = False
    full_graph_reason: ClassVar[str] = (
        "log-determinants are series of random length, made of gradients within the loss"
    )

    blocks: tuple[PositiveInt, ...] = (4, 4)
    width: int = Field(default=48, ge=1)
    dense_blocks: int = Field(default=2, ge=0)
    dense_layers: int = Field(default=2, ge=1)
    dense_width: int = Field(default=64, ge=1)
    activation: Literal["lipswish", "elu"] = "lipswish"
    coefficient: float = Field(default=0.98, gt=0, lt=1)
    norms: Literal["around", "before"] = "around"
    variance_floor: float = Field(default=1e-3, gt=0)
    squeeze_first: bool = False
    factor_out: Literal["none", "last", "first"] = "none"
    learned_prior: bool = False
    training_terms: int | None = Field(default=None, ge=1)
    exact_terms: int = Field(default=2, ge=0)
    evaluation_terms: int = Field(default=10, ge=0)
    rate: float = Field(default=2.0, gt=0)
    unused: int = Field(default=0, ge=0)
    preprocessing: Preprocessing = LOGIT

    presets: ClassVar[Mapping[str, Preset]] = {
        **SMALL_PRESETS,
        "cifar10": paper_preset("25,174,233 parameters, the CIFAR-10 model"),
        "small": paper_preset(
            "8,730,441 parameters, three scales of four blocks",
            blocks=(4, 4, 4),
        ),
        "mnist": paper_preset(
            "16,608,693 parameters, the MNIST model",
            preprocessing=SHARP_LOGIT,
            training=_training(MNIST_IMAGES, flip=False),
        ),
        "imagenet32": paper_preset(
            "47,099,289 parameters, the ImageNet 32x32 model",
            blocks=(32, 32, 32),
            training=_training(IMAGENET_IMAGES, flip=False),
        ),
        "imagenet64": paper_preset(
            "53,294,475 parameters, the ImageNet 64x64 model",
            blocks=(32, 32, 32),
            squeeze_first=True,
            factor_out="last",
            training=_training(IMAGENET_IMAGES, flip=False),
        ),
        "celebahq256": paper_preset(
            "136,777,368 parameters, the 5-bit CelebA-HQ 256x256 model",
            "for images of 32 levels",
            "gradients of five batches of 8 are added up there; here a batch has 40",
            blocks=(16,) * 6,
            dense_blocks=0,
            activation="elu",
            exact_terms=8,
            squeeze_first=True,
            factor_out="last",
            training=_training(FACES, batch_size=40),
        ),
    }

    def likelihood(self, data: DatasetInfo) -> Likelihood | NoLikelihood:
        """Exact up to 16 dims, as dequantization has it; above, draws are unbiased estimates."""
        kind = super().likelihood(data)
        if isinstance(kind, NoLikelihood) or data.num_dims <= EXACT_DIMS:
            return kind
        return kind.model_copy(update={"noise": "estimates"})

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``tiny`` or ``patches`` for images, ``vector`` or, above three dims, ``table``.

        Images of fewer than 8x8 pixels take ``toy``.
        """
        if is_toy(data):
            return "toy"
        if len(data.event_shape) == 3:
            return "patches" if is_large(data) else "tiny"
        return "vector" if data.num_dims <= 3 else "table"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Convolutions need images, whose size halves between scales."""
        if not self.blocks:
            return None
        times = len(self.blocks) - 1 + self.squeeze_first
        remedy = "set blocks=[] for vectors, or fewer scales"
        name = f"a residual flow of {len(self.blocks)} scales of convolutions"
        return halving_problem(data, times, model=name, remedy=remedy)


class IResNetConfig(ResidualFlowConfig):
    """Configuration of an i-ResNet: a Residual Flow whose series is cut off, with a bias.

    In evaluation its series is as long as that of a Residual Flow and cut at random, so that its
    likelihood is its own and not that of the cut.
    """

    activation: Literal["lipswish", "elu"] = "elu"
    coefficient: float = Field(default=0.9, gt=0, lt=1)
    norms: Literal["around", "before"] = "before"
    learned_prior: bool = True
    training_terms: int | None = Field(default=5, ge=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        **SMALL_PRESETS,
        "cifar10": paper_preset(
            "16,621,018 parameters, the CIFAR-10 model",
            "images are not squeezed before the first scale, which gives the count of the papers "
            "that compare with it (as the released script calls it they are: 25,029,130)",
            "in evaluation the series has no bias, where the released code has five terms",
            "the learning rate is what the released warm-up ends at: twice its setting, after two "
            "of 200 epochs",
            dense_blocks=0,
            factor_out="first",
            variance_floor=1e-5,
            # A classifier over the last 16 channels: its batch norm and its linear layer.
            unused=2 * 16 + 10 * (16 + 1),
            preprocessing=CENTRED,
            training=Training(
                batch_size=128,
                optimizer="adamax",
                lr=6e-3,
                phases=(Phase(schedule="constant", warmup=2 / 200),),
                augment=("horizontal_flip",),
                init_examples=1024,
            ),
        ),
    }


DENSE: Mapping[str, Any] = {"depth": 3, "dense_growth": 32, "dense_width": 64}
SMALL_DENSE = ((2, 318, 8_763_510), (3, 178, 8_695_158), (4, 122, 8_724_302), (5, 92, 8_839_086))
"""Depth, growth and parameters of the models that the paper compares with a small Residual Flow."""


class IDenseNetConfig(ResidualFlowConfig):
    """Configuration of an i-DenseNet: a Residual Flow of dense blocks with concatenated LipSwish.

    Attributes:
        depth: Dense layers of each block.
        growth: Channels that a dense layer of convolutions adds, even.
        dense_growth: Units that a fully connected one adds, even.
        dense_width: Units of the linear layer before the fully connected ones; 0 for none.
        concatenation: Bound on the weights of a concatenation.
        concatenation_from: Part of training from which on these weights are learned.
    """

    depth: int = Field(default=3, ge=1)
    growth: int = Field(default=32, ge=2, multiple_of=2)
    dense_growth: int = Field(default=32, ge=2, multiple_of=2)
    dense_width: int = Field(default=0, ge=0)
    concatenation: float = Field(default=0.98, gt=0, lt=1)
    concatenation_from: float = Field(default=0.025, ge=0, le=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        **SMALL_PRESETS,
        "cifar10": paper_preset(
            "24,894,690 parameters, the CIFAR-10 model",
            **DENSE,
            growth=172,
        ),
        "imagenet32": paper_preset(
            "46,981,074 parameters, the ImageNet 32x32 model",
            **DENSE,
            growth=172,
            blocks=(32, 32, 32),
            concatenation_from=0.0,
            training=_training(IMAGENET_IMAGES, flip=False),
        ),
        **{
            f"small-{depth}": paper_preset(
                f"{count:,} parameters, four blocks a scale of {depth} dense layers",
                **{**DENSE, "depth": depth},
                growth=growth,
                blocks=(4, 4, 4),
            )
            for depth, growth, count in SMALL_DENSE
        },
    }
