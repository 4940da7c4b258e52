from __future__ import annotations

import pytest
from pydantic import ValidationError

from flowbench.api import Ema, Phase, Training
from flowbench.api.training import training_as_version_2


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Training.model_validate({"learning_rate": 1})


def test_phases_must_fill_the_budget() -> None:
    with pytest.raises(ValidationError, match=r"sum to 0\.9"):
        Training(phases=(Phase(share=0.5), Phase(share=0.4)))


@pytest.mark.parametrize(("decay", "average"), [(0.99, {"decay": 0.99}), (None, None)])
def test_a_decay_of_version_1_is_an_average(
    decay: float | None, average: dict[str, float] | None
) -> None:
    stored = {"width": 4, "training": {"lr": 0.1, "ema_decay": decay}}
    expected = {"width": 4, "training": {"lr": 0.1, "average": average}}
    assert training_as_version_2(stored) == expected
    assert training_as_version_2(expected) == expected


@pytest.mark.parametrize("values", [{}, {"decay": 0.9, "half_life_examples": 1e5}])
def test_an_average_says_once_how_fast_it_forgets(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=r"needs its decay, e\.g\. 0\.999, or its half_life"):
        Ema(**values)
