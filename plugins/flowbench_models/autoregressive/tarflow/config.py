"""What a TarFlow is configured by, and its sampling options; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from flowbench.api import (
    ConfigError,
    DatasetInfo,
    GaussianNoise,
    ModelConfig,
    Preprocessing,
    Preset,
    SamplingOptions,
    Scale,
)
from flowbench_models.autoregressive.tarflow.presets import DEQUANTIZED, PRESETS
from flowbench_models.defaults import LARGEST_TINY


class TarFlowSampling(SamplingOptions):
    """Sampling options of TarFlow (``--sample guidance=2,denoise=true``).

    Attributes:
        guidance: Weight w of guidance; 0 is none.
        guidance_schedule: ``constant``, or ``linear`` from w / (N - 1) at the second token to w at
            the last.
        attention_temperature: Divides the attention's logits in the branch that guidance leads away
            from; other than 1 it guides models without labels too.
        denoise: Whether the noise that the model was trained with is taken out of its samples.
        checkpoint: Whether denoising recomputes the layers in its backward pass, for memory.
        sampler: ``cached`` makes one token after the other, with the keys and values of those
            before; ``jacobi`` sweeps over all tokens at once until they stand still.
        segments: Of the tokens, which ``jacobi`` sweeps one after the other (Gauss-Seidel-Jacobi).
        sweep_tolerance: Largest change of a value at which ``jacobi`` stops; 0 sweeps until nothing
            changes, or as often as makes all tokens exact.
        most_sweeps: Of each segment, at most; None for as many as make it exact.
    """

    guidance: float = Field(default=0.0, ge=0)
    guidance_schedule: Literal["constant", "linear"] = "constant"
    attention_temperature: float = Field(default=1.0, gt=0)
    denoise: bool = False
    checkpoint: bool = False
    sampler: Literal["cached", "jacobi"] = "cached"
    segments: int = Field(default=1, ge=1)
    sweep_tolerance: float = Field(default=1e-3, ge=0)
    most_sweeps: int | None = Field(default=None, ge=1)


class TarFlowConfig(ModelConfig):
    """Configuration of TarFlow; the paper writes [patch_size-width-blocks-layers].

    Attributes:
        patch_size: Pixels along each side of a patch; a patch is one token.
        width: Channels of the transformers, a multiple of ``head_dim``.
        blocks: Flow blocks; they read the tokens in turn forwards and backwards.
        layers: Transformer layers in each block: one number for all, or one for each.
        head_dim: Channels of an attention head.
        block: ``autoregressive``: a token is transformed given those before it. ``coupling``: one
            half of each token's channels given the other halves of all tokens (an ablation).
        volume_preserving: Whether blocks only shift (VP, an ablation), so that the scale is left to
            the prior's variances; otherwise they scale as well (NVP).
        scale: Of blocks that scale: ``exp`` of a parameter, or ``softplus`` of it, moved so that 0
            gives 1.
        soft_clip: Bound c of all parameters p, as c tanh(p / c); None leaves them unbounded.
        class_conditional: Whether the transformers see the class label.
        label_dropout: Part of training labels that are withheld, which trains the density without
            a label too.
        checkpointing: Whether transformer layers are recomputed in the backward pass, for memory.
    """

    patch_size: int = Field(default=2, ge=1)
    width: int = Field(default=128, ge=1)
    blocks: int = Field(default=4, ge=1)
    layers: PositiveInt | tuple[PositiveInt, ...] = 2
    head_dim: int = Field(default=64, ge=1)
    block: Literal["autoregressive", "coupling"] = "autoregressive"
    volume_preserving: bool = False
    scale: Literal["exp", "softplus"] = "exp"
    soft_clip: float | None = Field(default=None, gt=0)
    class_conditional: bool = False
    label_dropout: float = Field(default=0.1, ge=0, lt=1)
    checkpointing: bool = False
    preprocessing: Preprocessing = DEQUANTIZED

    presets: ClassVar[Mapping[str, Preset]] = PRESETS
    sampling: ClassVar[type[SamplingOptions]] = TarFlowSampling

    @model_validator(mode="after")
    def _heads_fill_the_width(self) -> TarFlowConfig:
        if self.width % self.head_dim:
            raise ValueError(
                f"width must be a multiple of head_dim, got {self.width} and {self.head_dim}"
            )
        return self

    @model_validator(mode="after")
    def _every_block_has_layers(self) -> TarFlowConfig:
        if isinstance(self.layers, tuple) and len(self.layers) != self.blocks:
            raise ValueError(
                f"layers {self.layers} are one number, or one for each of {self.blocks} blocks"
            )
        return self

    def layers_of(self, block: int) -> int:
        """Transformer layers of a block, counted from the data."""
        return self.layers[block] if isinstance(self.layers, tuple) else self.layers

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``tiny`` for images up to 16x16, else ``small``; ``pixels`` if patches do not fit."""
        # A vector has no sides: the default lets `unsupported` say so instead of an error here.
        preset = "tiny" if max(data.event_shape[1:], default=1) <= LARGEST_TINY else "small"
        fits = cls(**dict(cls.presets[preset].values)).unsupported(data) is None
        return preset if fits else "pixels"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """TarFlow needs images that divide into patches, two of them, and labels if it is given."""
        if len(data.event_shape) != 3:
            return (
                f"tarflow needs images (C, H, W), {data.name} has events of shape "
                f"{data.event_shape}"
            )
        channels, height, width = data.event_shape
        patch = self.patch_size
        if height % patch or width % patch:
            return (
                f"tarflow with patch_size={patch} needs height and width divisible by it, "
                f"{data.name} has {height}x{width}"
            )
        if self.block == "autoregressive" and height * width < 2 * patch**2:
            return (
                f"tarflow needs two tokens or more, {data.name} has one; set a smaller patch_size"
            )
        if self.block == "coupling" and channels * patch**2 < 2:
            return f"couplings need two values in a token, {data.name} has one; set a patch_size"
        if self.class_conditional and not data.num_classes:
            return f"a class-conditional tarflow needs labels, {data.name} has none"
        return None

    def also_given(self, data: DatasetInfo) -> tuple[tuple[str, ...], ...]:
        """A class-conditional model has both densities: labels were dropped in training."""
        # Without dropped labels the unconditional density was never trained, and is no number to
        # report.
        return (("label",),) if self.class_conditional and self.label_dropout else ()

    # --- sampling ---------------------------------------------------------------------------------

    def unsupported_sampling(self, options: SamplingOptions, data: DatasetInfo) -> str | None:
        """Why an option bears on nothing in this configuration."""
        del data
        if not isinstance(options, TarFlowSampling):
            return f"tarflow samples by TarFlowSampling, got {options!r}"
        return (
            self._idle_guidance(options)
            or self._idle_denoising(options)
            or self._idle_sweeps(options)
        )

    def _idle_sweeps(self, options: TarFlowSampling) -> str | None:
        if options.sampler == "cached":
            default = TarFlowSampling()
            names = ("segments", "sweep_tolerance", "most_sweeps")
            idle = [name for name in names if getattr(options, name) != getattr(default, name)]
            return f"{idle[0]} bears on sampler=jacobi alone; set it" if idle else None
        if self.block == "coupling":
            return "couplings are inverted in one pass; leave sampler=cached"
        if options.attention_temperature != 1.0:
            return "sampler=jacobi knows no attention_temperature; leave it at 1, or sampler=cached"
        return None

    def _idle_guidance(self, options: TarFlowSampling) -> str | None:
        sharpened = options.attention_temperature != 1.0
        linear = options.guidance_schedule == "linear"
        if options.guidance == 0.0:
            idle = "attention_temperature" if sharpened else "guidance_schedule" if linear else None
            return idle and f"{idle} bears on guidance alone; set guidance above 0"
        if self.block == "coupling" and (sharpened or linear):
            return "couplings know neither attention_temperature nor guidance_schedule=linear"
        if not self.class_conditional and not sharpened:
            return (
                "guidance needs class_conditional=true, or an attention_temperature other than 1; "
                "this tarflow sees no labels"
            )
        return None

    def _idle_denoising(self, options: TarFlowSampling) -> str | None:
        if options.checkpoint and not options.denoise:
            return "checkpoint bears on denoising alone; set denoise=true"
        if not options.denoise:
            return None
        if not isinstance(self.preprocessing.noise, GaussianNoise):
            return (
                "denoise needs a model trained with gaussian_noise, this one is not; take a "
                "generation preset, such as tiny-gen"
            )
        if [type(step) for step in self.preprocessing.bijections] != [Scale]:
            return "denoise needs a preprocessing of gaussian_noise and one scale"
        return None

    def noise_in_model_space(self, data: DatasetInfo) -> float:
        """Standard deviation of the Gaussian noise, as the model sees it.

        Returns:
            It is sigma where the levels span [-1, 1].

        Raises:
            ConfigError: The preprocessing is not Gaussian noise followed by one scale.
        """
        reason = self._idle_denoising(TarFlowSampling(denoise=True))
        noise, levels = self.preprocessing.noise, data.levels
        if reason is not None or not isinstance(noise, GaussianNoise) or levels is None:
            raise ConfigError(reason or f"a scale needs integer levels, {data.name} has none")
        (scale,) = self.preprocessing.bijections
        if not isinstance(scale, Scale):
            raise ConfigError("a standard deviation passes through a scale alone")
        # sigma counts (K - 1) / 2 levels; a scale spreads K - 1 of them, or K, over its range.
        span = (levels - 1) / (levels - 1 if scale.closed else levels)
        return noise.sigma * (scale.high - scale.low) / 2 * span
