"""What MADE, MAF and IAF are configured by, and their presets; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from flowbench.api import (
    DatasetInfo,
    Phase,
    Preprocessing,
    Preset,
    Training,
)
from flowbench_models.defaults import (
    LOGIT,
    OVERVIEW_ASSUMPTIONS,
    OVERVIEW_INFERENCE,
    SHARP_LOGIT,
    STANDARDISED,
    TABLE_TRAINING,
    VECTOR_TRAINING,
    ConditionalConfig,
    small_training,
)

AS_IT_COMES = Preprocessing()


def _paper_training(*, lr: float, augment: tuple[str, ...] = ()) -> Training:
    return Training.model_validate(
        {
            "batch_size": 100,
            "lr": lr,
            "weight_decay": 1e-6,
            "phases": (Phase(schedule="constant", warmup=0.0),),
            "augment": augment,
        }
    )


PAPER_ASSUMPTIONS = (
    "the budget ends training (released: 30 epochs without a better validation likelihood)",
    "batch-norm statistics for evaluation are those of 20 batches of training examples together "
    "(released: of the whole training set)",
)

# name: (hidden units, parameters of K5 L1, K5 L2 and K10 L2)
PAPER_SIZES: Mapping[str, tuple[int, tuple[int, int, int]]] = {
    "power": (100, (9_620, 60_120, 120_240)),
    "gas": (100, (12_660, 63_160, 126_320)),
    "hepmass": (512, (164_260, 1_477_540, 2_955_080)),
    "miniboone": (512, (333_660, 1_646_940, 3_293_880)),
    "bsds300": (512, (487_660, 1_800_940, 3_601_880)),
    "mnist": (1024, (12_063_040, 17_311_040, 34_622_080)),
    "cifar10": (1024, (47_252_480, 52_500_480, 105_000_960)),
}
PAPER_FORMS = {"": (5, 1), "-l2": (5, 2), "-k10": (10, 2)}


def _paper_values(name: str, transforms: int, layers: int, *, lr: float) -> dict[str, Any]:
    values: dict[str, Any] = {
        "transforms": transforms,
        "layers": layers,
        "width": PAPER_SIZES[name][0],
        "activation": "tanh" if name == "gas" else "relu",
        "norm": "batch",
        "start": "random",
        "preprocessing": AS_IT_COMES,
        "training": _paper_training(lr=lr),
    }
    if name == "mnist":
        values["preprocessing"] = SHARP_LOGIT
    if name == "cifar10":
        flipped = _paper_training(lr=lr, augment=("horizontal_flip",))
        values |= {"random_degrees": True, "preprocessing": LOGIT, "training": flipped}
    return values


def _paper_presets() -> Iterator[tuple[str, Preset]]:
    for name, (width, counts) in PAPER_SIZES.items():
        for (suffix, (transforms, layers)), count in zip(PAPER_FORMS.items(), counts, strict=True):
            yield (
                f"{name}{suffix}",
                Preset(
                    summary=f"{count:,} parameters, the released model: {transforms} MADEs of "
                    f"{layers} x {width} units",
                    source="paper",
                    values=_paper_values(name, transforms, layers, lr=1e-4),
                    assumptions=PAPER_ASSUMPTIONS,
                ),
            )


SMALL: Mapping[str, Preset] = {
    "tiny": Preset(
        summary="five MADEs over the pixels, tuned on digits (8x8)",
        tuning_trials=2,
        values={
            "transforms": 5,
            "width": 512,
            "dropout": 0.2,
            "preprocessing": LOGIT,
            "training": small_training(),
        },
    ),
    "table": Preset(
        summary="five MADEs with dropout, for tables of some hundred rows",
        tuning_trials=2,
        values={
            "transforms": 5,
            "width": 64,
            "layers": 1,
            "dropout": 0.2,
            "preprocessing": STANDARDISED,
            "training": TABLE_TRAINING,
        },
    ),
    "vector": Preset(
        summary="five MADEs, for vectors",
        values={
            "transforms": 5,
            "width": 64,
            "layers": 2,
            "preprocessing": STANDARDISED,
            "training": VECTOR_TRAINING,
        },
    ),
}


OVERVIEW = Preset(
    summary="ten MADEs of 2 x 512 units, as an overview of flows recommends for tables",
    values={
        "transforms": 10,
        "layers": 2,
        "width": 512,
        "preprocessing": STANDARDISED,
        "training": Training(batch_size=256, lr=5e-4),
    },
    assumptions=OVERVIEW_ASSUMPTIONS,
)


class MAFConfig(ConditionalConfig):
    """Configuration of a masked autoregressive flow.

    Attributes:
        transforms: Autoregressive transforms K; every other reads the elements backwards.
        layers: Hidden layers L of each network.
        width: Units H of each hidden layer.
        norm: Between transforms: ``batch`` norm as in the paper, ``act`` norm, or ``none``.
        start: Weights of networks at the start: ``random`` as in the released code, or
            ``identity``: the last layer starts at zero.
        random_degrees: Whether hidden units see random numbers of elements, rather than each
            number in turn.
        dropout: Part of hidden units that are dropped in training.
    """

    transforms: int = Field(default=5, ge=1)
    layers: int = Field(default=1, ge=1)
    width: int = Field(default=64, ge=1)
    activation: Literal["relu", "tanh"] = "relu"
    norm: Literal["batch", "act", "none"] = "act"
    start: Literal["random", "identity"] = "identity"
    random_degrees: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    preprocessing: Preprocessing = STANDARDISED

    presets: ClassVar[Mapping[str, Preset]] = {
        **SMALL,
        "overview": OVERVIEW,
        **dict(_paper_presets()),
    }

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``tiny`` for images, ``vector`` for vectors."""
        return "tiny" if len(data.event_shape) == 3 else "vector"


class MADEConfig(MAFConfig):
    """Configuration of one MADE with Gaussian conditionals; fields as in `MAFConfig`."""

    transforms: int = Field(default=1, ge=1, le=1)
    norm: Literal["batch", "act", "none"] = "none"

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            summary="one MADE over the pixels, for digits (8x8)",
            values={"width": 512, "preprocessing": LOGIT, "training": small_training()},
        ),
        "vector": Preset(
            summary="one MADE, for vectors",
            values={"width": 64, "layers": 2, "training": VECTOR_TRAINING},
        ),
        **{
            name: Preset(
                summary=f"the released model: one MADE of {width} units",
                source="paper",
                values={**_paper_values(name, 1, 1, lr=1e-3), "norm": "none"},
                assumptions=PAPER_ASSUMPTIONS[:1],
            )
            for name, (width, _) in PAPER_SIZES.items()
        },
    }


class IAFConfig(MAFConfig):
    """Configuration of an inverse autoregressive flow; fields as in `MAFConfig`."""

    presets: ClassVar[Mapping[str, Preset]] = {
        "vector": SMALL["vector"],
        "tiny": Preset(
            summary="two transforms over the pixels, for digits (8x8); scoring goes pixel by pixel",
            values={
                "transforms": 2,
                "width": 128,
                "preprocessing": LOGIT,
                "training": small_training(),
            },
        ),
        "overview": Preset(
            summary="eight transforms of 2 x 256 units, as an overview of flows recommends for "
            "variational inference",
            values={
                "transforms": 8,
                "layers": 2,
                "width": 256,
                "preprocessing": STANDARDISED,
                "training": Training(lr=1e-3),
            },
            assumptions=OVERVIEW_INFERENCE,
        ),
    }
