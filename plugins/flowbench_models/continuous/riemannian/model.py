"""Riemannian flow matching: a vector field on a manifold, learned along geodesics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    ConfigError,
    Context,
    DatasetInfo,
    DensityModel,
    Ema,
    NoTemperature,
    Preset,
    SampleSettings,
    SamplingOptions,
    Step,
    Training,
    WithInfo,
)
from flowbench.api.manifolds import manifold_of
from flowbench_models.continuous.ode import Way, basis, solve
from flowbench_models.continuous.riemannian.geometry import geometry
from flowbench_models.continuous.settings import SolvedConfig, Solver, Tolerances

BETA_WIDTH = 64  # hidden units of what the time makes of an activation
LADDER = (1, 2, 4, 8, 16, 32)


class GeodesicSampling(NoTemperature):
    """How samples follow the field (``--sample solver=euler,steps=8``).

    Attributes:
        solver: ``dopri5`` chooses its steps by the tolerances of evaluation; ``euler`` takes equal
            ones, each along a geodesic.
        steps: Steps of ``euler``.
    """

    solver: Literal["dopri5", "euler"] = "dopri5"
    steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _steps_belong_to_equal_ones(self) -> GeodesicSampling:
        if (self.solver == "euler") != (self.steps is not None):
            raise ValueError("solver=euler takes steps, e.g. steps=8, and dopri5 chooses its own")
        return self


def _training(**changes: Any) -> Training:
    return Training.model_validate(
        {
            "batch_size": 512,
            "lr": 2e-3,
            "clip_norm": 1.0,
            "average": Ema(decay=0.999),
            "select": "last",
            "init_examples": 1,
            **changes,
        }
    )


def _released(tolerance: float, **changes: Any) -> dict[str, Any]:
    """Training as the released code does it, and the tolerance of its solver."""
    training = _training(optimizer="adamw", weight_decay=1e-3, clip_norm=None, **changes)
    tolerances = Tolerances(rtol=tolerance, atol=tolerance)
    return {"periodic": False, "evaluation": tolerances, "training": training}


_ASSUMPTIONS = (
    "densities and samples are solved for within a tolerance (released: 1,000 steps of Euler, each "
    "put back on the manifold)",
    "no training is stopped early (released: after 200 looks that were no better)",
)


class RiemannianFlowMatchingConfig(SolvedConfig):
    """Configuration of Riemannian flow matching.

    Attributes:
        width: Hidden units.
        layers: Linear layers, the last one included.
        periodic: Whether angles of a torus are told by cosines and sines, so that the field does
            not jump where a turn is full.
    """

    width: int = Field(default=64, ge=1)
    layers: int = Field(default=4, ge=2)
    periodic: bool = True
    training: Training = _training()

    sampling: ClassVar[type[SamplingOptions]] = GeodesicSampling
    presets: ClassVar[Mapping[str, Preset]] = {
        "small": Preset(summary="four layers of 64 units, for runs of a minute"),
        "earth": Preset(
            summary="34,802,822 parameters on the sphere: ten layers of 2,048, for events on "
            "earth; --budget 1000000steps",
            source="paper",
            values={
                "width": 2048,
                "layers": 10,
                **_released(1e-7, batch_size=8192, lr=1e-4),
            },
            assumptions=(
                *_ASSUMPTIONS,
                "as the earthquakes are trained (released: other events at other rates, with other "
                "decays and depths)",
            ),
        ),
        "torus": Preset(
            summary="629,636 parameters on a torus of two angles: four layers of 512, for "
            "proteins; --budget 1000000steps",
            source="paper",
            values={"width": 512, "layers": 4, **_released(1e-5, batch_size=4096, lr=2e-4)},
            assumptions=(
                *_ASSUMPTIONS,
                "the angles themselves are told, which jump at a full turn: mass may be lost there",
            ),
        ),
    }

    def sampling_ladder(self, data: DatasetInfo) -> tuple[SampleSettings, ...]:
        """Geodesic steps, few to many."""
        del data
        return tuple(
            SampleSettings(options={"solver": "euler", "steps": steps}) for steps in LADDER
        )

    def unsupported(self, data: DatasetInfo) -> str | None:
        """It must know the manifold's geodesics."""
        if data.manifold is None:
            return f"riemannian-flow-matching takes data on a manifold, {data.name} names none"
        name = manifold_of(data.manifold).name
        if geometry(name, periodic=self.periodic) is None:
            return f"it knows no geodesics of {name}; expected sphere, torus or rotations"
        return super().unsupported(data)


class TimedLinear(nn.Module):
    r"""Linear layer that the time shifts, :math:`W x + b + d t`; d is 0 at first."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(num_inputs, num_outputs)
        self.shift = nn.Linear(1, num_outputs, bias=False)
        nn.init.zeros_(self.shift.weight)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Maps (B, num_inputs) at times (B, 1) to (B, num_outputs)."""
        out: Tensor = self.layer(x) + self.shift(t)
        return out


