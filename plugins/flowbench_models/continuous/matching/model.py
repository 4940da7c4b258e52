"""Flow matching, OT-CFM and rectified flow: one velocity, three ways to pair noise and data."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    Latents,
    PhaseStart,
    SamplingOptions,
    Step,
    WithInfo,
)
from flowbench_models.continuous.matching.config import (
    FlowMatchingConfig,
    NetworkConfig,
    OTCFMConfig,
    RectifiedFlowConfig,
    VelocityConfig,
    VelocitySampling,
)
from flowbench_models.continuous.matching.pairing import optimal_pairs
from flowbench_models.continuous.ode import Field, Way, solve
from flowbench_models.continuous.settings import Solver
from flowbench_models.continuous.solved import SolvedModel
from flowbench_models.nets.ddpmpp import DDPMpp
from flowbench_models.nets.time_mlp import TimeMLP
from flowbench_models.nets.unet import UNet

SKEW = 1.2
"""Mean below 0 and spread of the log-noise that skewed times are drawn by; released code."""


class VelocityModel(SolvedModel):
    r"""A flow along a velocity that is learned by regression, from noise at time 0 to data at 1.

    .. math:: \min_v\; \mathbb{E}\, \| v(t, x_t) - u_t \|^2, \qquad
        \log p(x) = \log N(x_0) - \int_0^1 \operatorname{tr} \frac{\partial v}{\partial x}\, dt

    Subclasses say what path :math:`x_t` leads from noise to an example, and its velocity u.
    """

    config: VelocityConfig

    def __init__(self, config: VelocityConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.num_classes = (data.num_classes or 0) if config.class_conditional else 0
        self.network = network_of(config, data, self.num_classes + 1 if self.num_classes else 0)

    def velocity(self, t: Tensor, x: Tensor, label: Tensor | None) -> Tensor:
        """The velocity.

        Args:
            t: Times, shape (B,).
            x: Points, shape (B, *event_shape).
            label: Labels, shape (B,), the number of classes for none; None for a model without.
        """
        out: Tensor = self.network(self.config.time_scale * t, x, label)
        return out

    # --- training ---------------------------------------------------------------------------------

    def path(
        self, t: Tensor, noise: Tensor, data: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Points of paths, and their velocities.

        Args:
            t: Times, shape (B, 1, ...).
            noise: Where paths begin, shape (B, *event_shape).
            data: Where they end.
            generator: Source of further noise.

        Returns:
            Points and velocities, both (B, *event_shape).
        """
        del generator
        return torch.lerp(noise, data, t), data - noise

    def pairs(self, noise: Tensor, data: Tensor, step: Step) -> tuple[Tensor, Tensor] | None:
        """Rows of noise and of data that are paired, each (B,); None leaves them as they come."""
        del noise, data, step
        return None

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """Mean squared error of the velocity."""
        data, label = batch.x, self._labels(batch.context, batch.x)
        noise = normal(data, step.generator)
        paired = self.pairs(noise, data, step)
        if paired is not None:
            noise, data = noise[paired[0]], data[paired[1]]
            label = None if label is None else label[paired[1]]
        return self._regress(self._times(data, step.generator), noise, data, label, step.generator)

    def _regress(
        self,
        t: Tensor,
        noise: Tensor,
        data: Tensor,
        label: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Mean squared error of the velocity at times (B,) of paths, some labels withheld."""
        if label is not None:
            dropped = torch.rand(len(label), generator=generator, device=label.device)
            label = label.masked_fill(dropped < self.config.label_dropout, self.num_classes)
        points, velocity = self.path(beside(t, data), noise, data, generator)
        return (self.velocity(t, points, label) - velocity).square().mean()

    def _times(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        shape, start = (len(like),), self.config.start_time
        if self.config.times == "uniform":
            t = torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)
        else:
            t = (SKEW - SKEW * normal(like.new_empty(shape), generator)).sigmoid()
        return start + (1 - start) * t

    def _labels(self, context: Context | None, like: Tensor) -> Tensor | None:
        if not self.num_classes:
            return None
        label = (context or {}).get("label")
        if label is not None:
            return label
        return torch.full((len(like),), self.num_classes, device=like.device)

    # --- both directions --------------------------------------------------------------------------

    def _field(self, label: Tensor | None) -> Field:
        return lambda t, x: self.velocity(t.expand(len(x)), x, label)

    def solve_forward(
        self, x: Tensor, context: Context | None, generator: torch.Generator | None
    ) -> tuple[Latents, Tensor, int]:
        """Maps data to noise; see `SolvedModel.solve_forward`."""
        field, span = self._field(self._labels(context, x)), (1.0, self.config.start_time)
        end = solve(field, x, span, self.way(), probes=self.probes(x, generator))
        return (end.y,), end.ladj, end.evaluations

    def solve_backward(
        self, latents: Latents, context: Context | None, options: SamplingOptions
    ) -> tuple[Tensor, int]:
        """Maps noise to data, along a guided velocity if that is asked for."""
        asked = cast(VelocitySampling, options)
        noise, span = latents[0], (self.config.start_time, 1.0)
        label = self._labels(context, noise)
        field = self._field(label)
        if asked.guidance and label is not None:
            plain = self._field(torch.full_like(label, self.num_classes))
            labelled, weight = field, asked.guidance

            def field(t: Tensor, x: Tensor) -> Tensor:
                with_label = labelled(t, x)
                return with_label + weight * (with_label - plain(t, x))

        way = self.way()
        if asked.steps is not None:
            solver = Solver(method=asked.solver, steps=asked.steps)
            way = Way(solver=solver, each=False)
        end = solve(field, noise, span, way)
        return end.y, end.evaluations


class FlowMatching(VelocityModel):
    r"""Flow matching along :math:`x_t = (1 - (1 - \sigma)\,t)\,x_0 + t x_1`.

    :math:`x_0` is noise, :math:`x_1` an example, and :math:`\sigma` the spread that a path ends
    with.

    References:
        Lipman et al. (2023), Flow Matching for Generative Modeling,
        https://arxiv.org/abs/2210.02747, section 4.1; networks and skewed times as in Lipman et al.
        (2024), Flow Matching Guide and Code, https://arxiv.org/abs/2412.06264.
    """

    config: FlowMatchingConfig

    def path(
        self, t: Tensor, noise: Tensor, data: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Points of paths, and their velocities; see `VelocityModel.path`."""
        del generator
        left = (1 - self.config.sigma_min) * noise
        return noise - t * left + t * data, data - left


class OTCFM(VelocityModel):
    r"""Conditional flow matching along :math:`x_t = (1 - t)\,x_0 + t x_1 + \sigma\epsilon`.

    Noise and examples of a batch are paired by optimal transport, which straightens the flow.

    References:
        Tong et al. (2024), Improving and generalizing flow-based generative models with minibatch
        optimal transport, https://arxiv.org/abs/2302.00482.
    """

    config: OTCFMConfig

    def path(
        self, t: Tensor, noise: Tensor, data: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Points beside straight lines, and their velocities; see `VelocityModel.path`."""
        points, velocity = super().path(t, noise, data, generator)
        if self.config.sigma:
            points = points + self.config.sigma * normal(points, generator)
        return points, velocity

    def pairs(self, noise: Tensor, data: Tensor, step: Step) -> tuple[Tensor, Tensor] | None:
        """Optimal pairs, unless they are to stay as they come."""
        if self.config.pairing == "independent":
            return None
        return optimal_pairs(noise, data, step.seed)


class RectifiedFlow(VelocityModel):
    r"""Rectified flow along straight lines, :math:`x_t = (1 - t)\,x_0 + t x_1`.

    A reflow draws lines between noise and what the averaged flow makes of it: they cross less, so
    that the next flow is straighter and its transport no dearer. Distilled, its velocity at the
    start leads to the end in one step.

    References:
        Liu et al. (2023), Flow Straight and Fast: Learning to Generate and Transfer Data with
        Rectified Flow, https://arxiv.org/abs/2209.03003.
    """

    config: RectifiedFlowConfig

    def __init__(self, config: RectifiedFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self._made: Made | None = None

    def begin_phase(self, start: PhaseStart) -> None:
        """Makes the pairs that a phase trains on."""
        stage = self.config.stages[start.phase]
        if stage == "rectify" or (stage == "distil" and self._made is not None):
            return
        flow = cast(RectifiedFlow, start.averaged or self)
        noises, results, labels = [], [], []
        missing = self.config.num_pairs
        while missing > 0:
            start.tick()
            batch = next(start.batches)
            like = batch.x[:missing]
            # Of examples only the labels, so that these follow their frequencies.
            context = {name: values[: len(like)] for name, values in batch.context.items()}
            noises.append(normal(like, start.generator))
            # The solution itself, though a distilled flow is asked for one step.
            results.append(
                super(RectifiedFlow, flow).solve_backward(
                    (noises[-1],), context, VelocitySampling()
                )[0]
            )
            label = self._labels(context, like)
            labels += [] if label is None else [label]
            missing -= len(like)
        self._made = (
            torch.cat(noises),
            torch.cat(results),
            torch.cat(labels) if labels else None,
        )

    def training_state(self) -> dict[str, Any]:
        """The pairs that were made."""
        return {"made": self._made}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Takes up the pairs that were made."""
        where = next(self.parameters()).device
        made = state["made"]
        self._made = made and (
            made[0].to(where),
            made[1].to(where),
            made[2] if made[2] is None else made[2].to(where),
        )

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """Mean squared error of the velocity between the pairs of the phase."""
        stage = self.config.stages[step.phase]
        if stage == "rectify" or self._made is None:
            return super().loss(batch, step)
        noise, data, label = self._made
        rows = torch.randint(
            len(noise), (len(batch.x),), generator=step.generator, device=noise.device
        )
        noise, data = noise[rows], data[rows]
        label = None if label is None else label[rows]
        if stage == "distil":
            t = noise.new_full((len(noise),), self.config.start_time)
        else:
            t = self._times(data, step.generator)
        return self._regress(t, noise, data, label, step.generator)

    def solve_backward(
        self, latents: Latents, context: Context | None, options: SamplingOptions
    ) -> tuple[Tensor, int]:
        """Maps noise to data, in one step once it is distilled."""
        if self.config.distilled:
            asked = cast(VelocitySampling, options)
            options = asked.model_copy(update={"solver": "euler", "steps": 1})
        return super().solve_backward(latents, context, options)


Made = tuple[Tensor, Tensor, Tensor | None]
"""Noise, what a flow makes of it, and labels, where it has some."""


def network_of(
    config: NetworkConfig, data: DatasetInfo, num_labels: int = 0, num_times: int = 1
) -> nn.Module:
    """The network that a configuration asks for.

    Args:
        num_labels: Labels, that for none included; 0 for a network without.
        num_times: Times that it is told.

    Returns:
        The network, called with times, values and labels.
    """
    if config.network == "mlp":
        return TimeMLP(
            data.num_dims,
            width=config.width,
            blocks=config.blocks,
            dropout=config.dropout,
            num_labels=num_labels,
            num_times=num_times,
        )
    channels = data.event_shape[0]
    if config.network == "ddpmpp":
        return DDPMpp(
            channels,
            width=config.width,
            multipliers=config.multipliers,
            blocks=config.blocks,
            attention=config.attention,
            dropout=config.dropout,
        )
    return UNet(
        channels,
        channels,
        width=config.width,
        multipliers=config.multipliers,
        blocks=config.blocks,
        attention=config.attention,
        head_channels=config.head_channels,
        heads=config.heads,
        dropout=config.dropout,
        scale_shift=config.scale_shift,
        resample=config.resample,
        num_labels=num_labels,
        num_times=num_times,
    )


def normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise of the shape of a tensor."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def beside(t: Tensor, like: Tensor) -> Tensor:
    """Times (B,) as (B, 1, ...), to go with events."""
    return t.view(-1, *(1,) * (like.ndim - 1))
