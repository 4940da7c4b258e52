"""The contract of datasets."""

from __future__ import annotations

from flowbench.contract.datasets.content import disjoint, stable
from flowbench.contract.datasets.facts import facts
from flowbench.contract.datasets.form import form, spread

OF_SPEC = (facts,)
OF_STORE = (facts, form, spread)
CHECKS = (*OF_STORE, disjoint, stable)

__all__ = ["CHECKS", "OF_SPEC", "OF_STORE"]
