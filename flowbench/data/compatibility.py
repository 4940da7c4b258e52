"""Which preprocessing steps fit one another and the data."""

from __future__ import annotations

from flowbench.api.preprocessing import (
    GaussianNoise,
    Logit,
    Preprocessing,
    Scale,
    Standardise,
    UniformDequantization,
)
from flowbench.api.specs import DatasetInfo
from flowbench.errors import ConfigError

RANGE_TOLERANCE = 1e-9  # rounding allowed when a range is compared with [0, 1]

Range = tuple[float, float]


def scale_per_level(step: Scale, levels: int) -> float:
    """What one level becomes under a scale.

    Args:
        levels: Number K of levels.

    Returns:
        The slope of the map.
    """
    return (step.high - step.low) / (levels - 1 if step.closed else levels)


def check_steps(config: Preprocessing, info: DatasetInfo) -> None:
    """Refuses steps that do not fit one another or the data.

    Raises:
        ConfigError: The first step that does not fit.
    """
    if info.levels is None and config.support == "discrete":
        raise ConfigError(
            f"a model of discrete support cannot take {info.name!r}, which is real-valued; "
            "choose a dataset with integer levels, or a continuous preprocessing"
        )
    if info.levels is None and isinstance(config.noise, UniformDequantization):
        raise ConfigError(
            f"uniform_dequantization needs integer levels, {info.name!r} is real-valued; "
            "leave the noise out"
        )
    if info.target is not None and config.noise is not None:
        raise ConfigError(
            f"{config.noise.kind} is added to examples, {info.name!r} is a density without any; "
            "leave the noise out"
        )
    for position, step in enumerate(config.bijections):
        if info.ragged and isinstance(step, Standardise) and step.per == "dim":
            raise ConfigError(
                f"bijections[{position}]: standardise per dim needs examples of one length, those "
                f'of {info.name!r} have different ones; set per = "channel" or "all"'
            )
    bounds = _raw_range(config, info)
    for position, step in enumerate(config.bijections):
        if isinstance(step, Scale):
            # Bounds are followed from step to step: a logit of values outside [0, 1] is NaN, and
            # shows only as a training that diverges.
            bounds = _check_scale(step, position, bounds, info)
        else:
            if isinstance(step, Logit):
                _check_logit(position, bounds)
            # Nothing is bounded behind a logit or a standardisation.
            bounds = None


def _raw_range(config: Preprocessing, info: DatasetInfo) -> Range | None:
    """Where the values lie before the first bijection; None if there are no bounds."""
    # Gaussian noise has no bounds, so it also takes those of levels away.
    if info.levels is None or isinstance(config.noise, GaussianNoise):
        return None
    dequantized = isinstance(config.noise, UniformDequantization)
    return (0.0, float(info.levels if dequantized else info.levels - 1))


def _check_scale(
    step: Scale, position: int, bounds: Range | None, info: DatasetInfo
) -> Range | None:
    if info.levels is None:
        raise ConfigError(
            f"bijections[{position}]: scale needs integer levels, {info.name!r} is real-valued; "
            "use standardise"
        )
    # Its slope is that of one level, which behind another bijection has no fixed width.
    if position > 0:
        raise ConfigError(
            f"bijections[{position}]: scale maps raw levels, so it must be the first bijection"
        )
    if bounds is None:
        return None
    per_level = scale_per_level(step, info.levels)
    return (step.low + per_level * bounds[0], step.low + per_level * bounds[1])


def _check_logit(position: int, bounds: Range | None) -> None:
    if bounds is None:
        raise ConfigError(
            f"bijections[{position}]: logit needs values in [0, 1], here they have no bounds; "
            "put a scale onto [0, 1] directly before it, without gaussian_noise"
        )
    if bounds[0] < -RANGE_TOLERANCE or bounds[1] > 1.0 + RANGE_TOLERANCE:
        raise ConfigError(
            f"bijections[{position}]: logit needs values in [0, 1], here they lie in "
            f"[{bounds[0]:g}, {bounds[1]:g}]; put a scale onto [0, 1] directly before it "
            "(closed = false for dequantized data)"
        )
