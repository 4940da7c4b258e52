"""Keeps what a plugin does to the process while it is imported from staying there.

What a module's top level changes for everybody is put back and named: the working directory, the
environment, standard output, blanket warning filters, the root logger, signal handlers, seeds,
torch's default dtype and threads, modules that were loaded, and functions of the standard library
and of flowbench. Torch and NumPy are looked at only where they are loaded already or afterwards:
containment imports neither.
"""

from __future__ import annotations

import logging
import os
import pickle
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from operator import is_
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

Restore = Callable[[], str | None]
"""Puts one thing back; returns what had changed, or None."""

OF_TORCH = ("TORCHINDUCTOR_", "TRITON_")  # variables that importing torch itself sets
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _NoWarning(Warning):
    """Never given."""


@contextmanager
def contained(module: str) -> Iterator[list[str]]:
    """Leaves the process as it was, but for modules that the block imports.

    What is printed to standard output in the block goes to standard error: output for programs,
    such as ``--json``, stays whole.

    Args:
        module: The module that is imported. What the libraries that it loads patch, as PyTorch
            does with `inspect`, is their own business and stays.

    Yields:
        What had to be put back, in words; filled when the block ends.
    """
    snapshots = (_environment, _modules, _warnings, _logging)
    functions = partial(_functions, module.partition(".")[0])
    kept = Kept((*snapshots, *_SETTINGS, *_GENERATORS, functions))
    changed: list[str] = []
    output = sys.stdout
    # Banners of libraries go where people read and programs do not.
    sys.stdout = sys.stderr
    try:
        yield changed
    finally:
        if sys.stdout is not sys.stderr:
            changed.append("standard output")
        sys.stdout = output
        changed += kept.put_back()


@contextmanager
def undisturbed() -> Iterator[list[str]]:
    """Leaves to others what all that runs in this process computes with, as it was.

    Random generators are put back too, and that is not told: anyone may draw from them.

    Yields:
        What else had to be put back, in words; filled when the block ends.
    """
    settings, generators = Kept.settings(), Kept.generators()
    changed: list[str] = []
    try:
        yield changed
    finally:
        changed += settings.put_back()
        generators.put_back()


class Kept:
    """Some of what belongs to the whole process, as it was when this was made."""

    def __init__(self, takes: Iterable[Callable[[], Restore]]) -> None:
        self._restores = [take() for take in takes]

    @classmethod
    def settings(cls) -> Kept:
        """Default dtype, threads, gradient mode, signal handlers and the like."""
        return cls(_SETTINGS)

    @classmethod
    def generators(cls) -> Kept:
        """The global random generators."""
        return cls(_GENERATORS)

    def put_back(self) -> list[str]:
        """Puts all back that is not as it was, and names it."""
        return [words for restore in self._restores if (words := restore()) is not None]


def _directory() -> Restore:
    before = _here()

    def restore() -> str | None:
        if before is None or _here() == before:
            return None
        os.chdir(before)
        return "the working directory"

    return restore


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was deleted
        return None


def _environment() -> Restore:
    before = dict(os.environ)

    def restore() -> str | None:
        now = dict(os.environ)
        changed = {n for n in before.keys() | now.keys() if before.get(n) != now.get(n)}
        names = sorted(name for name in changed if not name.startswith(OF_TORCH))
        for name in names:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]
        return f"environment variables {', '.join(names)}" if names else None

    return restore


def _modules() -> Restore:
    before = dict(sys.modules)

    def restore() -> str | None:
        lost = sorted(n for n, module in before.items() if sys.modules.get(n) is not module)
        # A second copy of a module has classes of its own, which `isinstance` tells apart.
        sys.modules.update({name: before[name] for name in lost})
        return f"loaded modules {', '.join(lost[:3])}" if lost else None

    return restore


def _functions(package: str) -> Restore:
    """Functions and classes of the standard library and of flowbench, replaced by a package."""
    # Whole, which is a hundred times as fast as to pick: plugins are loaded by every command.
    before = {
        name: (module, dict(vars(module)))
        for name, module in list(sys.modules.items())
        if _is_ours(name) and isinstance(module, ModuleType)
    }

    def restore() -> str | None:
        # Only what the plugin itself put there: see `contained` on libraries.
        patched = []
        for name, (module, values) in before.items():
            now = vars(module)
            # Most have not been touched, which is told without a look at each name.
            if len(now) == len(values) and all(map(is_, now.values(), values.values())):
                continue
            for key, value in values.items():
                if now.get(key) is value or not _is_code(value):
                    continue
                if _comes_from(now.get(key), package):
                    setattr(module, key, value)
                    patched.append(f"{name}.{key}")
        return f"functions {', '.join(sorted(patched)[:3])}" if patched else None

    return restore


