"""``flowbench run`` in a process that can be killed anywhere, fast enough to be killed often.

The command is the real one; only its workers are forked from a process that has imported torch
already, where a user's run starts such a process first.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowbench.api.executors import Lifeline, Slot
from flowbench.runner import outcomes, pulse, schedule, train, worker
from flowbench.runner.executors.base import LOG
from flowbench.runner.executors.local import LocalExecutor
from flowbench.runner.executors.process_group import Child, ProcessGroup
from flowbench.store import reconcile

FAKES = Path(__file__).parent.parent / "fakes.py"
PLUGINS = ("--plugin-file", str(FAKES), "--no-plugin", "flowbench")
MODELS = "fake-gaussian,fake-slow,fake-crash"
SUITE = ("run", "--models", MODELS, "--datasets", "fake-images", "--metrics", "fake_nll")
ASKED = (*SUITE, "--budget", "16steps", "--seeds", "0-1", *PLUGINS)


@dataclass(frozen=True)
class Fault:
    """A process that ends itself at a named point.

    Attributes:
        where: ``run`` or ``worker``.
        when: ``before`` or ``after``.
        what: A file that gets its name, or a function ``module:name``.
        nth: Which time.
        all_of_them: End the run and all its workers too, as the end of a machine does.
    """

    where: str
    when: str
    what: str
    nth: int = 1
    all_of_them: bool = False


# What a run and its workers import in time: forked from a process that has, they start at once.
IMPORTED = ("flowbench.cli.app", "flowbench.runner.run", "torch._dynamo", "tests.faults.lab")

# A server imports that once; a process that it starts has it all.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(list(IMPORTED))

FILES_OF_RUN = ("job.json", "code.json", "owner.json", "record.json")
FILES_OF_WORKER = (
    "heartbeat.json",
    "curves.jsonl",
    "checkpoint.pt",
    "checkpoint.1.pt",
    "model.pt",
    "likelihoods.npz",
    "samples.npz",
    "record.json",
)
FUNCTIONS_OF_RUN = (
    "flowbench.store.ingest:_replace",
    "flowbench.store.ingest:_write",
    "flowbench.store.reconcile:load",
    "flowbench.store.reconcile:bring",
    "flowbench.store.migrations:_version",
    "flowbench.store.migrations:_check_whole",
    "flowbench.runner.schedule:claim",
    "flowbench.runner.schedule:bury",
    "flowbench.runner.attempt:ResultsDir.new_attempt",
    "flowbench.runner.ownership:Claim.release",
    "tests.faults.lab:ForkingExecutor.launch",
)


class ForkingExecutor(LocalExecutor):
    """Workers forked from this process."""

    def launch(self, folder: Path, slot: Slot, lifeline: Lifeline) -> ProcessGroup:
        pid = os.fork()
        if pid == 0:
            _be_a_worker(folder, lifeline)
        return ProcessGroup(Child(pid))


def _be_a_worker(folder: Path, lifeline: Lifeline) -> None:
    status = 1
    try:
        os.setsid()
        log = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        inherited = [n for n in (lifeline.lock, lifeline.alive) if n is not None]
        # As a start of a new Python would have it: or the pipe of the run never ends.
        for low, high in zip([2, *sorted(inherited)], [*sorted(inherited), 4096], strict=True):
            os.closerange(low + 1, high)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        if _fault is not None and _fault.where == "worker":
            _install(_fault)
        status = worker.main(str(folder), *map(str, inherited))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


_fault: Fault | None = None


def command(
    arguments: Sequence[str],
    fault: Fault | None = None,
    executor: type[LocalExecutor] = ForkingExecutor,
) -> int:
    """Runs a command in this process, which must not be of use for anything else.

    Returns:
        Its exit status.
    """
    global _fault
    _fault = fault
    from flowbench.cli.app import main
    from flowbench.runner import run
    from flowbench.runner.executors import local

    torch.set_num_threads(1)  # threads of its own do not come along when a worker is forked
    vars(local)["LocalExecutor"] = executor
    schedule.POLL_S, train.CHECKPOINT_EVERY_S, schedule.LOOK_EVERY_S = 0.02, 0.05, 0.1
    pulse.INTERVAL_S = 0.1
    # How long they wait for the database before they do without.
    outcomes.INGEST_WAIT_S = reconcile.READER_WAIT_S = 0.3
    vars(run)["reconcile"] = functools.partial(reconcile.reconcile, wait_s=1.0)
    if fault is not None and fault.where == "run":
        _install(fault)
    sys.argv = ["flowbench", *arguments]
    try:
        main()
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    return 0


def print_to(out: Path, err: Path) -> None:
    """Sends what this process prints to files."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)


def alone(
    results: Path,
    more: Sequence[str],
    printed: tuple[Path, Path] | None = None,
    executor: type[LocalExecutor] = ForkingExecutor,
) -> None:
    """One run as all that a process does; what it prints goes to files, if they are given."""
    if printed is not None:
        print_to(*printed)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run where it is ignored
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    tempfile.tempdir = str(results.parent)  # the queue of this machine is its own
    sys.exit(command([*ASKED, "--results", str(results), *more], executor=executor))


def _install(fault: Fault) -> None:
    """Puts a fault where it belongs, in this process alone."""
    if ":" in fault.what:
        owner, name = home_of(fault.what)
        setattr(owner, name, _deadly(getattr(owner, name), fault, lambda *_: True))
        return
    Path.replace = _deadly(Path.replace, fault, lambda _, to: Path(to).name == fault.what)  # type: ignore[method-assign]
    os.link = _deadly(os.link, fault, lambda _, to: Path(to).name == fault.what)


def home_of(what: str) -> tuple[Any, str]:
    """Where a function ``module:name`` is, and what it is called there."""
    module, _, path = what.partition(":")
    *owners, name = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), name


def _deadly(
    function: Callable[..., Any], fault: Fault, is_meant: Callable[..., bool]
) -> Callable[..., Any]:
    times = 0

    def replaced(*args: Any, **kwargs: Any) -> Any:
        nonlocal times
        counts = is_meant(*args)
        times += counts
        hit = counts and times == fault.nth
        if hit and fault.when == "before":
            _end(fault)
        result = function(*args, **kwargs)
        if hit:
            _end(fault)
        return result

    return replaced


def _end(fault: Fault) -> None:
    run = os.getpid() if fault.where == "run" else os.getppid()
    if fault.all_of_them:
        for pid in workers_of(run):
            _kill(pid)
        if run != 1:
            _kill(run)
    _kill(os.getpid())


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def workers_of(pid: int) -> list[int]:
    """The children of a process."""
    with contextlib.suppress(OSError):
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@contextlib.contextmanager
def own_machine(folder: Path) -> Iterator[None]:
    """Other runs of this machine measure nothing alone meanwhile."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
