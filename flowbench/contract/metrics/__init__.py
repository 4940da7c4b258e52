"""The contract of metrics."""

from __future__ import annotations

from flowbench.contract.metrics.closed_form import closed_form
from flowbench.contract.metrics.inputs import inputs
from flowbench.contract.metrics.invariance import batch_size, direction, order, repeats
from flowbench.contract.metrics.values import names, needs, values

ON_EVERY_CASE = (values, names, needs, inputs, repeats, batch_size, order, direction)
CHECKS = (*ON_EVERY_CASE, closed_form)

__all__ = ["CHECKS", "ON_EVERY_CASE"]
