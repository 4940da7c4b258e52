"""All that a plugin author may import: the one stable surface of flowbench.

Readers of published files are apart, in `flowbench.api.readers`. Names load on first use, so that a
module of specs never imports torch or pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowbench.api.config import ModelConfig, Preset
    from flowbench.api.data import Artifact, Chart, DataSplits, Manifold, Ragged, Split
    from flowbench.api.devices import mean_over_devices
    from flowbench.api.executors import (
        Executor,
        ExecutorSettings,
        ExecutorSpec,
        JobState,
        Lifeline,
        Slot,
        Submission,
    )
    from flowbench.api.hooks import API_VERSION, hookimpl
    from flowbench.api.likelihood import Likelihood, NoLikelihood
    from flowbench.api.mass import Mass, density_mass
    from flowbench.api.metrics import LikelihoodResult, Samples, TrainedModel
    from flowbench.api.models import (
        Batch,
        Context,
        DensityModel,
        GenerativeModel,
        Info,
        InvertibleModel,
        Latents,
        PhaseStart,
        Step,
        WithInfo,
        split_info,
        standard_normal_log_prob,
    )
    from flowbench.api.preprocessing import (
        GaussianNoise,
        Logit,
        Preprocessing,
        Scale,
        Standardise,
        UniformDequantization,
    )
    from flowbench.api.progress import report_progress
    from flowbench.api.protocol import (
        MetricSettings,
        NoTemperature,
        SampleSettings,
        SamplingOptions,
    )
    from flowbench.api.specs import (
        ClosedForm,
        ContextInput,
        DatasetInfo,
        DatasetSpec,
        Limits,
        MetricSpec,
        MetricValue,
        ModelSpec,
        Paper,
        RemoteFile,
        Target,
    )
    from flowbench.api.trackers import (
        JobOutcome,
        TrackedJob,
        TrackerSettings,
        TrackerSpec,
        Validation,
    )
    from flowbench.api.training import Ema, Group, LastK, Phase, Training
    from flowbench.api.units import bits_per_dim, nats_from_bits_per_dim
    from flowbench.errors import (
        ConfigError,
        DataError,
        DataMissingError,
        ExecutorError,
        NotInvertibleError,
        ShapeError,
    )

# Written out, not searched for: `Scale` is a preprocessing step here and a kind of axis in specs.
_HOMES = {
    "flowbench.api.config": "ModelConfig Preset",
    "flowbench.api.likelihood": "Likelihood NoLikelihood",
    "flowbench.api.preprocessing": (
        "GaussianNoise Logit Preprocessing Scale Standardise UniformDequantization"
    ),
    "flowbench.api.protocol": "MetricSettings NoTemperature SampleSettings SamplingOptions",
    "flowbench.api.training": "Ema Group LastK Phase Training",
    "flowbench.api.data": "Artifact Chart DataSplits Manifold Ragged Split",
    "flowbench.api.devices": "mean_over_devices",
    "flowbench.api.executors": (
        "Executor ExecutorSettings ExecutorSpec JobState Lifeline Slot Submission"
    ),
    "flowbench.api.hooks": "API_VERSION hookimpl",
    "flowbench.api.mass": "Mass density_mass",
    "flowbench.api.metrics": "LikelihoodResult Samples TrainedModel",
    "flowbench.api.models": (
        "Batch Context DensityModel GenerativeModel Info InvertibleModel Latents "
        "PhaseStart Step WithInfo split_info standard_normal_log_prob"
    ),
    "flowbench.api.progress": "report_progress",
    "flowbench.api.specs": (
        "ClosedForm ContextInput DatasetInfo DatasetSpec Limits MetricSpec MetricValue "
        "ModelSpec Paper RemoteFile Target"
    ),
    "flowbench.api.trackers": "JobOutcome TrackedJob TrackerSettings TrackerSpec Validation",
    "flowbench.api.units": "bits_per_dim nats_from_bits_per_dim",
    "flowbench.errors": (
        "ConfigError DataError DataMissingError ExecutorError NotInvertibleError ShapeError"
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "API_VERSION",
    "Artifact",
    "Batch",
    "Chart",
    "ClosedForm",
    "ConfigError",
    "Context",
    "ContextInput",
    "DataError",
    "DataMissingError",
    "DataSplits",
    "DatasetInfo",
    "DatasetSpec",
    "DensityModel",
    "Ema",
    "Executor",
    "ExecutorError",
    "ExecutorSettings",
    "ExecutorSpec",
    "GaussianNoise",
    "GenerativeModel",
    "Group",
    "Info",
    "InvertibleModel",
    "JobOutcome",
    "JobState",
    "LastK",
    "Latents",
    "Lifeline",
    "Likelihood",
    "LikelihoodResult",
    "Limits",
    "Logit",
    "Manifold",
    "Mass",
    "MetricSettings",
    "MetricSpec",
    "MetricValue",
    "ModelConfig",
    "ModelSpec",
    "NoLikelihood",
    "NoTemperature",
    "NotInvertibleError",
    "Paper",
    "Phase",
    "PhaseStart",
    "Preprocessing",
    "Preset",
    "Ragged",
    "RemoteFile",
    "SampleSettings",
    "Samples",
    "SamplingOptions",
    "Scale",
    "ShapeError",
    "Slot",
    "Split",
    "Standardise",
    "Step",
    "Submission",
    "Target",
    "TrackedJob",
    "TrackerSettings",
    "TrackerSpec",
    "TrainedModel",
    "Training",
    "UniformDequantization",
    "Validation",
    "WithInfo",
    "bits_per_dim",
    "density_mass",
    "hookimpl",
    "mean_over_devices",
    "nats_from_bits_per_dim",
    "report_progress",
    "split_info",
    "standard_normal_log_prob",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    # From now on the name is there, and this function is not asked again.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
