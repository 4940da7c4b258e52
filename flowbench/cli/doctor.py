"""``flowbench doctor``: what this machine offers, and what is wrong with the installation."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import typer

from flowbench import paths
from flowbench.cli.columns import visible
from flowbench.cli.options import Results, load_plugins
from flowbench.cli.quantities import count_text
from flowbench.errors import FlowbenchError


def doctor(results: Results = None) -> None:
    """Check the installation, devices, plugins and the results folder."""
    version = metadata.version("flowbench")
    print(f"flowbench {version}, Python {platform.python_version()}, {platform.platform()}")
    folder = paths.results_dir(results)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("torch", _torch),
        ("devices", _devices),
        ("cores", _cores),
        ("plugins", _plugins),
        ("results", lambda: _results(folder)),
        ("data", _data),
    ]
    # A list, not a generator: one failure must not keep the other checks from being printed.
    if not all([_check(name, check) for name, check in checks]):
        raise typer.Exit(1)


def _check(name: str, check: Callable[[], str]) -> bool:
    try:
        print(f"ok    {name:<9} {check()}")
    # What a user can mend; anything else is our bug and keeps its traceback.
    except (FlowbenchError, ImportError) as exc:
        print(f"FAIL  {name:<9} {visible(str(exc))}")
        return False
    return True


def _torch() -> str:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return f"{torch.__version__} ({build})"


def _devices() -> str:
    from flowbench.provenance import processor_name
    from flowbench.training.device import Device, available_kinds

    kinds = available_kinds()
    return ", ".join(f"{kind}: {Device.select(kind, processor_name()).name}" for kind in kinds)


def _cores() -> str:
    from flowbench.provenance import available_cores
    from flowbench.runner.executors.local import LocalExecutor

    slots = LocalExecutor("cpu").slots
    return (
        f"{len(available_cores())} usable; a CPU run takes {len(slots)} jobs at a time, "
        f"{slots[0].num_threads} thread{'' if slots[0].num_threads == 1 else 's'} each"
    )


def _plugins() -> str:
    from flowbench.errors import PluginLoadError

    registry = load_plugins(None, None)
    broken = [f"{p.source.label}: {p.cause}" for p in registry.plugins if p.cause]
    if broken:
        raise PluginLoadError(f"quarantined: {'; '.join(broken)}")
    counts = (len(registry.models), len(registry.datasets), len(registry.metrics))
    return "{} models, {} datasets, {} metrics".format(*counts)


def _results(folder: Path) -> str:
    from flowbench.runner.attempt import ResultsDir
    from flowbench.store.queries import count_attempts
    from flowbench.store.reconcile import readable, scan

    if not folder.exists():
        return f"{folder} (not created yet)"
    ResultsDir(folder).ensure_writable()
    if not scan(folder):
        return f"{folder}, no attempts yet"
    with readable(folder) as stored:
        return f"{folder}, {count_text(count_attempts(stored), 'attempt')}"


def _data() -> str:
    return str(paths.data_dir())
