from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from flowbench.api import GaussianNoise, ModelConfig, SampleSettings, Scale, Training


class Tempered(ModelConfig):
    low: float = 0.0
    pair: tuple[float, float] = (0.0, 1.0)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    "given",
    [
        lambda v: Training(lr=v),
        lambda v: Training(betas=(0.9, v)),
        lambda v: Training(weight_decay=v),
        lambda v: Scale(high=v),
        lambda v: GaussianNoise(sigma=v),
        lambda v: SampleSettings(temperature=v),
        lambda v: SampleSettings(options={"guidance": v}),
        lambda v: Tempered(low=v),
        lambda v: Tempered(pair=(v, 1.0)),
    ],
)
def test_every_number_of_a_configuration_is_finite(
    given: Callable[[float], Any], value: float
) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        given(value)
