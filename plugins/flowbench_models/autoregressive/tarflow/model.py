"""TarFlow: transformers over patches, autoregressive in alternating directions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    ConfigError,
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    SamplingOptions,
    Step,
    bits_per_dim,
    report_progress,
    standard_normal_log_prob,
)
from flowbench_models.autoregressive.tarflow.blocks import (
    AutoregressiveBlock,
    CouplingBlock,
    FlowBlock,
    Tick,
)
from flowbench_models.autoregressive.tarflow.config import TarFlowConfig, TarFlowSampling
from flowbench_models.autoregressive.tarflow.sampling import (
    Guidance,
    Sweeps,
    denoise,
    held_fixed,
)

PRIOR_RATE = 0.1  # at which the prior of a volume-preserving flow follows its latents, as released


class TarFlow(InvertibleModel):
    r"""TarFlow.

    An image is cut into patches; a patch is a token of D values. Each block is an affine
    autoregressive map over the tokens, with a causal transformer as its network; odd blocks read
    the tokens backwards. Latents are standard normal, shape (N, D). A volume-preserving flow
    divides its latents by standard deviations that follow those of training, and that `refit` takes
    anew from the weights that are scored.

    Sampling takes the options of `TarFlowSampling`.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Zhai et al. (2024), Normalizing Flows are Capable Generative Models,
        https://arxiv.org/abs/2412.06329. Position embeddings are kept in the order in which a block
        reads its tokens; the released code keeps them in raster order and reverses them.
    """

    config: TarFlowConfig
    prior_variance: Tensor

    def __init__(self, config: TarFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.num_classes = (data.num_classes or 0) if config.class_conditional else 0
        channels, height, width = data.event_shape
        patch = config.patch_size
        self._grid = (height // patch, width // patch)
        self._tokens = (self._grid[0] * self._grid[1], channels * patch**2)  # N, D
        self.blocks = nn.ModuleList(self._block(turn) for turn in range(config.blocks))
        if config.volume_preserving:
            # A buffer and no parameter: it follows the latents and is not trained by the loss.
            self.register_buffer("prior_variance", torch.ones(self._tokens))

    def _block(self, turn: int) -> FlowBlock:
        layers = self.config.layers_of(turn)
        if self.config.block == "coupling":
            swap = turn % 2 == 1
            return CouplingBlock(
                self.config, *self._tokens, self.num_classes, num_layers=layers, swap=swap
            )
        return AutoregressiveBlock(self.config, *self._tokens, self.num_classes, num_layers=layers)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent of tokens."""
        return (self._tokens,)

    # --- density ----------------------------------------------------------------------------------

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps images (B, C, H, W) to tokens (B, N, D), given ``label`` if it is in the context."""
        z, ladj = self._latent(x, self._labels(context), checkpoint=self.config.checkpointing)
        return (z,), ladj

    def loss(self, batch: Batch, step: Step) -> Tensor:
        """Mean negative log-density in bits per dimension, some labels withheld.

        A volume-preserving flow is trained, as released, for a standard normal prior.
        """
        labels = self._labels(batch.context)
        if labels is not None:
            # For each example: within one batch the model learns both densities.
            dropped = torch.rand(len(labels), generator=step.generator, device=labels.device)
            withheld = dropped < self.config.label_dropout
            labels = labels.masked_fill(withheld, self.num_classes)
        z, ladj = self._encode(batch.x, labels, checkpoint=self.config.checkpointing)
        # Not in evaluation, where a second look must give the same number.
        if self.config.volume_preserving and self.training:
            self._follow(z)
        log_prob = standard_normal_log_prob((z,)) + ladj
        return bits_per_dim(log_prob, self.data.num_dims).mean()

    @torch.no_grad()
    def refit(self, batches: Iterable[Batch], *, generator: torch.Generator) -> None:
        """Takes the variances of a volume-preserving flow's prior from latents of these weights.

        Those of averaged weights are not the ones that the prior followed in training.
        """
        del generator
        if not self.config.volume_preserving:
            return
        squares, count = torch.zeros_like(self.prior_variance), 0
        for batch in batches:
            z, _ = self._encode(batch.x, self._labels(batch.context), checkpoint=False)
            # Second moments without a mean, as the prior that they scale is centred.
            squares += z.square().sum(dim=0)
            count += len(z)
        self._set_finite(squares / count)

    @torch.no_grad()
    def _follow(self, z: Tensor) -> None:
        """Moves the prior's variances towards those of latents, but to no value that is not finite.

        The step of such a batch is skipped, and a variance lost to it would stay lost.
        """
        self._set_finite(self.prior_variance.lerp(z.square().mean(dim=0), PRIOR_RATE))

    def _set_finite(self, variance: Tensor) -> None:
        self.prior_variance.copy_(torch.where(variance.isfinite(), variance, self.prior_variance))

    def _latent(
        self, x: Tensor, labels: Tensor | None, *, checkpoint: bool
    ) -> tuple[Tensor, Tensor]:
        z, ladj = self._encode(x, labels, checkpoint=checkpoint)
        if self.config.volume_preserving:
            z = z * self.prior_variance.rsqrt()
            ladj = ladj - 0.5 * self.prior_variance.log().sum()
        return z, ladj

    def _encode(
        self, x: Tensor, labels: Tensor | None, *, checkpoint: bool
    ) -> tuple[Tensor, Tensor]:
        z, ladj = self._patches(x), x.new_zeros(len(x))
        for turn, block in enumerate(self.blocks):
            z, part = block(_reversed(z) if turn else z, labels, checkpoint=checkpoint)
            ladj = ladj + part
        return (_reversed(z) if len(self.blocks) % 2 == 0 else z), ladj

    # --- sampling ---------------------------------------------------------------------------------

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps tokens (B, N, D) to images, one token after the other; not differentiable."""
        return self._decode(latents[0], self._labels(context), None)

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> Tensor:
        """Draws latents and maps them to images, with guidance and denoising if asked for.

        Args:
            num: Number B of samples.
            context: The ``label`` of each; a class-conditional model takes None for no label.
            settings: Temperature, and the options of `TarFlowSampling`.

        Returns:
            Samples, shape (B, C, H, W).

        Raises:
            ConfigError: An option is not known, or bears on nothing here.
        """
        options = self._options(settings)
        labels = self._labels(context)
        guidance = self._guidance(options, labels)
        (z,) = self.sample_base(
            num, temperature=options.temperature, generator=generator, device=generator.device
        )
        x = self._decode(z, labels, guidance, self._sweeps(options))
        if not options.denoise:
            return x
        # A score needs a backward pass, which may not fit where sampling did.
        checkpoint = options.checkpoint or self.config.checkpointing

        def log_density(noisy: Tensor) -> Tensor:
            latent, ladj = self._latent(noisy, labels, checkpoint=checkpoint)
            return standard_normal_log_prob((latent,)) + ladj

        # The gradient is by the image; one by the weights would double the work.
        with held_fixed(self):
            return denoise(x, self.config.noise_in_model_space(self.data), log_density)

    def _options(self, settings: SamplingOptions) -> TarFlowSampling:
        if not isinstance(settings, TarFlowSampling):
            raise ConfigError(f"tarflow samples by TarFlowSampling, got {settings!r}")
        return settings

    def _guidance(self, options: TarFlowSampling, labels: Tensor | None) -> Guidance | None:
        if options.guidance == 0.0:
            return None
        if labels is None and options.attention_temperature == 1.0:
            raise ConfigError(
                "guidance without a label needs attention_temperature other than 1, or both of its "
                "branches are the same"
            )
        return Guidance(
            weight=options.guidance,
            linear=options.guidance_schedule == "linear",
            temperature=options.attention_temperature,
            withheld=self.num_classes,
        )

    def _sweeps(self, options: TarFlowSampling) -> Sweeps | None:
        if options.sampler == "cached":
            return None
        return Sweeps(
            tolerance=options.sweep_tolerance,
            most=options.most_sweeps,
            segments=options.segments,
        )

    @property
    def sweeps(self) -> tuple[int, ...]:
        """Sweeps that each block took when samples were last drawn by them, the data's first."""
        return tuple(cast(FlowBlock, block).sweeps for block in self.blocks)

    def _decode(
        self,
        z: Tensor,
        labels: Tensor | None,
        guidance: Guidance | None,
        sweeps: Sweeps | None = None,
    ) -> Tensor:
        if self.config.volume_preserving:
            z = z * self.prior_variance.sqrt()
        # Latents are kept in raster order, whatever the number of blocks.
        x = _reversed(z) if len(self.blocks) % 2 == 0 else z
        for done, module in enumerate(reversed(self.blocks)):
            block = cast(FlowBlock, module)
            x = block.inverse(x, labels, guidance, self._progress(done), sweeps)
            x = x if done == len(self.blocks) - 1 else _reversed(x)
        return self._image(x)

    def _progress(self, blocks_done: int) -> Tick:
        return lambda part: report_progress((blocks_done + part) / len(self.blocks))

    # --- tokens and labels ------------------------------------------------------------------------

    def _labels(self, context: Context | None) -> Tensor | None:
        """Labels of a batch; None if the model has no use for any or none are given."""
        return (context or {}).get("label") if self.num_classes else None

    def _patches(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) as tokens (B, N, D), in raster order, channels outermost."""
        (rows, columns), patch = self._grid, self.config.patch_size
        # (B, C, rows, p, columns, p) to (B, rows, columns, C, p, p): a token is a patch, channel by
        # channel.
        pieces = x.reshape(len(x), -1, rows, patch, columns, patch)
        return pieces.permute(0, 2, 4, 1, 3, 5).reshape(len(x), *self._tokens)

    def _image(self, tokens: Tensor) -> Tensor:
        """Undoes `_patches`."""
        patch = self.config.patch_size
        pieces = tokens.reshape(len(tokens), *self._grid, -1, patch, patch)
        return pieces.permute(0, 3, 1, 4, 2, 5).reshape(-1, *self.data.event_shape)


def _reversed(tokens: Tensor) -> Tensor:
    return tokens.flip(1)
