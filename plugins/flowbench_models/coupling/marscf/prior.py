"""The prior of mAR-SCF: channel by channel, by a convolutional LSTM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.bijections.base import ConditionalBijection, Surjection, sum_event_dims
from flowbench_models.nets.convolution import PlainConv2d

State = tuple[Tensor, Tensor]
"""Output and memory of a layer, both (B, width, H, W)."""

CONTEXT_WIDTH, CONTEXT_CHANNELS, CONTEXT_KERNEL = 32, 4, 5
"""Of the network that reads the channels that go on; released code."""


class ConvLSTM(nn.Module):
    """A recurrent layer whose products are convolutions.

    Args:
        num_channels: Channels in, and out.
        kernel_size: Odd; the output has the input's height and width.
        dilation: Distance between the places that the kernel sees.

    References:
        Shi et al. (2015), Convolutional LSTM Network, https://arxiv.org/abs/1506.04214, without
        the memory's own part in the gates.
    """

    def __init__(self, num_channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.num_channels, self.dilation = num_channels, dilation
        size = (4 * num_channels, num_channels, kernel_size, kernel_size)
        bound = num_channels**-0.5
        # Two biases, as in `torch.nn.LSTM`.
        self.input, self.input_bias = _uniform(bound, *size), _uniform(bound, size[0])
        self.recurrent, self.recurrent_bias = _uniform(bound, *size), _uniform(bound, size[0])

    def forward(self, steps: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Runs over several steps.

        Args:
            steps: Shape (B, T, C, H, W).
            state: Of the step before; None for zeros.

        Returns:
            Outputs, shape (B, T, C, H, W), and the last state.
        """
        batch, num_steps = steps.shape[:2]
        # What does not recur, of all steps together.
        gates = self._convolve(steps.flatten(0, 1), self.input, self.input_bias)
        gates = gates.unflatten(0, (batch, num_steps))
        if state is None:
            zeros = torch.zeros_like(steps[:, 0])
            state = (zeros, zeros)
        outputs = []
        for gate in gates.unbind(dim=1):
            gate = gate + self._convolve(state[0], self.recurrent, self.recurrent_bias)
            written, kept, value, shown = gate.chunk(4, dim=1)
            memory = kept.sigmoid() * state[1] + written.sigmoid() * value.tanh()
            state = (shown.sigmoid() * memory.tanh(), memory)
            outputs.append(state[0])
        return torch.stack(outputs, dim=1), state

    def _convolve(self, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        padding = self.dilation * (weight.shape[-1] // 2)
        return F.conv2d(h, weight, bias, padding=padding, dilation=self.dilation)


def _uniform(bound: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class ChannelPrior(ConditionalBijection):
    r"""Standardises each channel given those before it, :math:`z_c = (x_c - \mu_c)\,e^{-s_c}`.

    :math:`\mu_c` and :math:`s_c` come of a recurrent network over channels, which sees
    :math:`x_1, \dots, x_{c-1}` and the context: z is standard normal if x follows the prior. The
    inverse takes one step of that network for each channel.

    Args:
        num_context: Channels of the context; 0 for none.
        width: Hidden channels.
        layers: Recurrent layers.
        kernel_size: Of the convolutions in these.
        dilation: Of the convolutions in these.

    Example:
        >>> prior = ChannelPrior(0, width=4, layers=1, kernel_size=3, dilation=1)
        >>> x = torch.randn(2, 3, 4, 4)
        >>> z, ladj = prior(x)
        >>> torch.allclose(prior.inverse(z), x, atol=1e-5)
        True

    References:
        Bhattacharyya et al. (2020), Normalizing Flows with Multi-Scale Autoregressive Priors,
        https://arxiv.org/abs/2004.03891, section 3.2.
    """

    def __init__(
        self, num_context: int, *, width: int, layers: int, kernel_size: int, dilation: int
    ) -> None:
        super().__init__()
        self.context: nn.Module | None = None
        num_inputs = 1
        if num_context:
            self.context = nn.Sequential(
                PlainConv2d(num_context, CONTEXT_WIDTH, CONTEXT_KERNEL, rectify=True),
                PlainConv2d(CONTEXT_WIDTH, CONTEXT_CHANNELS, CONTEXT_KERNEL),
            )
            num_inputs += CONTEXT_CHANNELS
        self.input = PlainConv2d(num_inputs, width, kernel_size)
        self.layers = nn.ModuleList(ConvLSTM(width, kernel_size, dilation) for _ in range(layers))
        self.output = PlainConv2d(width, 2, 3)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `ConditionalBijection.forward`."""
        before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)
        mean, log_std, _ = self._step(before, self._features(context), [None] * len(self.layers))
        return (x - mean) * (-log_std).exp(), -sum_event_dims(log_std)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latent to data, channel by channel."""
        features = self._features(context)
        states: Sequence[State | None] = [None] * len(self.layers)
        channels = [torch.zeros_like(z[:, :1])]
        for latent in z.split(1, dim=1):
            mean, log_std, states = self._step(channels[-1], features, states)
            channels.append(latent * log_std.exp() + mean)
        return torch.cat(channels[1:], dim=1)

    def _features(self, context: Tensor | None) -> Tensor | None:
        """What is seen of the context at each step."""
        if self.context is None or context is None:
            return None
        features: Tensor = self.context(context)
        return features

    def _step(
        self, before: Tensor, features: Tensor | None, states: Sequence[State | None]
    ) -> tuple[Tensor, Tensor, Sequence[State]]:
        """Means and log standard deviations behind some channels (B, C, H, W)."""
        batch, num_steps = before.shape[:2]
        steps = before.unsqueeze(2)  # (B, T, 1, H, W)
        if features is not None:
            repeated = features.unsqueeze(1).expand(-1, num_steps, -1, -1, -1)
            steps = torch.cat((steps, repeated), dim=2)
        steps = self.input(steps.flatten(0, 1)).unflatten(0, (batch, num_steps))
        last: list[State] = []
        for layer, state in zip(self.layers, states, strict=True):
            steps, state = layer(steps, state)
            last.append(state)
        parameters = self.output(steps.flatten(0, 1)).unflatten(0, (batch, num_steps))
        mean, log_std = parameters.to(before.dtype).unbind(dim=2)
        return mean, log_std, last


class FactorOutByChannel(Surjection):
    """Factors out the second half of the channels, under a prior given the first half.

    Args:
        prior: Of the channels that leave, given those that go on.

    Example:
        >>> prior = ChannelPrior(2, width=4, layers=1, kernel_size=3, dilation=1)
        >>> kept, latent, ladj = FactorOutByChannel(prior)(torch.randn(3, 4, 2, 2))
        >>> kept.shape, latent.shape, ladj.shape
        (torch.Size([3, 2, 2, 2]), torch.Size([3, 2, 2, 2]), torch.Size([3]))
    """

    def __init__(self, prior: ConditionalBijection) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Takes data (B, C, H, W) apart; see `Surjection.forward`."""
        kept, leaving = x.chunk(2, dim=1)
        latent, ladj = self.prior(leaving, kept)
        return kept, latent, ladj

    def inverse(self, kept: Tensor, latent: Tensor) -> Tensor:
        """Puts data together again."""
        return torch.cat((kept, self.prior.inverse(latent, kept)), dim=1)