class TimedSwish(nn.Module):
    r"""Swish of a steepness above 0 that the time sets, :math:`x\,\sigma(\beta(t)\,x)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.beta = nn.Sequential(
            nn.Linear(1, BETA_WIDTH),
            nn.Softplus(),
            nn.Linear(BETA_WIDTH, width),
            nn.Softplus(),
        )

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Maps (B, width) at times (B, 1) to the same shape."""
        out: Tensor = x * torch.sigmoid(self.beta(t) * x)
        return out


class TimedNetwork(nn.Module):
    """Linear layers that the time shifts, with activations that it sets.

    References:
        Chen and Lipman (2024), https://arxiv.org/abs/2302.03660, and its released code.
    """

    def __init__(self, num_inputs: int, num_outputs: int, *, width: int, layers: int) -> None:
        super().__init__()
        sizes = [num_inputs, *(width for _ in range(layers - 1)), num_outputs]
        self.layers = nn.ModuleList(TimedLinear(a, b) for a, b in pairwise(sizes))
        self.activations = nn.ModuleList(TimedSwish(width) for _ in range(layers - 1))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Maps (B, num_inputs) at times (B, 1) to (B, num_outputs)."""
        first, *others = self.layers
        h: Tensor = first(t, x)
        for activation, layer in zip(self.activations, others, strict=True):
            h = layer(t, activation(t, h))
        return h


class RiemannianFlowMatching(DensityModel):
    r"""A flow along a vector field on a manifold, from the uniform distribution to data.

    Between a uniform point :math:`x_0` and an example :math:`x_1` a path follows their geodesic,
    :math:`x_t = \exp_{x_0}(t \log_{x_0} x_1)`, and the field learns its velocity. Densities are
    with respect to the manifold's volume V:

    .. math:: \log p(x) = -\log V - \int_0^1 \operatorname{div} v(t, x_t)\, dt

    A field is taken as constant along normals, so that its divergence on the manifold is that in
    the coordinates.

    References:
        Chen and Lipman (2024), Flow Matching on General Geometries,
        https://arxiv.org/abs/2302.03660, section 3.2; rotations as even functions of quaternions
        are ours.
    """

    config: RiemannianFlowMatchingConfig

    def __init__(self, config: RiemannianFlowMatchingConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        reason = config.unsupported(data)
        if reason is not None or data.manifold is None:
            raise ConfigError(reason or f"{data.name} names no manifold")
        self.manifold = manifold_of(data.manifold)
        found = geometry(self.manifold.name, periodic=config.periodic)
        assert found is not None  # noqa: S101  # or there would be a reason
        self.geometry = found
        num_dims = data.num_dims
        num_features = self.geometry.features(torch.zeros(1, num_dims)).shape[1]
        self.network = TimedNetwork(
            num_features,
            self.geometry.num_outputs(num_dims),
            width=config.width,
            layers=config.layers,
        )

    def field(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity at times (B, 1) and points (B, D), which need not lie on the manifold."""
        on_it = self.geometry.project(x)
        return self.geometry.field(on_it, self.network(t, self.geometry.features(on_it)))

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """Mean squared error of the velocity."""
        data = self.geometry.project(batch.x)
        start = self.geometry.uniform(data, step.generator)
        t = torch.rand(
            (len(data), 1), generator=step.generator, dtype=data.dtype, device=data.device
        )
        v = self.geometry.log(start, data)
        points, velocity = self.geometry.exp(start, t * v), self.geometry.velocity(start, v, t)
        return F.mse_loss(self.field(t, points), velocity)

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> WithInfo:
        """Log-density with respect to the manifold's volume; see `DensityModel.log_prob`."""
        del context, generator
        start = self.geometry.project(x)
        end = solve(self._at, start, (1.0, 0.0), self._way(), probes=basis(start))
        values = end.ladj - math.log(self.manifold.volume)
        return values, _noted(end.evaluations, values)

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> WithInfo:
        """Follows the field from uniform points; see `GenerativeModel.sample`."""
        del context
        asked, like = cast(GeodesicSampling, settings), next(self.parameters())
        x = self.geometry.uniform(like.new_empty((num, self.data.num_dims)), generator)
        if asked.steps is None:
            end = solve(self._at, x, (0.0, 1.0), self._way())
            return self.geometry.project(end.y), _noted(end.evaluations, x)
        for place in range(asked.steps):
            t = x.new_full((num, 1), place / asked.steps)
            x = self.geometry.exp(x, self.field(t, x) / asked.steps)
        return x, _noted(asked.steps, x)

    def _at(self, t: Tensor, x: Tensor) -> Tensor:
        return self.field(t.expand(len(x), 1), x)

    def _way(self) -> Way:
        return Way(solver=Solver.within(self.config.evaluation), each=True)


def _noted(evaluations: int, like: Tensor) -> Mapping[str, Tensor]:
    return {"num_function_evaluations": like.new_tensor(float(evaluations))}
