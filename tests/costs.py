"""What a training took that never was."""

from __future__ import annotations

from flowbench.evaluation.trained import TrainingCost

NO_COST = TrainingCost(
    device_name="none",
    device_kind="cpu",
    num_devices=1,
    ledger={},
    charged_s=0.0,
    peak_memory=(None, "nothing"),
)
