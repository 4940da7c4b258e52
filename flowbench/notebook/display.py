"""How far a run is: in a notebook's cell, which has no terminal to draw on, or as elsewhere."""

from __future__ import annotations

import importlib
import io
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType

from flowbench.cli.live import LiveView
from flowbench.cli.progress import ProgressDisplay, Verbosity, progress_display
from flowbench.cli.tally import Tally
from flowbench.runner.run import ReadyRun

WIDTH, HEIGHT = 100, 40  # of what a cell shows
REFRESH_S = 0.5
PRE = '<pre style="line-height:1.35;font-family:ui-monospace,monospace;margin:0">{code}</pre>'


@contextmanager
def run_display(ready: ReadyRun, *, quiet: bool) -> Iterator[ProgressDisplay]:
    """Shows the progress of a run for as long as the block lasts.

    Args:
        quiet: Show warnings alone.

    Yields:
        The display, to be told of everything by the scheduler.
    """
    starting = ready.starting
    at_once = len(ready.executor.slots) or len(starting)
    kernel = in_notebook()
    if not kernel or quiet or not starting:
        verbosity: Verbosity = "quiet" if quiet else "normal"
        with progress_display(starting, at_once, verbosity, ready.to_come) as display:
            yield display
        return
    tally = Tally(starting, at_once, time.monotonic, ready.to_come)
    console = Console(file=sys.stdout, width=WIDTH, force_jupyter=False)
    with _live(LiveView(tally)):
        yield ProgressDisplay(tally, console, verbosity="normal", live=True)


def in_notebook() -> bool:
    """Whether a kernel runs this, whose cells show HTML that can be changed later."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return running is not None and hasattr(running, "kernel")


def as_html(shown: RenderableType, width: int = WIDTH) -> str:
    """What rich would print, as HTML with its colours."""
    console = Console(
        file=io.StringIO(), record=True, width=width, height=HEIGHT, force_jupyter=False
    )
    console.print(shown)
    return console.export_html(inline_styles=True, code_format=PRE)


@contextmanager
def _live(view: RenderableType) -> Iterator[None]:
    """Shows a view in the cell, and again every `REFRESH_S`."""
    cell: Any = importlib.import_module("IPython.display")  # which a kernel always has
    shown = cell.display(cell.HTML(as_html(view)), display_id=True)
    ended = threading.Event()

    def refresh() -> None:
        while not ended.wait(REFRESH_S):
            shown.update(cell.HTML(as_html(view)))

    thread = threading.Thread(target=refresh, name="flowbench-display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        shown.update(cell.HTML(as_html(view)))
