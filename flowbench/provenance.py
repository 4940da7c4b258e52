"""What a result needs to be trusted: versions, code, git state, machine, command line."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

PACKAGES = ("flowbench", "torch", "numpy", "duckdb", "pydantic", "scikit-learn")
# What can change a number. Boards, the store and the command line cannot.
RUNNER_CODE = ("execute", "setup", "train", "measure", "kept_model")
CORE_CODE = ("api", "data", "training", "evaluation", *(f"runner/{m}.py" for m in RUNNER_CODE))


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


def code_sha256(modules: Iterable[str]) -> str:
    """Hash of the code that can change a number: the core's, and that of the plugins in use.

    Args:
        modules: Modules of the plugins in use; a packaged one stands for its whole top-level
            package, a plugin file for itself.

    Returns:
        SHA-256 over paths and contents of all Python files, in hex.
    """
    core = Path(__file__).parent
    roots = {f"flowbench/{part}": core / part for part in CORE_CODE}
    for name in {module.partition(":")[0].partition(".")[0] for module in modules}:
        roots[name] = _package_root(name)
    digest = hashlib.sha256()
    for label, root in sorted(roots.items()):
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            digest.update(f"{label}:{path.relative_to(root).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _package_root(name: str) -> Path:
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    if origin is None:
        spec = util.find_spec(name)
        origin = spec.origin if spec else None
    if origin is None:
        raise FileNotFoundError(f"no source of the module {name!r}")
    path = Path(origin)
    return path.parent if path.name == "__init__.py" else path
