from __future__ import annotations

from flowbench_metrics.params import compute


def test_only_trainable_parameters_count(trained, splits, settings) -> None:
    (value,) = compute(trained(), splits, settings)  # one trainable, seven frozen, eleven buffered
    assert (value.name, value.value, value.direction) == ("params", 1.0, "lower")
