"""What a result needs to be trusted: versions, git state, machine, command line."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

MEMBERSHIP, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
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
        commit = git(folder, "rev-parse", "HEAD")
        # An installed copy may lie inside somebody's own checkout, whose commit says nothing of it.
        tracked = git(folder, "ls-files", "--error-unmatch", str(folder / "errors.py"))
        # Untracked files are not code that ran: results and data lie about in a checkout.
        status = git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(status)} if tracked else None


def git(folder: Path, *arguments: str) -> str:
    """Runs git in a folder.

    Returns:
        What it printed, without space around it.

    Raises:
        OSError: There is no git.
        subprocess.SubprocessError: It failed, or took too long.
    """
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


def available_cores() -> tuple[int, ...]:
    """The cores that this process may use.

    Returns:
        Their numbers, in order.
    """
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def load_average() -> float | None:
    """Processes of the machine that could run, on average over a minute; None if unknown."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not a POSIX system; or it does not say
        return None


def cpu_quota(membership: Path = MEMBERSHIP, root: Path = GROUPS) -> float | None:
    """Cores' worth of time that the control groups of this process leave it.

    Returns:
        The smallest limit of its group and those above; None without a limit, or where the system
        has no groups of version 2.
    """
    quotas = []
    for text in _of_groups("cpu.max", membership, root):
        allowed, period = map(int, text.split())
        quotas.append(allowed / period)
    return min(quotas, default=None)


def memory_limit(membership: Path = MEMBERSHIP, root: Path = GROUPS) -> int | None:
    """Bytes of memory that the control groups of this process leave it, as `cpu_quota` looks."""
    return min(map(int, _of_groups("memory.max", membership, root)), default=None)


def _of_groups(name: str, membership: Path, root: Path) -> Iterator[str]:
    """What a file says in the control group of this process and in those above, where limited."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    groups = [name for line in lines for kind, _, name in [line.partition("::")] if kind == "0"]
    for group in [root / name.lstrip("/") for name in groups]:
        for folder in (group, *group.parents[: len(group.parts) - len(root.parts)]):
            with contextlib.suppress(OSError):  # the root has none
                text = (folder / name).read_text(encoding="ascii")
                if not text.startswith("max"):
                    yield text
