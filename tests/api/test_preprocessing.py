from __future__ import annotations

import pytest
from pydantic import ValidationError

from flowbench.api import Logit, Preprocessing, Scale


def test_discrete_support_allows_no_preprocessing() -> None:
    with pytest.raises(ValidationError, match="no noise, no bijections"):
        Preprocessing(support="discrete", bijections=(Logit(),))


def test_scale_must_increase() -> None:
    with pytest.raises(ValidationError, match="low < high"):
        Scale(low=1, high=0)
