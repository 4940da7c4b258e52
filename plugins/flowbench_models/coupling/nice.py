"""NICE: additive couplings and one diagonal scaling, for vectors and flattened images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from flowbench.api import (
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    ModelConfig,
    Phase,
    Preprocessing,
    Preset,
    Scale,
    Training,
    UniformDequantization,
)
from flowbench_models.bijections.base import (
    Bijection,
    Composition,
    HalfCoupling,
    Shift,
    half_sizes,
    sum_event_dims,
)
from flowbench_models.bijections.channels import Permutation
from flowbench_models.defaults import (
    LOGIT,
    STANDARDISED,
    VECTOR_TRAINING,
    small_training,
)
from flowbench_models.nets.mlp import MLP

SMALL_TRAINING = small_training(lr=2e-3, weight_decay=1e-2)
PAPER_ASSUMPTIONS = (
    "momentum is 0.5 throughout (released: rising from 0 to 0.5)",
    "the rate decays along a cosine (released: divided by 1.0005 over and over)",
)
UNWHITENED = "no whitening: the paper whitens this data set, its released configuration does not"


def _paper_training(*, lr: float, batch_size: int = 200) -> Training:
    return Training(
        batch_size=batch_size,
        optimizer="rmsprop",
        lr=lr,
        betas=(0.5, 0.9),
        phases=(Phase(warmup=0.0),),
    )


class NICEConfig(ModelConfig):
    """Configuration of NICE.

    Attributes:
        hidden_layers: Hidden layers of each coupling's network; their number is that of couplings.
        width: Units of each hidden layer.
        prior: Base distribution of the latent's elements.
        interleave: Whether even and odd pixels, rather than the plain halves, are the two parts.
        init_bound: Weights and biases start uniform in +-init_bound; None starts with the usual
            layers and a last one of zeros, so that every coupling is the identity.
        dropout: Part of hidden units that are dropped in training.
    """

    hidden_layers: tuple[int, ...] = (2, 2, 2, 2)
    width: int = Field(default=128, ge=1)
    prior: Literal["logistic", "gaussian"] = "logistic"
    interleave: bool = True
    init_bound: float | None = Field(default=None, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    preprocessing: Preprocessing = Preprocessing(
        noise=UniformDequantization(), bijections=(Scale(),)
    )

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            summary="four couplings on logits, tuned on digits (8x8)",
            tuning_trials=4,
            values={
                "hidden_layers": (2, 2, 2, 2),
                "width": 256,
                "dropout": 0.1,
                "preprocessing": LOGIT,
                "training": SMALL_TRAINING,
            },
        ),
        "small": Preset(
            summary="four couplings on logits, for minutes on 32x32 images",
            tuning_trials=2,
            values={
                "hidden_layers": (2, 2, 2, 2),
                "width": 512,
                "preprocessing": LOGIT,
                "training": SMALL_TRAINING,
            },
        ),
        "vector": Preset(
            summary="eight couplings of small perceptrons, for vectors",
            values={
                "hidden_layers": (2,) * 8,
                "width": 64,
                "prior": "gaussian",
                "preprocessing": STANDARDISED,
                "training": VECTOR_TRAINING,
            },
        ),
        "mnist": Preset(
            summary="19.16 M parameters, the released MNIST model",
            source="paper",
            values={
                "hidden_layers": (5, 5, 5, 5),
                "width": 1000,
                "init_bound": 0.01,
                "training": _paper_training(lr=1e-3),
            },
            assumptions=PAPER_ASSUMPTIONS,
        ),
        "tfd": Preset(
            summary="60.90 M parameters, the released model of the Toronto Face Database (48x48)",
            source="paper",
            values={
                "hidden_layers": (3, 3, 2, 2, 1, 1, 1, 1),
                "width": 2000,
                "init_bound": 0.01,
                "training": _paper_training(lr=1e-3, batch_size=128),
            },
            assumptions=(*PAPER_ASSUMPTIONS, UNWHITENED),
        ),
        "svhn": Preset(
            summary="56.61 M parameters, the released SVHN model",
            source="paper",
            values={
                "hidden_layers": (3, 3, 3, 3),
                "width": 2000,
                "prior": "gaussian",
                "interleave": False,
                "init_bound": 0.01,
                "training": _paper_training(lr=1e-3),
            },
            assumptions=(*PAPER_ASSUMPTIONS, UNWHITENED),
        ),
        "cifar10": Preset(
            summary="93.59 M parameters, the released CIFAR-10 model",
            source="paper",
            values={
                "hidden_layers": (1, 1, 3, 3, 2, 2, 1, 1),
                "width": 2400,
                "prior": "gaussian",
                "interleave": False,
                "init_bound": 0.01,
                "preprocessing": Preprocessing(
                    noise=UniformDequantization(), bijections=(Scale(low=-1.0, high=1.0),)
                ),
                "training": _paper_training(lr=2e-4),
            },
            assumptions=(*PAPER_ASSUMPTIONS, UNWHITENED),
        ),
    }

    @model_validator(mode="after")
    def _every_part_is_transformed(self) -> NICEConfig:
        if len(self.hidden_layers) < 2 or min(self.hidden_layers) < 0:
            raise ValueError(
                "hidden_layers needs at least two couplings, each with 0 or more hidden layers, "
                f"got {self.hidden_layers}"
            )
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``vector`` for vectors, ``tiny`` for images up to 16x16, else ``small``."""
        if len(data.event_shape) != 3:
            return "vector"
        return "tiny" if max(data.event_shape[1:]) <= 16 else "small"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """A coupling needs two parts."""
        if data.num_dims < 2:
            return f"nice needs at least 2 dims, {data.name} has {data.num_dims}"
        return None


