"""The contract of plugins: what a model, dataset or metric must keep to be trusted on a board.

Names load on first use, so that the pytest plugin of this package costs a test run nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowbench.api.specs import ClosedForm
    from flowbench.contract.checking.report import CheckReport, CheckResult
    from flowbench.contract.dataset_contract import check_dataset
    from flowbench.contract.metric_contract import check_metric
    from flowbench.contract.model_contract import check_model

_HOMES = {
    "CheckReport": "contract.checking.report",
    "CheckResult": "contract.checking.report",
    "ClosedForm": "api.specs",
    "check_dataset": "contract.dataset_contract",
    "check_metric": "contract.metric_contract",
    "check_model": "contract.model_contract",
}

__all__ = [
    "CheckReport",
    "CheckResult",
    "ClosedForm",
    "check_dataset",
    "check_metric",
    "check_model",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"flowbench.{home}"), name)
