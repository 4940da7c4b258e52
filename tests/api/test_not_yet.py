"""Fields whose names are settled and whose work is still to come say so, in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from flowbench.api import (
    ConfigError,
    DataError,
    DatasetSpec,
    Preprocessing,
    Ragged,
    Standardise,
)


def spec(**fields: Any) -> DatasetSpec:
    facts = {"name": "d", "modality": "vector", "event_shape": (2,), "levels": None} | fields
    return DatasetSpec(num_train=1, num_test=1, summary="", **facts)


RAGGED = Ragged(values=np.zeros((1, 5)), lengths=np.array([3, 2]))
REFUSED: list[tuple[str, Callable[[], object]]] = [
    ("preprocessing.context: not yet", lambda: Preprocessing(context={"mel": Standardise()})),
]


@pytest.mark.parametrize(("message", "make"), REFUSED, ids=[message for message, _ in REFUSED])
def test_a_field_is_refused_by_its_name(message: str, make: Callable[[], object]) -> None:
    with pytest.raises((ValidationError, ConfigError, DataError)) as caught:
        make()
    text = str(caught.value)
    if isinstance(caught.value, ValidationError):
        (error,) = caught.value.errors()
        text = error["msg"].removeprefix("Value error, ")
    assert text.startswith(message)
    assert "\n" not in text
    assert ";" in text  # what to do, or what holds, until then
