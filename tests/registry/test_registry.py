from __future__ import annotations

import pytest

from flowbench.errors import UnknownNameError
from flowbench.registry import Registry


def test_the_number_of_samples_is_no_part_of_a_metric_to_ask_for(fake_registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match="--metrics fake_nll --num-samples 5000"):
        fake_registry.metric("fake_nll@5000")
