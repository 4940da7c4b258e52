"""The configuration and the constructor."""

from __future__ import annotations

import torch
from torch import nn

from flowbench.api.models import GenerativeModel
from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.models.subject import BUILD_SEED, ModelSubject
from flowbench.errors import ConfigError
from flowbench.registry.configs import config_class, configure


@check(
    "`presets` and `unsupported` of the config class",
)
def presets(subject: ModelSubject) -> Finding:
    """Every preset validates against the config class."""
    name = subject.configured.entry.spec.name
    presets = config_class(subject.configured.entry).presets
    for preset in presets:
        try:
            configured = configure(subject.registry, f"{name}:{preset}", subject.info, {})
        except ConfigError as exc:
            return failed(f"preset {preset!r} is not valid: {exc}")
        reason: object = configured.config.unsupported(subject.info)
        if reason is not None and not isinstance(reason, str):
            return failed(f"unsupported of preset {preset!r} returned {reason!r}, not a reason")
    return passed(f"{len(presets)} presets, {subject.configured.preset!r} by default")


@check(
    "__init__: sizes that are drawn, or read off tensors; plain lists of modules; .cuda()",
    needs=("interface",),
)
def construction(subject: ModelSubject) -> Finding:
    """The constructor makes the same parameters every time, on torch's meta device too."""
    # Under two seeds: a checkpoint fits only where sizes do not depend on chance.
    real, again = subject.construct(), subject.construct(BUILD_SEED + 1)
    if _shapes(again) != _shapes(real):
        return failed("the constructor makes other parameters under another seed")
    problem = _elsewhere(real)
    if problem is not None:
        return failed(problem)
    light = _on_meta_device(subject)
    if light is not None and _shapes(light) != _shapes(real):
        return failed("the constructor makes other parameters on the meta device than on the CPU")
    count = sum(parameter.numel() for parameter in real.parameters() if parameter.requires_grad)
    note = "; not on the meta device" if light is None else ""
    return passed(f"{count:,} trainable parameters{note}")


def _elsewhere(model: GenerativeModel) -> str | None:
    """What of a model the harness would neither train, keep nor move."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.device.type != "cpu":
            return f"{name} is on {tensor.device}: leave out .cuda(), the harness chooses"
    known = {id(part) for part in (*model.modules(), *model.parameters())}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") or not isinstance(value, list | tuple | dict):
                continue
            parts = value.values() if isinstance(value, dict) else value
            lost = [p for p in parts if isinstance(p, nn.Module | nn.Parameter)]
            if any(id(part) not in known for part in lost):
                where = f"{path}.{name}" if path else name
                kind = "Module" if isinstance(lost[0], nn.Module) else "Parameter"
                right = f"nn.{kind}{'Dict' if isinstance(value, dict) else 'List'}"
                return (
                    f"self.{where} is a plain {type(value).__name__}, whose {kind.lower()}s are "
                    f"not trained, moved or kept; make it an {right}"
                )
    return None


def _on_meta_device(subject: ModelSubject) -> GenerativeModel | None:
    try:
        with torch.device("meta"):
            return subject.construct()
    except (RuntimeError, TypeError, ValueError):  # it reads values, which meta tensors lack
        return None


def _shapes(model: GenerativeModel) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
