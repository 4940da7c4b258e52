"""Configurations of adversarial networks and their presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from flowbench.api import (
    DatasetInfo,
    Ema,
    Group,
    ModelConfig,
    NoLikelihood,
    Phase,
    Preprocessing,
    Preset,
    Scale,
    Standardise,
    Training,
)
from pydantic import Field

from flowbench_families.pixels import default_image_preset

# Levels as they are: a generator's real values are rounded to the nearest.
IMAGES = Preprocessing(bijections=(Scale(low=-1.0, high=1.0, closed=True),))
VECTORS = Preprocessing(bijections=(Standardise(per="dim"),))
STEADY = (Phase(schedule="constant", warmup=0.0),)


class AdversarialConfig(ModelConfig):
    """Base of configurations of adversarial networks.

    Attributes:
        called: The model's name.
        noise_dims: Size of the noise that a sample is made of.
        width: Channels of the layers next to an image; those before have twice as many each. For
            vectors the units of each hidden layer.
        smallest: An image is made from a map that is halved for as long as it is even and larger
            than this, and at least once.
    """

    called: ClassVar[str]

    noise_dims: int = Field(default=64, ge=1)
    width: int = Field(default=64, ge=1)
    smallest: int = Field(default=4, ge=1)
    preprocessing: Preprocessing = IMAGES

    def likelihood(self, data: DatasetInfo) -> NoLikelihood:
        """None: what a generator makes has no known density."""
        del data
        return NoLikelihood(reason="a generator gives samples alone, neither a density nor a bound")

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16, else ``natural-patches``; ``vector`` for vectors."""
        return default_image_preset(data) if len(data.event_shape) == 3 else "vector"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Images of even height and width with integer levels."""
        shape = data.event_shape
        if len(shape) != 3:
            return f"{self.called} needs images (C, H, W), {data.name} has events of shape {shape}"
        if data.levels is None:
            return f"{self.called} draws integer levels, {data.name} has real values"
        if shape[1] % 2 or shape[2] % 2:
            size = f"{shape[1]}x{shape[2]}"
            return f"{self.called} needs an even height and width, {data.name} has {size}"
        return None


DIGITS = Preset(
    summary="two layers from 2x2 on, for a minute on digits (8x8)", values={"smallest": 2}
)
PATCHES = Preset(
    summary="three layers from 4x4 on, for minutes on 32x32 images",
    values={"width": 32},
    tuning_trials=2,
)


class DCGANConfig(AdversarialConfig):
    """Configuration of DCGAN."""

    called = "dcgan"

    training: Training = Training(
        batch_size=64, lr=2e-4, betas=(0.5, 0.999), phases=STEADY, average=Ema(decay=0.99)
    )

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": replace(
            DIGITS, values={**DIGITS.values, "training": {"lr": 4e-4}}, tuning_trials=4
        ),
        "natural-patches": PATCHES,
        "cifar10": Preset(
            summary="generator 5,179,907, discriminator 4,116,225 parameters (CIFAR-10)",
            source="paper",
            values={"width": 128, "noise_dims": 128, "training": {"average": None}},
            assumptions=(
                "networks and training of the mode dcgan of WGAN-GP's released code; the paper has "
                "none for 32x32 images",
            ),
        ),
    }


def _critic_first(**values: Any) -> Training:
    """Five steps of the critic to one of the generator, by an Adam without much momentum."""
    groups = {"generator": Group(every=5)}
    return Training(betas=(0.5, 0.9), phases=STEADY, groups=groups, **values)


class WGANGPConfig(AdversarialConfig):
    """Configuration of WGAN-GP.

    Attributes:
        penalty: Factor of the gradient penalty.
        layers: Hidden layers of both networks, for vectors.
    """

    called = "wgan-gp"

    penalty: float = Field(default=10.0, gt=0)
    layers: int = Field(default=3, ge=1)
    training: Training = _critic_first(batch_size=64, lr=5e-4, average=Ema(decay=0.99))

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": replace(
            DIGITS, values={**DIGITS.values, "training": {"lr": 1e-3}}, tuning_trials=4
        ),
        "natural-patches": PATCHES,
        "cifar10": Preset(
            summary="generator 5,179,907, critic 4,114,689 parameters (CIFAR-10)",
            source="paper",
            values={
                "width": 128,
                "noise_dims": 128,
                "training": _critic_first(batch_size=64, lr=1e-4).model_dump(),
            },
        ),
        "vector": Preset(
            summary="perceptrons of three layers of 128, for seconds on planar sets",
            values={
                "noise_dims": 2,
                "width": 128,
                "penalty": 0.1,
                "preprocessing": VECTORS.model_dump(),
                # In the plane a critic sees the distance soon, and its steps cost twice the others.
                "training": {"batch_size": 256, "lr": 2e-3, "groups": {"generator": {"every": 3}}},
            },
            tuning_trials=6,
        ),
        "toy": Preset(
            summary="perceptrons of three layers of 512, for planar sets",
            source="paper",
            values={
                "noise_dims": 2,
                "width": 512,
                "penalty": 0.1,
                "preprocessing": VECTORS.model_dump(),
                "training": _critic_first(batch_size=256, lr=1e-4).model_dump(),
            },
            assumptions=(
                "data are standardised, where the released code scales each set by a number; "
                "last layers start as the hidden ones do",
            ),
        ),
    }

    def unsupported(self, data: DatasetInfo) -> str | None:
        """As for images, or real vectors."""
        if data.modality != "vector":
            return super().unsupported(data)
        if data.levels is not None:
            return f"{self.called} takes real vectors, {data.name} has integer levels"
        return None
