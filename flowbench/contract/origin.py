"""Where others can install this flowbench from."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from flowbench.provenance import git

INDEX = "flowbench"  # by its name alone: pip asks the package index


def installed_from() -> str | None:
    """What pip would install this flowbench from on another machine.

    Returns:
        `flowbench` if it came from an index; `git+https://...` if it came from a repository or lies
        in a clone of one, at its commit where others have that; None if only this machine has it.
    """
    text = metadata.distribution("flowbench").read_text("direct_url.json")
    return _source(json.loads(text)) if text else INDEX


def _source(direct_url: dict[str, Any]) -> str | None:
    """Reads what pip has recorded of an installation that is not from an index (PEP 610)."""
    url = direct_url["url"]
    if "vcs_info" in direct_url:
        address = _public(url)
        return address and f"git+{address}@{direct_url['vcs_info']['commit_id']}"
    if "dir_info" in direct_url:
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # no clone, or no git
            return _clone(Path(unquote(urlsplit(url).path)))
    return None


def _clone(folder: Path) -> str | None:
    if Path(git(folder, "rev-parse", "--show-toplevel")).resolve() != folder.resolve():
        return None  # it lies in a repository of something else
    address = _public(git(folder, "remote", "get-url", "origin"))
    if address is None:
        return None
    pushed = git(folder, "branch", "--remotes", "--contains", "HEAD")
    commit = f"@{git(folder, 'rev-parse', 'HEAD')}" if pushed else ""
    return f"git+{address}{commit}"


def _public(address: str) -> str | None:
    """An address as anybody may use it: by https, without a name or a password in it."""
    address = re.sub(r"^(?:ssh://)?git@([^:/]+)[:/]", r"https://\1/", address)
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
