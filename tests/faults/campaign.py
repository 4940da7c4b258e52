"""Kills runs at random, and holds what one rerun leaves to what an undisturbed run does.

``python -m tests.faults.campaign --kills 200 --seed 1``: a run in a fresh folder is killed (the
run, a worker, both, or a worker's process group; at a random moment or at a named point), then the
same command is given once. Exit status, table, values, curves and log-likelihoods must be those of
a run that nobody disturbed; no attempt may be lost, doubled or without a record.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowbench.runner.attempt import HEARTBEAT
from flowbench.runner.ownership import owner_of
from flowbench.store.attempt_files import RECORD, read_attempt
from flowbench.store.queries import list_attempts
from flowbench.store.reconcile import readable
from tests.faults import lab
from tests.faults.lab import Fault

LASTS_S = 2.5  # what an undisturbed run takes, about
ENDS = {"fake-gaussian": "ok", "fake-slow": "ok", "fake-crash": "crashed"}


SPEED = re.compile(r" +(?:Steps/s|[\d,.]+) *$", re.MULTILINE)  # the last column, which is a timing


@dataclass(frozen=True)
class Left:
    """What a run leaves, but for its timings.

    Attributes:
        table: What it printed.
        results: Of each job that ended as it should: status, counts, values, curve, likelihoods.
    """

    status: int
    table: str
    results: dict[str, tuple[Any, ...]]


def started(results: Path, fault: Fault | None = None) -> int:
    """Starts a run in a process of its own; its output goes beside the folder."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        lab.print_to(results.with_name("out"), results.with_name("err"))
        status = lab.command([*lab.ASKED, "--results", str(results)], fault)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def ended(pid: int, within_s: float = 300.0) -> int:
    """The exit status of a process; negative for a signal.

    Raises:
        AssertionError: It does not end.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"the run did not end within {within_s:g} s")


def left(results: Path, status: int) -> Left:
    """What there is after a run, checked for what must hold of any folder."""
    attempts = [Path(a) for a in sorted(results.glob("runs/*/*")) if a.name.isdigit()]
    without = [str(a.relative_to(results)) for a in attempts if not (a / RECORD).exists()]
    assert not without, f"attempts without a record: {without}"
    # The word of one that is gone may be there; it owns nothing.
    owned = [str(folder) for folder in results.glob("runs/*") if owner_of(folder)]
    assert not owned, f"jobs that somebody still owns: {owned}"
    for attempt in attempts:
        if (attempt / HEARTBEAT).exists():
            pid = json.loads((attempt / HEARTBEAT).read_bytes())["pid"]
            assert not is_alive(pid), f"worker {pid} of {attempt.name} outlived its run"
    with readable(results, report=_refuse) as folder:
        stored = Counter(row["name"] for row in list_attempts(folder))
    on_disk = [f"{a.parent.name}-{a.name}" for a in attempts]
    assert stored == Counter(on_disk), f"the database has {stored}, the folder {on_disk}"
    found: dict[str, tuple[Any, ...]] = {}
    for attempt in attempts:
        files = read_attempt(attempt)
        record, job = files.record, files.record.job
        if record.status != ENDS[job.model]:
            continue
        assert job.job_id not in found, f"{job.job_id} was done twice"
        values = {m.name: m.value for m in record.measurements}
        counts = (record.status, record.steps, record.examples, record.weights, record.best_step)
        curve = tuple((p.step, p.loss, p.bpd, p.bpd_ema, p.nll) for p in files.curves)
        log_prob = None if files.log_prob is None else files.log_prob.tobytes()
        found[job.job_id] = (counts, values, curve, log_prob)
    printed = results.with_name("out").read_text(encoding="utf-8")
    return Left(status, SPEED.sub("", printed), found)


def is_alive(pid: int) -> bool:
    """Whether a process is at work; one that has ended may wait for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _refuse(problem: str) -> None:
    raise AssertionError(problem)


def a_fault(rng: random.Random) -> Fault:
    """A named point at which a process ends."""
    where, when = rng.choice(["run", "worker"]), rng.choice(["before", "after"])
    if where == "worker":
        what = rng.choice(lab.FILES_OF_WORKER)
    else:
        what = rng.choice([*lab.FILES_OF_RUN, *lab.FUNCTIONS_OF_RUN])
    return Fault(where, when, what, rng.randint(1, 3), rng.random() < 0.3)


def kill_at_random(pid: int, who: str, delay_s: float) -> None:
    """Kills a run's processes after a while."""
    time.sleep(delay_s)
    workers = lab.workers_of(pid)
    chosen = {
        "run": [pid],
        "worker": workers[:1],
        "both": [pid, *workers],
        "both, workers first": [*workers, pid],
    }
    for one in chosen.get(who, []):
        lab._kill(one)
    if who == "group" and workers:
        with contextlib.suppress(ProcessLookupError):  # it has no group yet, or has ended
            os.killpg(workers[-1], signal.SIGKILL)


def one_kill(results: Path, rng: random.Random) -> str:
    """Kills a run; says what was done, in a few words."""
    if rng.random() < 0.5:
        fault = a_fault(rng)
        status = ended(started(results, fault))
        said = f"{fault.when} {fault.what}, time {fault.nth}, of the {fault.where}"
        said += " (all of them)" if fault.all_of_them else ""
    else:
        who = rng.choice(["run", "worker", "both", "both, workers first", "group"])
        delay = rng.uniform(0.0, LASTS_S)
        pid = started(results)
        kill_at_random(pid, who, delay)
        status = ended(pid)
        said = f"{who} after {delay:.2f} s"
    done = {read_attempt(p.parent).record.status for p in results.glob(f"runs/*/*/{RECORD}")}
    # Zero silent: where something was killed and the run went on, it says so.
    assert "killed" not in done or status != 0, f"{said}: exit status 0 with a job killed"
    return said


def campaign(kills: int, seed: int, folder: Path) -> list[str]:
    """Kills so often, each in a folder of its own.

    Returns:
        What went wrong, one line each.
    """
    for name in lab.IMPORTED:
        importlib.import_module(name)
    calm = folder / "calm" / "results"
    calm.parent.mkdir(parents=True)
    expected = left(calm, ended(started(calm)))
    assert len(expected.results) == 6, expected
    assert expected.status == 1, "a job of the suite crashes"
    wrong = []
    for number in range(kills):
        rng = random.Random(f"{seed}-{number}")
        results = folder / str(number) / "results"
        results.parent.mkdir()
        said = "?"
        try:
            said = one_kill(results, rng)
            found = left(results, ended(started(results)))
            for part in ("status", "table", "results"):
                assert getattr(found, part) == getattr(expected, part), f"another {part}"
        except AssertionError as exc:
            wrong.append(f"{number}: {said}: {exc}")
            print(wrong[-1], flush=True)
            continue
        shutil.rmtree(results.parent)
    return wrong


def main() -> int:
    """The campaign as a command.

    Returns:
        0 if every rerun came to what an undisturbed run does.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="flowbench-faults-"))
    with lab.own_machine(folder):
        wrong = campaign(given.kills, given.seed, folder)
    print(
        f"seed {given.seed}: {given.kills} kills, {len(wrong)} wrong, "
        f"{time.monotonic() - begun:.0f} s" + (f"; see {folder}" if wrong else "")
    )
    if not wrong:
        shutil.rmtree(folder)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
