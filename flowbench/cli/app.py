"""The ``flowbench`` command."""

from __future__ import annotations

import atexit
import codecs
import errno
import gc
import inspect
import io
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from flowbench.cli import (
    board,
    check,
    claims,
    compare,
    data,
    doctor,
    listing,
    new,
    reproduce,
    results,
    run,
    status,
    store,
    view,
    worker,
)
from flowbench.cli.columns import visible
from flowbench.errors import FlowbenchError, abridged

MAX_ERROR = 1500  # characters
OBJECTS_A_COLLECTION = 100_000

app = typer.Typer(
    name="flowbench",
    help="Train normalizing flows under one budget, measure them by one protocol, compare them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug keeps its plain traceback, which can be pasted
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"flowbench {metadata.version('flowbench')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    del version


_SPELT = "flowbench.spelt"
_SPELLINGS = {"≤": "<=", "≥": ">=", "−": "-", "–": "-", "±": "+-", "×": "x", "…": "...", "’": "'"}


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """Writes a sign that an encoding lacks in those that all have, or escaped."""
    if isinstance(error, UnicodeEncodeError):
        sign = _SPELLINGS.get(error.object[error.start])
        if sign is not None:
            return sign, error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error(_SPELT, _spell)


def _speak_utf8() -> None:
    """Lets every name through: the terminal shows what its encoding can, the rest escaped.

    In a locale that is not of UTF-8, Python reads names of UTF-8 as what no file of ours and no
    database can hold; it is begun again in its UTF-8 mode.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_SPELT)
    names = "".join([*sys.argv, str(Path.cwd()), str(Path.home())])
    if names.isascii():
        return
    if sys.getfilesystemencoding() != "utf-8" and _is_utf8(os.fsencode(names)):
        # Anew, since the mode of a running interpreter cannot be changed.
        command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONUTF8": "1"})
    if not _is_utf8(names.encode("utf-8", "surrogatepass")):
        print("error: a name in the command, or this folder's, is not UTF-8", file=sys.stderr)
        sys.exit(1)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


app.command("run")(run.run)
app.command("list")(listing.list_)
app.command("show")(listing.show)
app.command("plugins")(listing.plugins)
app.command("check")(check.check)
app.command("new")(new.new)
app.command("doctor")(doctor.doctor)
app.command("status")(status.status)
app.command("cancel")(status.cancel)
app.command("worker")(worker.worker)
app.command("reproduce")(reproduce.reproduce)
app.command("leaderboard")(board.leaderboard)
app.command("compare")(compare.compare)
app.command("view")(view.view)
app.command("claims")(claims.claims)
app.add_typer(data.app, name="data")
app.add_typer(results.app, name="results")
app.add_typer(store.app, name="store")


def _reflow(group: typer.Typer) -> None:
    """Lets a terminal wrap the paragraphs of help, which docstrings wrap for an editor."""
    for command in group.registered_commands:
        text = inspect.cleandoc(getattr(command.callback, "__doc__", None) or "")
        command.help = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


for _group in (app, data.app, results.app, store.app):
    _reflow(_group)


def _leave_all() -> None:
    """Spares what is loaded the last look; DuckDB's is counted then, and told if it is left."""
    if "duckdb" not in sys.modules:
        gc.freeze()


def main() -> None:
    """Runs the command line; a user's error is one line and exit status 1."""
    _speak_utf8()
    # Imports are a million objects that stay: to look through them again and again, and once more
    # at the end, takes up to two seconds.
    gc.set_threshold(OBJECTS_A_COLLECTION)
    atexit.register(_leave_all)
    try:
        app()
    except FlowbenchError as exc:
        line = visible(str(exc))
        # What was given is quoted whole: it may be the content of a file.
        line = abridged(line, MAX_ERROR)
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)
    except OSError as exc:
        # No fault of ours, wherever it is met: the output may be all that there is no room for.
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left of it is lost at the end
        print(f"error: {exc.strerror}; make room and give the same command again", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
