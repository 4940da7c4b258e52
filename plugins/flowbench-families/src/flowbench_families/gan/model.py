"""Adversarial networks: a generator, and a critic that tells its samples from data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    GenerativeModel,
    Info,
    SamplingOptions,
    Step,
    WithInfo,
)
from torch import Tensor, nn
from torch.func import functional_call, grad

from flowbench_families.gan.config import AdversarialConfig, DCGANConfig, WGANGPConfig
from flowbench_families.gan.nets import Critic, Generator, perceptron

CRITIC, GENERATOR = "critic", "generator"


class Adversarial(GenerativeModel):
    """Base of both: two optimizer groups, each of one network.

    A subclass gives the losses.

    Attributes:
        generator: From noise (B, noise_dims) to samples.
        critic: From values in the model's space to numbers (B, 1).
    """

    config: AdversarialConfig
    generator: nn.Module
    critic: nn.Module

    def optimizer_groups(self) -> dict[str, list[nn.Parameter]]:
        """The critic's parameters, then the generator's."""
        return {
            CRITIC: list(self.critic.parameters()),
            GENERATOR: list(self.generator.parameters()),
        }

    def num_parameters(self) -> int:
        """Of the generator, which samples alone."""
        return sum(p.numel() for p in self.generator.parameters())

    def num_parameters_training(self) -> int:
        """Of both networks."""
        return super().num_parameters()

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """The loss of one of both networks, which moves nothing in the other."""
        x = batch.x
        noise = torch.randn(
            len(x), self.config.noise_dims, generator=step.generator, device=x.device, dtype=x.dtype
        )
        if step.group == GENERATOR:
            return self.generator_loss(self._judged(self.generator(noise)))
        with torch.no_grad():
            made = self.generator(noise)
        return self.critic_loss(x, made, step)

    def generator_loss(self, judged: Tensor) -> Tensor:
        """The generator's loss.

        Args:
            judged: What the critic makes of its samples, shape (B, 1).
        """
        raise NotImplementedError

    def critic_loss(self, x: Tensor, made: Tensor, step: Step) -> tuple[Tensor, Info]:
        """The critic's loss, of data and as many samples."""
        raise NotImplementedError

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> Tensor:
        """Maps noise to samples; the temperature scales the noise."""
        del context
        like = next(self.generator.parameters())
        noise = torch.randn(
            num, self.config.noise_dims, generator=generator, device=like.device, dtype=like.dtype
        )
        x: Tensor = self.generator(settings.temperature * noise)
        return x

    def _judged(self, made: Tensor) -> Tensor:
        """The critic's answer, with weights that take no gradient."""
        fixed = {name: p.detach() for name, p in self.critic.named_parameters()}
        judged: Tensor = functional_call(self.critic, fixed, (made,))
        return judged


class DCGAN(Adversarial):
    r"""DCGAN: convolutional networks with batch norms, and the non-saturating loss.

    .. math:: L_D = -\tfrac{1}{2} \left( \mathbb{E} \log \sigma(D(x))
              + \mathbb{E} \log \sigma(-D(G(z))) \right), \qquad
              L_G = -\mathbb{E} \log \sigma(D(G(z)))

    References:
        Radford et al. (2016), Unsupervised Representation Learning with Deep Convolutional
        Generative Adversarial Networks, https://arxiv.org/abs/1511.06434.
    """

    config: DCGANConfig

    def __init__(self, config: DCGANConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        shape, smallest = data.event_shape, config.smallest
        self.generator = Generator(config.noise_dims, config.width, shape, smallest=smallest)
        self.critic = Critic(config.width, shape, smallest=smallest, normalised=True)

    def generator_loss(self, judged: Tensor) -> Tensor:
        """Taken for data; see `Adversarial.generator_loss`."""
        return F.softplus(-judged).mean()

    def critic_loss(self, x: Tensor, made: Tensor, step: Step) -> tuple[Tensor, Info]:
        """Cross-entropy of data and samples, each in a batch of its own."""
        del step
        loss = 0.5 * (F.softplus(-self.critic(x)).mean() + F.softplus(self.critic(made)).mean())
        return loss, {"critic_loss": loss.detach()}


class WGANGP(Adversarial):
    r"""WGAN-GP: a critic held to gradients of norm one between data and samples.

    .. math:: L_D = \mathbb{E} D(G(z)) - \mathbb{E} D(x)
              + \lambda\, \mathbb{E} (\lVert \nabla D(\hat x) \rVert - 1)^2, \qquad
              L_G = -\mathbb{E} D(G(z))

    References:
        Gulrajani et al. (2017), Improved Training of Wasserstein GANs,
        https://arxiv.org/abs/1704.00028, algorithm 1; networks are those of the released code.
    """

    config: WGANGPConfig

    def __init__(self, config: WGANGPConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        shape, width, smallest = data.event_shape, config.width, config.smallest
        if data.modality == "vector":
            dims = math.prod(shape)
            self.generator = perceptron(config.noise_dims, width, config.layers, dims)
            self.critic = perceptron(dims, width, config.layers, 1)
        else:
            self.generator = Generator(config.noise_dims, width, shape, smallest=smallest)
            self.critic = Critic(width, shape, smallest=smallest, normalised=False)

    def generator_loss(self, judged: Tensor) -> Tensor:
        """Taken for data; see `Adversarial.generator_loss`."""
        return -judged.mean()

    def critic_loss(self, x: Tensor, made: Tensor, step: Step) -> tuple[Tensor, Info]:
        """Less the distance that it sees, with the penalty."""
        parts = torch.rand(
            len(x), *(1,) * (x.ndim - 1), generator=step.generator, device=x.device, dtype=x.dtype
        )
        distance = self.critic(x).mean() - self.critic(made).mean()
        penalty = gradient_penalty(self.critic, x + parts * (made - x))
        info = {"critic_distance": distance.detach(), "gradient_penalty": penalty.detach()}
        return self.config.penalty * penalty - distance, info


def gradient_penalty(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Mean squared deviation from 1 of the norm of the critic's gradient.

    Args:
        critic: From (B, ...) to (B, 1), each row by itself.
        x: Where, shape (B, ...).

    Returns:
        Shape ().

    Example:
        >>> gradient_penalty(lambda x: 3.0 * x, torch.zeros(5, 1))
        tensor(4.)
    """
    # And not `torch.autograd.grad`, which no compiled graph holds.
    norms = grad(lambda at: critic(at).sum())(x).flatten(1).norm(dim=1)
    penalty: Tensor = (norms - 1.0).square().mean()
    return penalty