class NICE(InvertibleModel):
    r"""NICE: couplings :math:`z_b = x_b + m(x_a)` whose parts take turns, then a diagonal scaling.

    Images are flattened. The logistic prior is :math:`\log p(z) = -\sum_i [\log(1 + e^{z_i}) +
    \log(1 + e^{-z_i})]`.

    Raises:
        ConfigError: The data have fewer than two dims.

    References:
        Dinh et al. (2014), NICE: Non-linear Independent Components Estimation,
        https://arxiv.org/abs/1410.8516, sections 3 and 5.1.
    """

    config: NICEConfig

    def __init__(self, config: NICEConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        layers: list[Bijection] = []
        if config.interleave:
            layers.append(Permutation(interleaved_order(data.num_dims)))
        layers += (
            # In turns: what passes one coupling is transformed by the next.
            _coupling(config, data.num_dims, depth, swap=turn % 2 == 1)
            for turn, depth in enumerate(config.hidden_layers)
        )
        self.flow = Composition([*layers, DiagonalScaling(data.num_dims)])
        if config.init_bound is not None:
            _initialise_uniformly(self.flow, config.init_bound)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One flat latent."""
        return ((self.data.num_dims,),)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data (B, *event_shape) to one latent (B, D); see `InvertibleModel.to_latent`."""
        z, ladj = self.flow(x.flatten(1))
        return (z,), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps the latent (B, D) to data (B, *event_shape)."""
        return self.flow.inverse(latents[0]).view(-1, *self.data.event_shape)

    def base_log_prob(self, latents: Latents) -> Tensor:
        """Log-density of the prior, shape (B,), in nats."""
        if self.config.prior == "gaussian":
            return super().base_log_prob(latents)
        (z,) = latents
        # By softplus: the exponential in the formula overflows at z = 89 in float32.
        return -sum_event_dims(F.softplus(z) + F.softplus(-z))

    def sample_base(
        self,
        num: int,
        *,
        temperature: float,
        generator: torch.Generator | None,
        device: torch.device,
    ) -> Latents:
        """Draws latents from the prior, scaled by the temperature."""
        if self.config.prior == "gaussian":
            return super().sample_base(
                num, temperature=temperature, generator=generator, device=device
            )
        # Its inverse distribution function is the logit.
        uniform = torch.rand(num, self.data.num_dims, generator=generator, device=device)
        tiny = torch.finfo(uniform.dtype).tiny  # keeps the logit of an exact 0 finite
        return (temperature * torch.logit(uniform, eps=tiny),)


def _coupling(config: NICEConfig, num_dims: int, depth: int, *, swap: bool) -> HalfCoupling:
    num_conditioning, num_transformed = half_sizes(num_dims, swap=swap)
    net = MLP(
        num_conditioning,
        (config.width,) * depth,
        num_transformed,
        dropout=config.dropout,
        zero_output=config.init_bound is None,
    )
    return HalfCoupling(Shift(), net, swap=swap)


def _initialise_uniformly(flow: Composition, bound: float) -> None:
    for bijection in flow.bijections:
        if isinstance(bijection, HalfCoupling):
            # The couplings alone: the diagonal scaling starts at 1 all the same.
            for parameter in bijection.parameters():
                torch.nn.init.uniform_(parameter, -bound, bound)


class DiagonalScaling(Bijection):
    r"""Scales each element of a vector, :math:`z_i = e^{s_i} x_i`, with ladj = sum(s).

    Args:
        num_dims: Number D of elements.

    Example:
        >>> scaling = DiagonalScaling(2)
        >>> scaling.log_scale.data = torch.tensor([0.0, math.log(3.0)])
        >>> z, ladj = scaling(torch.ones(1, 2))
        >>> z.detach(), ladj.detach()
        (tensor([[1., 3.]]), tensor([1.0986]))

    References:
        Dinh et al. (2014), NICE: Non-linear Independent Components Estimation,
        https://arxiv.org/abs/1410.8516, section 3.3.
    """

    def __init__(self, num_dims: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(num_dims))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, D) to latent; see `Bijection.forward`."""
        return x * self.log_scale.exp(), self.log_scale.sum().expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return z * (-self.log_scale).exp()


def interleaved_order(num_channels: int) -> list[int]:
    """Even positions first, then odd ones, as NICE arranges MNIST before halving it.

    Args:
        num_channels: Size of the axis.

    Returns:
        The order, for `Permutation`.
    """
    return [*range(0, num_channels, 2), *range(1, num_channels, 2)]
