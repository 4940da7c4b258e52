"""A metric, and a stage to try it on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flowbench.api.data import DataSplits
from flowbench.api.metrics import TrainedModel
from flowbench.api.protocol import MetricSettings
from flowbench.api.specs import ClosedForm, MetricSpec, MetricValue, is_main_value
from flowbench.contract.checking.cases import Case
from flowbench.contract.metrics.stage import SETTINGS, Stage, set_up
from flowbench.registry import Entry

Compute = Callable[[TrainedModel, DataSplits, MetricSettings], list[MetricValue]]


@dataclass(frozen=True, kw_only=True)
class MetricSubject:
    """What the checks of metrics look at.

    Attributes:
        entry: The metric and its plugin.
        closed_forms: Cases whose value is known, besides those that the spec declares.
    """

    entry: Entry[MetricSpec]
    case: Case
    closed_forms: Sequence[ClosedForm] = ()

    @property
    def spec(self) -> MetricSpec:
        """What the metric says of itself."""
        return self.entry.spec

    @cached_property
    def compute(self) -> Compute:
        """The function."""
        compute: Compute = self.entry.resolve(self.spec.compute)
        return compute

    @cached_property
    def known(self) -> tuple[ClosedForm, ...]:
        """All cases whose value is known."""
        reference = self.spec.closed_forms
        declared = () if reference is None else tuple(self.entry.resolve(reference))
        return (*declared, *self.closed_forms)

    @cached_property
    def stage(self) -> Stage:
        """A fitted Gaussian with all that a metric can ask for."""
        return set_up(self.case)

    @cached_property
    def values(self) -> list[MetricValue]:
        """What the metric measures on the stage."""
        return self.measure()

    def measure(self, settings: MetricSettings = SETTINGS, **changes: Any) -> list[MetricValue]:
        """Computes the metric.

        Args:
            **changes: What is other than on `stage`.

        Returns:
            The values.
        """
        stage = copy.copy(self.stage)
        vars(stage).update(changes)
        return self.compute(stage, stage.splits, settings)

    def main(self, values: list[MetricValue] | None = None) -> MetricValue | None:
        """The value that carries the metric's own name; None if there is none."""
        found = self.values if values is None else values
        own = self.spec.name
        return next((value for value in found if is_main_value(own, value.name)), None)
