"""The command line of a checkout, this one or another, in processes of its own."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import lab

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VARIABLE = "FLOWBENCH_CASES_CHECKOUT"
"""Names the folder of another checkout whose command line is to be run."""
LIGHT = ("list", "data")  # commands that start at once
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    def refused(self, *words: str) -> bool:
        """Whether it ended with one line that has all these words, after what it was doing."""
        *doing, line = self.err.splitlines() or [""]
        is_line = line.startswith("error: ") and not any("Traceback" in one for one in doing)
        return self.status == 1 and is_line and all(word in line for word in words)


@dataclass(frozen=True)
class Checkout:
    """Runs ``flowbench`` in a folder, with the plugin file of the cases and data of its own."""

    folder: Path

    def __call__(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        if env is None and VARIABLE not in os.environ and arguments[0] not in LIGHT:
            return self._forked(arguments)
        done = subprocess.run(
            [sys.executable, "-P", "-m", "flowbench.cli.app", *arguments],
            cwd=self.folder,
            env=environment() | (env or {}),
            capture_output=True,
            check=False,
            timeout=300,
        )
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return Done(done.returncode, out, err)

    def _forked(self, arguments: Sequence[str]) -> Done:
        """In a process that has imported what it needs, and that ends with the command."""
        number = next(NUMBERS)
        out, err = (self.folder / f".{number}.{name}" for name in ("out", "err"))
        process = lab.PROCESSES.Process(
            target=_command, args=(arguments, self.folder, environment(), (out, err))
        )
        process.start()
        process.join(300)
        status = process.exitcode
        process.kill()
        assert status is not None, f"{arguments} did not end"
        return Done(status, *(path.read_text("utf-8", "replace") for path in (out, err)))

    def run(self, *arguments: str, plugin: bool = True) -> Done:
        """``flowbench run``."""
        place = ("--plugin-file", str(HERE / "plugin.py")) if plugin else ()
        return self("run", *arguments, *place)

    def attempts(self) -> list[dict[str, Any]]:
        """What ``results list`` says of all attempts."""
        done = self("results", "list", "--json")
        assert done.status == 0, done.err
        found: list[dict[str, Any]] = json.loads(done.out)
        return found

    def rendered(self, name: str) -> str:
        """Boards of all results in one of their formats."""
        if name == "terminal":
            done = self("leaderboard", "--format", name)
            assert done.status == 0, done.err
            return done.out
        out = self.folder / "boards" / name
        done = self("leaderboard", "--format", name, "--out", str(out))
        assert done.status == 0, done.err
        return "".join(path.read_text("utf-8") for path in sorted(out.iterdir()))

    def board(self) -> list[dict[str, str]]:
        """The rows of the boards as data."""
        return list(csv.DictReader(io.StringIO(self.rendered("csv"))))


def _command(
    arguments: Sequence[str], folder: Path, variables: dict[str, str], printed: tuple[Path, Path]
) -> None:
    lab.print_to(*printed)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.exit(lab.command(arguments))


def environment() -> dict[str, str]:
    """The variables of a user who has the checkout installed, and no settings."""
    checkout = Path(os.environ.get(VARIABLE, ROOT))
    own = {name: value for name, value in os.environ.items() if not name.startswith("FLOWBENCH_")}
    sources = os.pathsep.join(map(str, (checkout, checkout / "plugins")))
    return own | {"PYTHONPATH": sources, "FLOWBENCH_DATA": "data", "COLUMNS": "200"}
