"""The contract of metrics."""

from __future__ import annotations

from flowbench.contract.metrics import closed_form, inputs, invariance, values

ON_EVERY_CASE = (*values.CHECKS, *inputs.CHECKS, *invariance.CHECKS)
CHECKS = (*ON_EVERY_CASE, *closed_form.CHECKS)

__all__ = ["CHECKS", "ON_EVERY_CASE"]
