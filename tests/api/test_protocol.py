from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flowbench.api import MetricSettings


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5])
def test_a_seed_is_what_torch_numpy_and_the_database_hold(seed: Any) -> None:
    with pytest.raises(ValidationError, match="seed"):
        MetricSettings(seed=seed)
    assert MetricSettings(seed=2**63 - 1).seed == 2**63 - 1
