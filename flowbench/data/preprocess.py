"""The harness's own preprocessing: how raw values reach a model, and what that adds to a density.

A model's config names the steps; they run here and nowhere else, so that every row of a board
accounts for dequantization and scaling in the same way. ``forward`` maps raw data to the model's
space.

Real-valued data are worked on in float64 until they are centred and scaled: in float32 a large mean
leaves no digits to what varies around it. Levels are small integers, which float32 holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.data import Ragged, Split
from flowbench.api.preprocessing import (
    GaussianNoise,
    Logit,
    Preprocessing,
    Scale,
    Standardise,
    UniformDequantization,
)
from flowbench.api.specs import DatasetInfo
from flowbench.data.compatibility import check_steps, scale_per_level
from flowbench.data.elementwise import Affine, Centred, Elementwise, LogitOfUnit
from flowbench.data.moments import Moments, moments
from flowbench.errors import ConfigError, DataError, ShapeError

FIT_CHUNK = 4096  # examples held in float64 at a time while statistics are fitted
NUM_NAMED = 16  # dims without spread that are named at most
FIT_SEED = 0  # noise behind the statistics: the same for every job, whatever its seed


@dataclass(frozen=True, kw_only=True)
class Restored:
    """Model output brought back to the raw scale.

    Attributes:
        raw: Raw values, shape (B, *event_shape): uint8 (int32 above 256 levels) for data of K
            levels, float64 otherwise. A non-finite value becomes level 0, or stays as it is in
            real-valued data.
        num_clipped: Finite values that fell outside the levels; 0 for real-valued data.
        num_nonfinite: Values that were not finite.
    """

    raw: Tensor
    num_clipped: int
    num_nonfinite: int


class Preprocessor:
    """Maps raw values to a model's space and back.

    Args:
        device: Where tensors are worked on.
        dtype: What the model computes in: float32, or float64 for tests and reference values.

    Attributes:
        info: Facts of the dataset.

    Raises:
        ConfigError: The steps do not fit one another or the dataset.
    """

    def __init__(
        self,
        config: Preprocessing,
        info: DatasetInfo,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        # First, so that every later line may rely on steps that fit one another.
        check_steps(config, info)
        self._config = config
        self.info = info
        self._device = torch.device(device)
        self._dtype = dtype
        self._place, self._precision = self._device, dtype  # where, and in what, steps are computed
        if info.levels is None:
            # A column of dates or of kilometres has its digits far from zero; see the module's
            # head.
            self._precision = torch.float64
            if self._device.type == "mps":  # which holds no float64
                self._place = torch.device("cpu")
        self._levels = info.levels or 0  # 0 is never used: check_steps refuses what needs levels
        self._dequantizes = isinstance(config.noise, UniformDequantization)
        self._fitted: dict[int, Moments] = {}  # by the position of a `Standardise` step
        self._bijections = self._build(self._place, self._precision)

    def fit(self, train: Split[Any]) -> None:
        """Fits the statistics of every `Standardise` step, in float64 on the CPU.

        They are those of the values as they stand at that step, noise included (drawn from a
        fixed seed): a pixel that never changes gets the spread of its dequantization noise, not
        a spread of 0. A real-valued dim whose values are equal but for their rounding has no
        spread: it is centred and left unscaled, and `without_spread` says so.

        Args:
            train: The training split, the validation part already taken off.

        Raises:
            DataError: The values have no mean or spread in float64.
        """
        raw = train.x.dtype
        # Noise is drawn in float64, so noisy values are not rounded as the raw ones were.
        rounded = raw.kind == "f" and self._config.noise is None
        resolution = float(np.finfo(raw if rounded else np.float64).eps)
        for position, step in enumerate(self._config.bijections):
            if isinstance(step, Standardise):
                values = self._values_before(position, train)
                self._fitted[position] = moments(values, step.per, resolution)
        # Anew, since the steps up to the first `Standardise` are all that could be built before.
        self._bijections = self._build(self._place, self._precision)

    @property
    def without_spread(self) -> str | None:
        """Which parts of the data are centred and left unscaled, in words; None if none are."""
        for position, step in enumerate(self._config.bijections):
            fitted = self._fitted.get(position)
            if isinstance(step, Standardise) and fitted is not None and bool(fitted.flat.any()):
                flat = fitted.flat
                indices = flat.flatten().nonzero()[:, 0].tolist()
                shown = ", ".join(map(str, indices[:NUM_NAMED]))
                more = ", ..." if len(indices) > NUM_NAMED else ""
                unit = {"dim": "dims", "channel": "channels", "all": "parts"}[step.per]
                return f"{len(indices)} of {flat.numel()} {unit}: {shown}{more}"
        return None

    def forward(self, raw: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Maps raw values to the model's space.

        Args:
            raw: Raw values, shape (B, *event_shape), any dtype.
            generator: Source of the noise, on the preprocessor's device; None takes torch's own.

        Returns:
            y, shape (B, *event_shape), and ladj, shape (B,), in nats summed over event dims: what
            is added to the model's log-density of y to give that of the (dequantized) raw values.
            Both are of the preprocessor's dtype.
            For a model of discrete support, the levels as int64 and a ladj of 0.

        Raises:
            ShapeError: ``raw`` is not of shape (B, *event_shape).
        """
        expected = self.info.event_shape
        if raw.shape[1:] != expected and not (
            self.info.ragged and raw.ndim == len(expected) + 1 and raw.shape[1:-1] == expected[:-1]
        ):
            raise ShapeError(
                f"raw values have shape {tuple(raw.shape)}, "
                f"{self.info.name!r} needs (B, {', '.join(map(str, self.info.event_shape))})"
            )
        raw = raw.to(self._place)
        # Discrete models index tables with them, for which torch wants int64.
        if self._config.support == "discrete":
            return raw.long(), torch.zeros(len(raw), dtype=self._dtype, device=self._device)
        y, ladj = self._add_noise(raw.to(self._precision), generator), self._zero
        # A constant ladj is that of the event shape; an example of another length has its share.
        longer = raw[0].numel() / self.info.num_dims if self.info.ragged and len(raw) else 1.0
        for bijection in self._require_fitted():
            y, step_ladj = bijection.forward(y)
            ladj = ladj + (step_ladj * longer if step_ladj.ndim == 0 else step_ladj)
        # Rounded before it moves, as in `Affine`: MPS holds no float64.
        y, ladj = (value.to(self._dtype).to(self._device) for value in (y, ladj))
        # Constant where every step is affine; expanded, not repeated, it takes no memory.
        return y, ladj.expand(len(raw))

    def inverse(self, y: Tensor) -> Restored:
        """Maps values of the model's space back to the raw scale.

        Dequantized values are floored, all other values of K-level data are rounded; then they are
        clipped to the levels: `flowbench.api.preprocessing.ROUNDING`.

        Args:
            y: Values in the model's space, shape (B, *event_shape).

        Returns:
            The raw values, and how many had to be clipped or were not finite.
        """
        y = y.to(self._place)
        # A discrete model's samples are integers already and pass through no bijection.
        raw = y = y.to(self._precision) if y.is_floating_point() else y
        for bijection in reversed(self._require_fitted()):
            raw = bijection.inverse(raw)
        # Both: a bijection can turn an infinite value into a finite one (the inverse of a logit).
        finite = y.isfinite() & raw.isfinite()
        num_nonfinite = int((~finite).sum())
        if self.info.levels is None:
            return Restored(raw=raw, num_clipped=0, num_nonfinite=num_nonfinite)
        # A NaN cannot be an integer, and what it would become depends on the processor.
        levels = self._quantize(torch.where(finite, raw, 0))
        clipped = levels.clamp(0, self.info.levels - 1)
        return Restored(
            raw=clipped.to(torch.uint8 if self.info.levels <= 256 else torch.int32),
            num_clipped=int((clipped != levels).sum()),
            num_nonfinite=num_nonfinite,
        )

    def unrounded(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Maps values of the model's space back as they are, differentiably, for a target.

        Args:
            y: Values in the model's space, shape (B, *event_shape).

        Returns:
            Raw values, shape (B, *event_shape), and the ladj of ``forward`` there, shape (B,) or
            (), in nats; in the precision of the preprocessor.
        """
        y = y.to(self._place).to(self._precision)
        for bijection in reversed(self._require_fitted()):
            y = bijection.inverse(y)
        ladj, mapped = self._zero, y
        for bijection in self._require_fitted():
            mapped, step_ladj = bijection.forward(mapped)
            ladj = ladj + step_ladj
        return y, ladj

    def state_dict(self) -> dict[str, Tensor]:
        """The fitted statistics.

        Returns:
            ``bijections.<position>.mean``, ``.std`` and ``.flat`` of each `Standardise` step, in
            float64 (a bool for ``flat``) on the CPU, of a shape that broadcasts to the event shape.
        """
        return {
            f"bijections.{position}.{name}": value
            for position, fitted in self._fitted.items()
            for name, value in vars(fitted).items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over fitted statistics.

        Args:
            state: What ``state_dict`` of a preprocessor of the same config gave.

        Raises:
            ConfigError: The state belongs to another config.
        """
        positions = [n for n, s in enumerate(self._config.bijections) if isinstance(s, Standardise)]
        required = {f"bijections.{n}.{name}" for n in positions for name in ("mean", "std")}
        if {name for name in state if not name.endswith(".flat")} != required:
            raise ConfigError(
                f"preprocessing state holds {sorted(state)}, this configuration needs "
                f"{sorted(required)}; load the checkpoint with the configuration it was "
                "trained with"
            )
        for n in positions:
            mean, std = (state[f"bijections.{n}.{name}"].cpu() for name in ("mean", "std"))
            # Weights that were kept before `flat` was are read as having none.
            flat = state.get(f"bijections.{n}.flat", torch.zeros_like(mean, dtype=torch.bool))
            self._fitted[n] = Moments(mean, std, flat.cpu())
        self._bijections = self._build(self._place, self._precision)

    def _build(self, device: torch.device, dtype: torch.dtype) -> list[Elementwise]:
        """All steps up to the first that is not fitted yet."""
        self._zero = torch.zeros((), device=device, dtype=dtype)
        like = torch.empty(self.info.event_shape, device=device, dtype=dtype)
        built: list[Elementwise] = []
        for position, step in enumerate(self._config.bijections):
            bijection = self._build_step(position, step, like)
            # The statistics of a step are over values behind all steps before it, so they are
            # fitted in order.
            if bijection is None:
                break
            built.append(bijection)
        return built

    def _build_step(
        self, position: int, step: Scale | Logit | Standardise, like: Tensor
    ) -> Elementwise | None:
        if isinstance(step, Scale):
            per_level = torch.tensor(scale_per_level(step, self._levels), dtype=torch.float64)
            return Affine(per_level, torch.tensor(step.low, dtype=torch.float64), like)
        if isinstance(step, Logit):
            return LogitOfUnit(step.alpha)
        if position not in self._fitted:
            return None
        fitted = self._fitted[position]
        mean, std = fitted.mean.double(), fitted.std.double()
        if self.info.levels is None:
            return Centred(mean, std, like)
        # Levels have no mean that is large beside their spread: one product and one sum will do.
        return Affine(1.0 / std, -mean / std, like)

    def _require_fitted(self) -> list[Elementwise]:
        if len(self._bijections) != len(self._config.bijections):
            raise DataError(
                "preprocessing with a standardise step has no statistics yet; "
                "call fit with the training split, or load_state_dict"
            )
        return self._bijections

    def _add_noise(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = self._config.noise
        if self._dequantizes:
            return _uniform_noise(x, self._levels, generator).add_(x)
        if isinstance(noise, GaussianNoise):
            # Papers give sigma for levels that span [-1, 1]; one unit there is (K - 1) / 2 levels.
            unit = 1.0 if self.info.levels is None else (self.info.levels - 1) / 2
            # Drawn where the generator is: one of the CPU cannot draw on a GPU.
            where = self._device if generator is None else generator.device
            dtype = torch.float32 if where.type == "mps" else x.dtype
            epsilon = torch.randn(x.shape, generator=generator, device=where, dtype=dtype)
            return x + noise.sigma * unit * epsilon.to(x.device)
        return x

    def _quantize(self, raw: Tensor) -> Tensor:
        if not raw.is_floating_point():
            return raw
        # Dequantized, level k is spread over [k, k + 1); else it lies at k itself.
        return raw.floor() if self._dequantizes else raw.round()

    def _values_before(self, position: int, train: Split[Any]) -> Iterator[Tensor]:
        """The training values as they stand before a step, chunk by chunk."""
        cpu = torch.device("cpu")
        # On the CPU on every machine: statistics would differ with the device's own generator.
        generator = torch.Generator(cpu).manual_seed(FIT_SEED)
        bijections = self._build(cpu, torch.float64)[:position]
        for chunk in _chunks(train.x):
            values = self._add_noise(torch.from_numpy(chunk.astype("float64")), generator)
            for bijection in bijections:
                values, _ = bijection.forward(values)
            yield values


def _chunks(x: NDArray[Any] | Ragged) -> Iterator[NDArray[Any]]:
    """Examples in pieces, each of shape (B, *event_shape); of different lengths one at a time."""
    if isinstance(x, Ragged):
        yield from (x.example(index)[None] for index in range(len(x)))
    else:
        yield from (x[start : start + FIT_CHUNK] for start in range(0, len(x), FIT_CHUNK))


def _uniform_noise(x: Tensor, levels: int, generator: torch.Generator | None) -> Tensor:
    """Noise of U[0, 1), kept off the borders of a level by a few roundings of the top level.

    Without that, float32 turns 255 + 0.99999994 into level 256, and the bijections' own rounding
    carries values over the border, so that quantizing would not undo dequantizing. Every draw is
    moved by less than 8 K eps (0.0003 of a level for 8 bit).
    """
    margin = min(8 * levels * torch.finfo(x.dtype).eps, 0.25)
    u = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return u.clamp_(margin, 1.0 - margin)