def _comes_from(value: object, package: str) -> bool:
    """Whether a package made it, or none did: a value that is no function at all."""
    origin = getattr(value, "__module__", None)
    return not isinstance(origin, str) or origin.partition(".")[0] == package


@cache  # asked of thousands of modules, again for each that is imported
def _is_ours(name: str) -> bool:
    top = name.partition(".")[0]
    return top == "flowbench" or top in sys.stdlib_module_names


def _is_code(value: object) -> bool:
    return isinstance(value, FunctionType | BuiltinFunctionType | type)


def _warnings() -> Restore:
    """Filters for all warnings: those of one kind or module are a library's own business."""
    # A blanket `ignore` would hide, for everybody, the warnings that say a result is wrong.
    before = list(warnings.filters)

    def restore() -> str | None:
        alien = [f for f in warnings.filters if f not in before and _is_blanket(f)]
        lost = [f for f in before if f not in warnings.filters]
        if not alien and not lost:
            return None
        filters: Any = warnings.filters  # declared as a sequence, and a list
        filters[:] = [f for f in filters if f not in alien and f not in before] + before
        warnings.simplefilter("default", _NoWarning)  # tells the caches of the modules
        filters.pop(0)
        return "warning filters"

    return restore


def _is_blanket(rule: tuple[Any, ...]) -> bool:
    _, message, category, module, line = rule
    return message is None and category is Warning and module is None and not line


def _logging() -> Restore:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, root.manager.disable)

    def restore() -> str | None:
        if (root.handlers, root.level, root.manager.disable) == before:
            return None
        # In place: others hold the same list.
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        logging.disable(before[2])
        return "the root logger"

    return restore


def _signals() -> Restore:
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> str | None:
        changed = [n for n, handler in before.items() if signal.getsignal(n) is not handler]
        # Python lets the main thread alone set handlers.
        if not changed or threading.current_thread() is not threading.main_thread():
            return None
        for number in changed:
            signal.signal(number, before[number])
        return "signal handlers"

    return restore


def _random() -> Restore:
    before = random.getstate()

    def restore() -> str | None:
        if random.getstate() == before:
            return None
        random.setstate(before)
        return "Python's random generator"

    return restore


def _numpy_random() -> Restore:
    numpy: Any = sys.modules.get("numpy")
    before = None if numpy is None else numpy.random.get_state()

    def restore() -> str | None:
        # As bytes: the state holds an array, which has no single answer to `==`.
        if before is None or pickle.dumps(numpy.random.get_state()) == pickle.dumps(before):
            return None
        numpy.random.set_state(before)
        return "NumPy's random generator"

    return restore


def _numpy_errors() -> Restore:
    numpy: Any = sys.modules.get("numpy")
    before = None if numpy is None else numpy.geterr()

    def restore() -> str | None:
        if before is None or numpy.geterr() == before:
            return None
        numpy.seterr(**before)
        return "NumPy's error handling"

    return restore


def _torch_random() -> Restore:
    torch: Any = sys.modules.get("torch")
    before = None if torch is None else torch.get_rng_state()

    def restore() -> str | None:
        if before is None or torch.equal(before, torch.get_rng_state()):
            return None
        torch.set_rng_state(before)
        return "torch's random generator"

    return restore


def _torch() -> Restore:
    torch: Any = sys.modules.get("torch")
    before = None if torch is None else _torch_settings(torch)

    def restore() -> str | None:
        now: Any = sys.modules.get("torch")
        if now is None:
            return None
        settings = _torch_settings(now)
        # Imported just now: then what torch starts with is what has to be there, but for its
        # threads, which depend on the machine.
        given = before or {**settings, "dtype": now.float32, "grad": True}
        changed = [name for name, value in given.items() if settings[name] != value]
        for name in changed:
            getattr(now, _OF_TORCH[name][1])(given[name])
        return f"torch's {', '.join(changed)}" if changed else None

    return restore


def _torch_settings(torch: Any) -> dict[str, Any]:
    return {name: getattr(torch, read)() for name, (read, _) in _OF_TORCH.items()}


# How torch tells each of its settings, and takes it.
_OF_TORCH = {
    "dtype": ("get_default_dtype", "set_default_dtype"),
    "device": ("get_default_device", "set_default_device"),
    "grad": ("is_grad_enabled", "set_grad_enabled"),
    "threads": ("get_num_threads", "set_num_threads"),
    "precision of products": (
        "get_float32_matmul_precision",
        "set_float32_matmul_precision",
    ),
    "determinism": ("are_deterministic_algorithms_enabled", "use_deterministic_algorithms"),
}
_SETTINGS = (_directory, _signals, _numpy_errors, _torch)
_GENERATORS = (_random, _numpy_random, _torch_random)
