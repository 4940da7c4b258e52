"""The methods that the harness calls are there, under their names, and take what it passes."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from flowbench.api.models import DensityModel, GenerativeModel, InvertibleModel
from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.models.subject import ModelSubject

# What a class has to write itself, by what it derives from.
WRITTEN: dict[type, tuple[str, ...]] = {
    InvertibleModel: ("to_latent", "from_latent"),
    DensityModel: ("log_prob", "sample"),
    GenerativeModel: ("loss", "sample"),
}
NEAR = 0.8  # likeness of two names from which on one may be meant for the other


@check(
    "the names and arguments of the class's methods, against `flowbench.api`",
    needs=("presets",),
)
def interface(subject: ModelSubject) -> Finding:
    """The class has the methods that the harness calls, and they take what it passes."""
    cls = subject.model_class
    base = next((kind for kind in WRITTEN if _derives(cls, kind)), None)
    if base is None:
        return failed(
            f"{cls.__name__} is no GenerativeModel; derive it from InvertibleModel, DensityModel "
            "or GenerativeModel of flowbench.api"
        )
    problem = next(_problems(cls, base), None)
    return (
        passed(f"{cls.__name__} derives from {base.__name__}")
        if problem is None
        else failed(problem)
    )


def _derives(cls: type, kind: type) -> bool:
    return isinstance(cls, type) and issubclass(cls, kind)


def _problems(cls: type[GenerativeModel], base: type) -> Iterator[str]:
    ours = {*vars(InvertibleModel), *vars(DensityModel), *vars(GenerativeModel)}
    methods = {n: m for n, m in inspect.getmembers(base, inspect.isfunction) if n in ours}
    own = {
        name: value
        for kind in cls.__mro__[: cls.__mro__.index(base)]
        for name, value in vars(kind).items()
        if inspect.isfunction(value)
    }
    for name in WRITTEN[base]:
        if name not in own:
            meant = difflib.get_close_matches(name, set(own) - set(methods), n=1, cutoff=NEAR)
            instead = f" (did you mean that by {meant[0]}?)" if meant else ""
            yield f"{cls.__name__} has no method {name}{instead}; write {_stated(methods[name])}"
    for name, method in own.items():
        if name in methods and not _takes(method, methods[name]):
            yield (
                f"{name} is written as def {name}{_plain(inspect.signature(method))}; the harness "
                f"calls {_stated(methods[name])}"
            )
        elif name not in methods and not name.startswith("_"):
            meant = difflib.get_close_matches(name, set(methods) - set(own), n=1, cutoff=NEAR)
            if meant and not _is_called(name, cls):
                right = _stated(methods[meant[0]])
                yield f"nobody calls {name}; did you mean {meant[0]}? write {right}"


def _takes(method: Callable[..., Any], stated: Callable[..., Any]) -> bool:
    """Whether a method can be called as the one that the API states."""
    asked = inspect.signature(stated).parameters.values()
    positional = [p.name for p in asked if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = {p.name: None for p in asked if p.kind is p.KEYWORD_ONLY}
    try:
        inspect.signature(method).bind(*positional, **keywords)
    except TypeError:
        return False
    return True


def _stated(method: Callable[..., Any]) -> str:
    return f"def {method.__name__}{_plain(inspect.signature(method))}"


def _plain(signature: inspect.Signature) -> str:
    """A signature without its types."""
    empty = inspect.Parameter.empty
    bare = [p.replace(annotation=empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def _is_called(name: str, cls: type) -> bool:
    try:
        source = inspect.getsource(inspect.getmodule(cls) or cls)
    except (OSError, TypeError):  # it has none: nothing can be said
        return True
    return re.search(rf"\.{name}\b", source) is not None
