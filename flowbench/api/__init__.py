"""All that a plugin author may import: the one stable surface of flowbench.

Names load on first use, so that a module of specs never imports torch or pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowbench.api.archives import Archive, open_archive
    from flowbench.api.config import (
        GaussianNoise,
        Likelihood,
        Logit,
        MetricSettings,
        ModelConfig,
        Phase,
        Preprocessing,
        Preset,
        SampleSettings,
        Scale,
        Standardise,
        Training,
        UniformDequantization,
    )
    from flowbench.api.data import DataSplits, Split
    from flowbench.api.hooks import API_VERSION, hookimpl
    from flowbench.api.images import center_square, read_images
    from flowbench.api.metrics import LikelihoodResult, Samples, TrainedModel
    from flowbench.api.models import (
        Batch,
        Context,
        Density,
        DensityModel,
        GenerativeModel,
        InvertibleModel,
        Latents,
        Step,
        refuse_options,
        standard_normal_log_prob,
    )
    from flowbench.api.progress import report_progress
    from flowbench.api.specs import (
        ClosedForm,
        DatasetInfo,
        DatasetSpec,
        MetricSpec,
        MetricValue,
        ModelSpec,
        Paper,
        RemoteFile,
    )
    from flowbench.api.units import bits_per_dim, nats_from_bits_per_dim

_HOMES = {
    "archives": "Archive open_archive",
    "config": (
        "GaussianNoise Likelihood Logit MetricSettings ModelConfig Phase Preprocessing Preset "
        "SampleSettings Scale Standardise Training UniformDequantization"
    ),
    "data": "DataSplits Split",
    "hooks": "API_VERSION hookimpl",
    "images": "center_square read_images",
    "metrics": "LikelihoodResult Samples TrainedModel",
    "models": (
        "Batch Context Density DensityModel GenerativeModel InvertibleModel Latents Step "
        "refuse_options standard_normal_log_prob"
    ),
    "progress": "report_progress",
    "specs": "ClosedForm DatasetInfo DatasetSpec MetricSpec MetricValue ModelSpec Paper RemoteFile",
    "units": "bits_per_dim nats_from_bits_per_dim",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "API_VERSION",
    "Archive",
    "Batch",
    "ClosedForm",
    "Context",
    "DataSplits",
    "DatasetInfo",
    "DatasetSpec",
    "Density",
    "DensityModel",
    "GaussianNoise",
    "GenerativeModel",
    "InvertibleModel",
    "Latents",
    "Likelihood",
    "LikelihoodResult",
    "Logit",
    "MetricSettings",
    "MetricSpec",
    "MetricValue",
    "ModelConfig",
    "ModelSpec",
    "Paper",
    "Phase",
    "Preprocessing",
    "Preset",
    "RemoteFile",
    "SampleSettings",
    "Samples",
    "Scale",
    "Split",
    "Standardise",
    "Step",
    "TrainedModel",
    "Training",
    "UniformDequantization",
    "bits_per_dim",
    "center_square",
    "hookimpl",
    "nats_from_bits_per_dim",
    "open_archive",
    "read_images",
    "refuse_options",
    "report_progress",
    "standard_normal_log_prob",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
