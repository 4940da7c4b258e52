"""FFJORD over vectors and images."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    Latents,
    SamplingOptions,
    Step,
    WithInfo,
    bits_per_dim,
    split_info,
)
from flowbench_models.bijections.channels import FactorOut, Squeeze
from flowbench_models.continuous.ffjord.config import FFJORDConfig
from flowbench_models.continuous.ffjord.networks import TimeNetwork
from flowbench_models.continuous.ode import Solution, Way, solve
from flowbench_models.continuous.solved import SolvedModel


class ContinuousFlow(nn.Module):
    r"""The flow of one vector field from time 0 to its end time.

    A gradient reaches the end time, :math:`T = s^2`. Solving from 0 to 1 along :math:`T f` would be
    the same flow, but not the same steps: the first one is chosen by sizes that T would change.

    Args:
        field: The network f.
        end_time: T at the start.
        trained: Whether T is.
    """

    def __init__(self, field: TimeNetwork, end_time: float, *, trained: bool) -> None:
        super().__init__()
        self.field = field
        self.root_end_time = nn.Parameter(torch.tensor(end_time).sqrt(), requires_grad=trained)

    def solve(self, y: Tensor, way: Way, probes: Tensor | None, *, backwards: bool) -> Solution:
        """Maps data to latent, or back.

        Args:
            y: Points, shape (B, ...).
            way: How it is solved.
            probes: As in `flowbench_models.continuous.ode.solve`.
            backwards: Whether latents are mapped to data.

        Returns:
            The end of the solution.
        """
        end_time = self.root_end_time.square()
        times = torch.stack((torch.zeros_like(end_time), end_time))
        span = times.flip(0) if backwards else times
        return solve(self.field, y, span, way, probes=probes, parameters=self.field.parameters())


class FFJORD(SolvedModel):
    r"""Free-form continuous flow: data are followed along a learned vector field to latents.

    .. math:: \frac{dz}{dt} = f(t, z), \qquad
        \log p(x) = \log N(z(T)) + \int_0^T \operatorname{tr} \frac{\partial f}{\partial z}\, dt

    In evaluation the solver's tolerances hold for each example by itself. Its steps are still those
    of a whole batch, as many as the hardest example asks for: neighbours change an example's
    log-density by up to 5e-5 of itself at a tolerance of 1e-5, for the finer. In training errors
    are means over a batch. Taken in two to 256 parts, the loss of a batch of 256 points changes by
    up to 3e-6 and its gradient by 6e-5 of itself (after a minute of training on two-moons, at
    tolerances of 1e-5): parts can be accumulated.

    References:
        Grathwohl et al. (2019), FFJORD: Free-form Continuous Dynamics for Scalable Reversible
        Generative Models, https://arxiv.org/abs/1810.01367; networks as in the released code, whose
        numbers come from the same steps. Ours end on the end time, where those step beyond it and
        interpolate.
    """

    config: FFJORDConfig

    def __init__(self, config: FFJORDConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.is_flat = config.network == "dense"
        channels = data.num_dims if self.is_flat else data.event_shape[0]
        scales = []
        for _ in range(self._num_splits):
            scales.append([*self._flows(channels), Squeeze(), *self._flows(4 * channels)])
            channels *= 2  # four times as many, and half of them leave
        scales.append(self._flows(channels))
        self.scales = nn.ModuleList(nn.ModuleList(scale) for scale in scales)
        self.split = FactorOut()

    @property
    def _num_splits(self) -> int:
        return 0 if self.is_flat else self.config.scales - 1

    def _flows(self, channels: int) -> list[nn.Module]:
        config = self.config
        layer = config.layer if self.is_flat else "convolution"
        fields = (
            TimeNetwork(channels, config.hidden, layer=layer, activation=config.activation)
            for _ in range(config.blocks)
        )
        trained = config.train_end_time
        return [ContinuousFlow(field, config.end_time, trained=trained) for field in fields]

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent for each scale; a flat one of a dense network."""
        if self.is_flat:
            return ((self.data.num_dims,),)
        channels, height, width = self.data.event_shape
        shapes = []
        for _ in range(self._num_splits):
            channels, height, width = 2 * channels, height // 2, width // 2
            shapes.append((channels, height, width))
        return (*shapes, (channels, height, width))

    # --- both directions --------------------------------------------------------------------------

    def way(self) -> Way:
        """In training the solver of its own, whose errors are means over a batch."""
        if self.training:
            return Way(solver=self.config.solver, each=False, adjoint=self.config.adjoint)
        return super().way()

    @property
    def traces_exactly(self) -> bool:
        """Whether the trace is exact: training says so by itself."""
        if self.training:
            return self.config.training_trace == "exact"
        return super().traces_exactly

    def solve_forward(
        self, x: Tensor, context: Context | None, generator: torch.Generator | None
    ) -> tuple[Latents, Tensor, int]:
        """Maps data to latents; see `SolvedModel.solve_forward`."""
        y = x.flatten(1) if self.is_flat else x
        latents, ladj, evaluations = [], x.new_zeros(len(x)), 0
        for index, scale in enumerate(self._layers()):
            if index > 0:
                y, latent, _ = self.split(y)
                latents.append(latent)
            for layer in scale:
                if isinstance(layer, Squeeze):
                    y, _ = layer(y)
                    continue
                probes = self.probes(y, generator)
                y, term, count = layer.solve(y, self.way(), probes, backwards=False)
                ladj, evaluations = ladj + term, evaluations + count
        return (*latents, y), ladj, evaluations

    def solve_backward(
        self, latents: Latents, context: Context | None, options: SamplingOptions
    ) -> tuple[Tensor, int]:
        """Maps latents to data; see `SolvedModel.solve_backward`."""
        *others, y = latents
        evaluations = 0
        for index, scale in reversed(list(enumerate(self._layers()))):
            for layer in reversed(scale):
                if isinstance(layer, Squeeze):
                    y = layer.inverse(y)
                    continue
                y, _, count = layer.solve(y, self.way(), None, backwards=True)
                evaluations += count
            if index > 0:
                y = self.split.inverse(y, others[index - 1])
        return y.view(len(y), *self.data.event_shape), evaluations

    def _layers(self) -> list[list[Squeeze | ContinuousFlow]]:
        return [
            cast("list[Squeeze | ContinuousFlow]", list(cast(nn.ModuleList, scale)))
            for scale in self.scales
        ]

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """As of any density, with the evaluations that it took."""
        values, info = split_info(self.log_prob(batch.x, generator=step.generator))
        return bits_per_dim(values, self.data.num_dims).mean(), info
