"""``glow:512ch`` + overrides + dataset -> a validated configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from flowbench.api.config import ModelConfig, Preset
from flowbench.api.likelihood import NoLikelihood
from flowbench.api.specs import DatasetInfo, ModelSpec
from flowbench.errors import (
    ConfigError,
    PluginLoadError,
    UnknownNameError,
    did_you_mean,
    first_problem,
    shortened,
    unknown_name,
)
from flowbench.registry.registry import Entry, Registry


@dataclass(frozen=True, kw_only=True)
class ConfiguredModel:
    """A model with its preset and overrides resolved for a dataset.

    Attributes:
        entry: The model and its plugin.
        preset: Name of the preset.
        preset_facts: What the preset says of itself.
        overrides: What was set on top of it, by dotted key.
    """

    entry: Entry[ModelSpec]
    preset: str
    preset_facts: Preset
    overrides: Mapping[str, Any]
    config: ModelConfig

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Why this cannot run on a dataset, or None."""
        spec = self.entry.spec
        if data.modality not in spec.modalities:
            made_for = ", ".join(sorted(spec.modalities))
            return f"{spec.name} is made for {made_for} data, {data.name} is {data.modality} data"
        if data.target is not None and not self.config.fits_targets:
            return (
                f"{spec.name} learns from examples, and {data.name} is a density without any; "
                "choose a model that fits targets (flowbench show NAME --json: fits_targets)"
            )
        return self.config.unsupported(data)


def configure(
    registry: Registry, choice: str, data: DatasetInfo, overrides: Mapping[str, Any]
) -> ConfiguredModel:
    """Resolves a model choice for a dataset.

    Args:
        choice: ``name`` or ``name:preset``.
        data: The dataset; it decides the preset where none is named.
        overrides: Values by dotted key, without the model's name in front.

    Returns:
        The configured model.

    Raises:
        UnknownNameError: There is no such model or preset.
        ConfigError: An override has an unknown key or a value that is not valid.
    """
    name, _, wanted = choice.partition(":")
    entry = registry.model(name)
    cls = config_class(entry)
    # Asked only of data that the model takes: for others its answer, or its error, would be
    # meaningless.
    fallback = cls.default_preset(data) if data.modality in entry.spec.modalities else None
    preset = wanted or fallback or next(iter(cls.presets))
    if preset not in cls.presets:
        raise UnknownNameError(
            unknown_name(f"preset of {name}", preset, cls.presets, f"flowbench show {name}")
        )
    facts = cls.presets[preset]
    values = _merge(_defaults(cls), to_jsonable_python(facts.values))
    for key, value in overrides.items():
        # Before pydantic looks, which has no hint to give at an unknown key.
        _check_key(name, cls, key)
        # One after the other: a later key may go into what an earlier one has set.
        values = _merge(values, _nest(key, value))
    config = _validate(name, cls, values)
    return ConfiguredModel(
        entry=entry, preset=preset, preset_facts=facts, overrides=dict(overrides), config=config
    )


def undequantized(config: ModelConfig, data: DatasetInfo) -> str | None:
    """Why the likelihood of a model with a density would be no probability of integers.

    Args:
        config: The model's configuration.

    Returns:
        The reason; None if there is nothing wrong.
    """
    preprocessing = config.preprocessing
    # Each of these makes it right: no integers, a model of integers, or noise.
    if data.levels is None or preprocessing.support == "discrete" or preprocessing.noise:
        return None
    kind = config.likelihood(data)
    if isinstance(kind, NoLikelihood) or kind.measure != "discrete":
        return None
    return (
        "a density over integers without dequantization is no probability of them: it can be made "
        "as large as one likes; add noise=UniformDequantization() to the preprocessing"
    )


def config_class(entry: Entry[ModelSpec]) -> type[ModelConfig]:
    """Imports a model's config class.

    Returns:
        The class.

    Raises:
        PluginLoadError: It is not a `ModelConfig`, or has no presets.
    """
    cls = entry.resolve(entry.spec.config)
    if not (isinstance(cls, type) and issubclass(cls, ModelConfig)):
        raise PluginLoadError(f"{entry.spec.config} of {entry.spec.name!r} is not a ModelConfig")
    presets: object = cls.presets
    right = (
        isinstance(presets, Mapping)
        and presets
        and all(isinstance(preset, Preset) for preset in presets.values())
    )
    if not right:
        raise PluginLoadError(
            f"{entry.spec.config} of {entry.spec.name!r} has the presets {shortened(presets)}; "
            'expected at least one, each a Preset: {"tiny": Preset(summary="small", '
            'values={"width": 16})}'
        )
    return cls


def _defaults(cls: type[BaseModel]) -> dict[str, Any]:
    # A field without a default is the preset's to set; if nobody does, validation names it.
    fields = {n: f for n, f in cls.model_fields.items() if not f.is_required()}
    return {
        n: to_jsonable_python(f.get_default(call_default_factory=True)) for n, f in fields.items()
    }


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        # What belongs to another kind of step would be an unknown key of the new one.
        if isinstance(old, Mapping) and isinstance(value, Mapping) and _same_kind(old, value):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a step that is told by its ``kind`` stays one of that kind, and keeps its values."""
    return "kind" not in new or old.get("kind") == new["kind"]


def _nest(key: str, value: Any) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return {first: _nest(rest, value) if rest else value}


def _check_key(name: str, cls: type[BaseModel], key: str) -> None:
    path = name
    models: tuple[type[BaseModel], ...] = (cls,)
    parts = iter(key.split("."))
    for part in parts:
        if not models:
            raise ConfigError(
                f"{path!r} is a value, it has no key {part!r} (flowbench show {name})"
            )
        fields = {n: f for model in models for n, f in model.model_fields.items()}
        if part not in fields:
            hint = did_you_mean(part, fields)
            raise ConfigError(f"unknown key {part!r} of {path!r}; {hint}(flowbench show {name})")
        annotation: Any = fields[part].annotation
        path = f"{path}.{part}"
        if get_origin(annotation) is Mapping:
            annotation = get_args(annotation)[1]
            if (own := next(parts, None)) is None or not _models(annotation):
                return  # keys of a mapping are the user's; values are validated with the rest
            path = f"{path}.{own}"
        models = _models(annotation)


def _models(annotation: Any) -> tuple[type[BaseModel], ...]:
    """The configurations that a field may hold; none for a value or a sequence."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    if get_origin(annotation) not in (Union, UnionType, Annotated):
        return ()
    return tuple(model for part in get_args(annotation) for model in _models(part))


def _validate(name: str, cls: type[ModelConfig], values: dict[str, Any]) -> ModelConfig:
    try:
        return cls.model_validate(values)
    except ValidationError as exc:
        problem = first_problem(exc, lambda keys: ".".join([name, *_keys(cls, keys)]))
        raise ConfigError(problem) from exc


def _keys(cls: type[BaseModel], location: Iterable[str | int]) -> Iterator[str]:
    """A location of pydantic's as a user writes it: without the members of unions."""
    models: tuple[type[BaseModel], ...] = (cls,)
    for part in location:
        fields = {n: f for model in models for n, f in model.model_fields.items()}
        if len(models) > 1 and part not in fields:
            continue  # which member of a union it is
        yield str(part)
        models = _models(fields[str(part)].annotation) if part in fields else ()
