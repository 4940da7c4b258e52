"""What a model is, without data on disk and without training: ``flowbench show``."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from flowbench.api.models import DensityModel, GenerativeModel
from flowbench.api.specs import DatasetInfo
from flowbench.data.library.splits import validation_size
from flowbench.errors import ConfigError
from flowbench.registry import Registry
from flowbench.registry.configs import ConfiguredModel, config_class, configure, undequantized

# Made in a third of a second; what is larger is made without values, for which torch imports its
# compiler first: a second and more.
REAL_NUMBERS = 40_000_000
_MAKERS = {torch.empty, torch.full, torch.ones, torch.rand, torch.randn, torch.zeros}


class _TooLargeError(Exception):
    """A model has more numbers than were to be made."""


class _AtMost(TorchFunctionMode):
    """Lets torch make so many numbers, and none more."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self._left = num

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Counts before anything is made.

        Raises:
            _TooLargeError: It would be more.
        """
        kwargs = kwargs or {}
        if func in _MAKERS:
            size = args[0] if args and isinstance(args[0], list | tuple) else args
            self._left -= math.prod(kwargs.get("size", size))
            if self._left < 0:
                raise _TooLargeError
        return func(*args, **kwargs)


def describe_model(
    registry: Registry, choice: str, dataset: str | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Describes a configured model; a large one is made on the meta device where it can be.

    Args:
        choice: ``name`` or ``name:preset``.
        dataset: The dataset that it is configured for; None takes the first that it can run on.
        overrides: Values by dotted key.

    Returns:
        Plain data: name, preset, config, num_parameters, likelihood, paper and more.

    Raises:
        ConfigError: The model cannot run on the dataset, or has no likelihood of it.
    """
    configured, info = _configured(registry, choice, dataset, overrides)
    reason = configured.unsupported(info)
    if reason is not None:
        raise ConfigError(f"{choice} cannot run on {info.name}: {reason}; choose another --dataset")
    spec, facts = configured.entry.spec, configured.preset_facts
    model = _built(configured, info)
    trained = model.num_parameters_training()
    kind = None
    # Said here and not after an hour of training.
    if isinstance(model, DensityModel):
        problem = undequantized(configured.config, info)
        if problem is not None:
            raise ConfigError(f"{choice} on {info.name}: {problem}")
        kind = configured.config.likelihood(info)
    return {
        "name": spec.name,
        "preset": configured.preset,
        "summary": spec.summary,
        "family": spec.family,
        "preset_summary": facts.summary,
        "source": facts.source,
        "assumptions": list(facts.assumptions),
        "tuning_trials": facts.tuning_trials,
        "dataset": info.name,
        "num_parameters": model.num_parameters(),
        # Named where they are more: two equal counts would ask what the difference is.
        **({"num_parameters_training": trained} if trained != model.num_parameters() else {}),
        "likelihood": None if kind is None else kind.model_dump(mode="json"),
        "fits_targets": configured.config.fits_targets,
        "paper": None if spec.paper is None else asdict(spec.paper),
        "presets": {n: p.summary for n, p in config_class(configured.entry).presets.items()},
        "config": configured.config.model_dump(mode="json"),
        "plugin": configured.entry.source.distribution,
    }


def _configured(
    registry: Registry, choice: str, dataset: str | None, overrides: Mapping[str, Any]
) -> tuple[ConfiguredModel, DatasetInfo]:
    registry.model(choice.partition(":")[0])
    names = list(registry.datasets) if dataset is None else [dataset]
    specs = [registry.dataset(name).spec for name in names]
    tried = []
    # Without a dataset the first that fits, in the order in which plugins list them.
    for spec in specs:
        info = spec.info(validation_size(spec))
        configured = configure(registry, choice, info, overrides)
        tried.append((configured, info))
        if configured.unsupported(info) is None:
            return configured, info
    if not tried:
        raise ConfigError("no dataset is registered to configure the model for; see --no-plugin")
    return tried[0]


def _built(configured: ConfiguredModel, info: DatasetInfo) -> GenerativeModel:
    cls: type[GenerativeModel] = configured.entry.resolve(configured.entry.spec.model)
    with contextlib.suppress(_TooLargeError), _AtMost(REAL_NUMBERS):
        return cls(configured.config, info)
    try:
        with torch.device("meta"):  # paper configurations need more memory than this machine has
            return cls(configured.config, info)
    except (RuntimeError, TypeError, ValueError):  # a library's constructor that reads values
        return cls(configured.config, info)
