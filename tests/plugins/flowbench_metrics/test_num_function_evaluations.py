from __future__ import annotations

import dataclasses

from flowbench_metrics.num_function_evaluations import KEY, compute


def test_what_the_model_noted_is_reported(trained, result, splits, settings) -> None:
    noted = dataclasses.replace(result([-1.0, -2.0, -3.0]), info={KEY: 26.0, "other": 1.0})
    (value,) = compute(trained(result=noted), splits, settings)
    assert (value.name, value.value, value.num_examples) == ("num_function_evaluations", 26.0, 3)
    assert value.split == "test"


def test_without_a_solver_there_is_nothing_to_count(trained, result, splits, settings) -> None:
    (value,) = compute(trained(result=result([-1.0])), splits, settings)
    assert (value.status, value.value) == ("unavailable", None)
    assert "no solver runs" in str(value.reason)
