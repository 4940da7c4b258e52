"""The contract of metrics."""

from __future__ import annotations

from flowbench.contract.metrics import closed_form, inputs, invariance, values

CHECKS = (*values.CHECKS, *inputs.CHECKS, *invariance.CHECKS, *closed_form.CHECKS)

__all__ = ["CHECKS"]
