"""The contract of datasets."""

from __future__ import annotations

from flowbench.contract.datasets import content, facts, form

CHECKS = (*facts.CHECKS, *form.CHECKS, *content.CHECKS)

__all__ = ["CHECKS"]
