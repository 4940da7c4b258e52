"""Configuration of the variational autoencoder and its presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from flowbench.api import (
    DatasetInfo,
    Ema,
    Likelihood,
    ModelConfig,
    Preprocessing,
    Preset,
    Standardise,
    Training,
)
from pydantic import Field

from flowbench_families.pixels import SMALL, default_image_preset

INTEGERS = Preprocessing(support="discrete")
VECTORS = Preprocessing(bijections=(Standardise(per="dim"),))


class VAEConfig(ModelConfig):
    """Configuration of the variational autoencoder.

    Attributes:
        width: Channels.
        blocks: Residual blocks behind each step of either network.
        resolutions: At most so many hold latents: an image is halved once for each, as long as it
            is even and larger than two pixels.
        layers: Layers of latents at each resolution; of vectors, in all.
        latents: Channels of a layer of latents; of vectors, their number.
        flow_steps: Inverse autoregressive steps of a posterior; 0 leaves it Gaussian.
        flow_width: Hidden units of the network of each step.
        components: Logistics in the mixture of a pixel.
        free_bits: Bits of a layer of latents for each image that training does not count.
        warm_up: Part of training in which the cost of latents grows from nothing to all of it.
    """

    width: int = Field(default=32, ge=1)
    blocks: int = Field(default=1, ge=0)
    resolutions: int = Field(default=2, ge=1)
    layers: int = Field(default=1, ge=1)
    latents: int = Field(default=4, ge=1)
    flow_steps: int = Field(default=0, ge=0)
    flow_width: int = Field(default=128, ge=1)
    components: int = Field(default=5, ge=1)
    free_bits: float = Field(default=0.0, ge=0)
    warm_up: float = Field(default=0.0, ge=0, le=1)
    preprocessing: Preprocessing = INTEGERS
    training: Training = SMALL

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="Gaussian posteriors at two resolutions, for a minute on digits",
            tuning_trials=4,
        ),
        "iaf": Preset(
            summary="two inverse autoregressive steps to each posterior, else as digits",
            values={"flow_steps": 2},
            tuning_trials=4,
        ),
        "natural-patches": Preset(
            summary="two layers at each of two resolutions, for minutes on 32x32 images",
            values={"layers": 2},
            tuning_trials=2,
        ),
        "iaf-natural-patches": Preset(
            summary="one inverse autoregressive step to each posterior, else as natural-patches",
            values={"layers": 2, "flow_steps": 1},
            tuning_trials=2,
        ),
        "vector": Preset(
            summary="two layers of latents with one flow step each, for a minute on planar sets",
            values={
                # Without it one latent of all is used, and the decoder blurs the other dimension.
                "warm_up": 0.3,
                "flow_steps": 1,
                "width": 64,
                "blocks": 2,
                "layers": 2,
                "latents": 2,
                "preprocessing": VECTORS.model_dump(),
                "training": Training(
                    batch_size=256, lr=5e-3, clip_norm=10.0, average=Ema(decay=0.999)
                ).model_dump(),
            },
            tuning_trials=11,
        ),
    }

    def likelihood(self, data: DatasetInfo) -> Likelihood:
        """A bound: latents are integrated over by importance."""
        measure = "continuous" if data.levels is None else "discrete"
        return Likelihood(measure=measure, noise="weights", bound=True)

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16, else ``natural-patches``; ``vector`` for vectors."""
        return default_image_preset(data) if len(data.event_shape) == 3 else "vector"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Images of integer levels, or real vectors."""
        shape, is_image = data.event_shape, data.modality == "image"
        if is_image and len(shape) != 3:
            return f"vae needs images (C, H, W), {data.name} has events of shape {shape}"
        if is_image != (data.levels is not None):
            wanted, given = ("integer levels", "real values")[:: 1 if is_image else -1]
            kind = "images" if is_image else "vectors"
            return f"vae takes {kind} of {wanted}, {data.name} has {given}"
        if is_image != (self.preprocessing.support == "discrete"):
            support = "discrete" if is_image else "continuous"
            return f"vae takes {data.name} under preprocessing.support={support}"
        return None

    @property
    def whole_batch(self) -> str | None:
        """Free bits are of a batch's mean."""
        return "free bits are counted of the mean of its examples" if self.free_bits else None
