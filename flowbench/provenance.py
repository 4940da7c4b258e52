"""What a result needs to be trusted: versions, git state, machine, command line."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("flowbench", "torch", "numpy", "duckdb", "pydantic", "scikit-learn")


def provenance(command: list[str], plugins: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Describes the process that asks.

    Args:
        command: The command line as the user gave it.
        plugins: Distribution and version of each plugin in use.

    Returns:
        A JSON-serialisable description.
    """
    return {
        "command": command,
        "versions": _versions(),
        "plugins": dict(sorted(set(plugins))),
        "git": git_state(Path(__file__).parent),
        "platform": platform.platform(),
        "processor": processor_name(),
        "num_cores": os.cpu_count(),
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a part that is not installed did not run
            continue
    return versions


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that a folder lies in.

    Args:
        folder: The folder.

    Returns:
        ``{"commit", "dirty"}``; None outside a checkout or without git.
    """
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        tracked = _git(folder, "ls-files", "--error-unmatch", str(folder / "errors.py"))
        status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(status)} if tracked else None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        timeout=20,
    )
    return done.stdout.strip()


@cache
def processor_name() -> str:
    """Model name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if done.stdout.strip():
            return done.stdout.strip()
    return platform.processor() or platform.machine()
