"""``flowbench status`` and ``flowbench cancel``: what is under way, in whichever terminal."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbench import paths
from flowbench.cli import complete
from flowbench.cli.columns import terminal_width, visible, wrapped
from flowbench.cli.options import AsJson, Results

if TYPE_CHECKING:
    from rich.console import RenderableType

    from flowbench.cli.tally import JobState
    from flowbench.runner.placed import Placed
    from flowbench.runner.survey import Survey, UnderWay

WATCH_EVERY_S = 2.0


def status(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it anew until nothing is under way.")
    ] = False,
    as_json: AsJson = False,
    results: Results = None,
) -> None:
    """Show the jobs that are under way in a results folder, whoever runs them and on which host.

    It reads files, and asks queues of what they have: a run goes on undisturbed.
    """
    from flowbench.runner.survey import survey

    folder = paths.results_dir(results)
    placed = _placed(folder)
    found = survey(folder, placed)
    if as_json:
        print(json.dumps([_facts(one) for one in found.under_way], indent=1))
        return
    if watch:
        _watch(folder, found, placed)
        return
    from rich.console import Console

    Console(soft_wrap=terminal_width() is None).print(_view(found))


def cancel(
    jobs: Annotated[
        list[str],
        typer.Argument(
            help="Ids of jobs or attempts under way or waiting, or how they begin.",
            autocompletion=complete.jobs,
        ),
    ],
    results: Results = None,
) -> None:
    """Ask jobs to save their state and stop; the rest of their run goes on.

    The same command as before goes on from there.
    """
    from flowbench.runner.queue import Waiting
    from flowbench.runner.survey import cancel

    folder = paths.results_dir(results)
    for one in cancel(folder, jobs, _placed(folder)):
        if isinstance(one, Waiting):
            print(visible(f"taken from the queue: {one.job_id}"))
            continue
        if one.placement and one.state and one.state.phase == "waiting":
            print(visible(f"taken from the queue of {one.placement.executor}: {one.attempt_id}"))
            continue
        doing = one.heartbeat.doing if one.heartbeat else "starting"
        print(visible(f"asked to save and stop: {one.attempt_id} ({doing})"))


def _watch(folder: Path, found: Survey, placed: Placed) -> None:
    from rich.console import Console
    from rich.live import Live

    from flowbench.runner.survey import survey

    with Live(_view(found), console=Console(), auto_refresh=False) as live:
        try:
            while any(not one.is_gone for one in found.under_way):
                time.sleep(WATCH_EVERY_S)
                found = survey(folder, placed)
                live.update(_view(found), refresh=True)
        except KeyboardInterrupt:  # it only looks: nothing is to be said of its end
            return


def _view(found: Survey) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from flowbench.cli.live import JobsView

    alive = [one for one in found.under_way if not one.is_gone]
    parts: list[RenderableType] = [Text(_headline(found), "bold")]
    if alive:
        states = [_state_of(one) for one in alive]
        parts.append(JobsView(states))
    for line in _remarks(found):
        parts += [Text(part, "dim") for part in wrapped(line, terminal_width())]
    return Group(*parts)


def _placed(folder: Path) -> Placed:
    """What asks of the jobs that a queue has."""
    from flowbench.registry import PluginSelection, load_registry
    from flowbench.runner.attempt import ResultsDir
    from flowbench.runner.placed import Placed

    return Placed(load_registry(PluginSelection.from_environment()), ResultsDir(folder))


def _state_of(one: UnderWay) -> JobState:
    from flowbench.cli.tally import JobState

    if one.placement and one.heartbeat is None:
        why = one.state.why if one.state else "no answer"
        return JobState(one.order.job, queued=f"{one.placement.job} {why}".rstrip())
    return JobState(one.order.job, one.attempt, heartbeat=one.heartbeat)


def _headline(found: Survey) -> str:
    num = sum(not one.is_gone for one in found.under_way)
    ended = ", ".join(f"{count} {how}" for how, count in sorted(found.ended.items()))
    running = f"{num} job{'s' * (num != 1)} under way"
    running += f", {len(found.waiting)} waiting" if found.waiting else ""
    return f"{running}; ended in the last 24 h: {ended}" if ended else running


def _remarks(found: Survey) -> Iterator[str]:
    """By which commands jobs run, and which of them show no sign of life."""
    from flowbench.cli.quantities import clock_text
    from flowbench.runner.survey import SILENT_S

    alive = [one for one in found.under_way if not one.is_gone]
    runs: dict[str, int] = Counter(_run_of(one) for one in alive)
    for run, num in runs.items():
        yield f"{num} of {run}"
    for one in found.under_way:
        if one.is_gone:
            yield (
                f"gone without a record: {one.attempt_id}, last heard of "
                f"{clock_text(one.silent_s)} ago (the next run takes it up)"
            )
        elif one.silent_s > SILENT_S:
            yield f"silent for {clock_text(one.silent_s)}: {one.attempt_id}"


def _run_of(one: UnderWay) -> str:
    """The command that a job is of, and where it runs."""
    command = " ".join(one.order.command)
    if one.placement:
        return f"{command} (in {one.placement.executor})"
    if one.owner is None:
        return f"{command} (not known where it runs)"
    left = ", detached" if one.owner.detached else ""
    return f"{command} ({one.owner.host}, pid {one.owner.pid}{left})"


def _facts(one: UnderWay) -> dict[str, Any]:
    job, beat = one.order.job, one.heartbeat
    return {
        "name": one.attempt_id,
        "job_id": job.job_id,
        "attempt": one.order.number,
        "model": job.model,
        "preset": job.preset,
        "dataset": job.dataset,
        "seed": job.seed,
        "budget": job.budget,
        "started": one.order.spawned_utc,
        "command": list(one.order.command),
        "host": one.owner.host if one.owner else None,
        "run_pid": one.owner.pid if one.owner else None,
        "placed": str(one.placement) if one.placement else None,
        "gone": one.is_gone,
        "silent_s": round(one.silent_s, 1),
        **({} if beat is None else beat.model_dump(exclude={"beat"})),
    }
