from __future__ import annotations

import dataclasses

from flowbench.api import DataSplits, MetricSettings
from flowbench_metrics.num_function_evaluations import KEY, compute
from tests.plugins.flowbench_metrics.fakes import BuildResult, FakeTrained


def test_what_the_model_noted_is_reported(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    noted = dataclasses.replace(result([-1.0, -2.0, -3.0]), info={KEY: 26.0, "other": 1.0})
    (value,) = compute(trained(result=noted), splits, settings)
    assert (value.name, value.value, value.num_examples) == ("num_function_evaluations", 26.0, 3)
    assert value.split == "test"


def test_without_a_solver_there_is_nothing_to_count(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    (value,) = compute(trained(result=result([-1.0])), splits, settings)
    assert (value.status, value.value) == ("unavailable", None)
    assert "no solver runs" in str(value.reason)
