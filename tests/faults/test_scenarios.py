"""What befalls runs in a laboratory: signals, company, a second host, a database that is held."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import duckdb
import pytest

from flowbench.runner.attempt import HEARTBEAT
from flowbench.runner.executors.base import LOG
from flowbench.runner.executors.local import LocalExecutor
from flowbench.runner.ownership import owner_of
from flowbench.store.queries import list_attempts
from flowbench.store.reconcile import readable
from tests.faults import lab
from tests.faults.campaign import is_alive

pytestmark = pytest.mark.slow
TOP = Path(__file__).parents[2]
SLOW = ("--models", "fake-slow", "--budget", "60steps")  # about 3 s of training
LONG = ("--models", "fake-slow", "--budget", "100steps", "--seeds", "0")  # a second run comes to it


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


NUMBERS = itertools.count()


@dataclass(frozen=True)
class Run:
    """``flowbench run`` in a process of its own."""

    process: ForkServerProcess
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it printed, once it has ended."""
        self.process.join(timeout)
        assert self.returncode is not None, f"it did not end within {timeout:g} s"
        return self.out.read_text("utf-8"), self.err.read_text("utf-8")

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


@contextlib.contextmanager
def running(
    results: Path, *more: str, executor: type[LocalExecutor] = lab.ForkingExecutor
) -> Iterator[Run]:
    """A run that is killed in the end at the latest."""
    number = next(NUMBERS)
    out, err = results.with_name(f"{number}.out"), results.with_name(f"{number}.err")
    process = lab.PROCESSES.Process(target=lab.alone, args=(results, more, (out, err), executor))
    process.start()
    try:
        yield Run(process, out, err)
    finally:
        process.kill()
        process.join()


def wait_for(condition: Callable[[], object], within_s: float = 90.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def steps(results: Path) -> int:
    """Steps that the workers of a folder have done."""
    found = 0
    for path in results.glob(f"runs/*/*/{HEARTBEAT}"):
        with contextlib.suppress(OSError, ValueError):
            found += json.loads(path.read_bytes())["step"]
    return found


def hangs(results: Path) -> bool:
    """Whether a worker of ``fake-hang`` is in its first step, as its log says."""
    return any(b"hangs" in path.read_bytes() for path in results.glob(f"runs/*/*/{LOG}"))


def workers(results: Path) -> list[int]:
    paths = results.glob(f"runs/*/*/{HEARTBEAT}")
    return [json.loads(path.read_bytes())["pid"] for path in paths]


def statuses(results: Path) -> list[str]:
    with readable(results) as folder:
        return sorted(row["status"] for row in list_attempts(folder))


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "USR1"])
def test_each_signal_saves_and_the_same_command_goes_on(results: Path, name: str) -> None:
    with running(results, *SLOW, "--seeds", "0") as run:
        wait_for(lambda: steps(results) > 3)
        run.send_signal(signal.Signals[f"SIG{name}"])
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "run the same command again to go on from there" in err
    assert statuses(results) == ["preempted"]
    with running(results, *SLOW, "--seeds", "0") as run:
        _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "1 resumed (was preempted)" in err
    assert statuses(results) == ["ok", "preempted"]


def test_a_second_signal_ends_it_now_and_is_recorded(results: Path) -> None:
    with running(results, "--models", "fake-hang", "--budget", "60s", "--seeds", "0") as run:
        wait_for(lambda: hangs(results))  # until then it saves and goes at the first
        run.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=20)
    assert run.returncode == 130, err
    assert statuses(results) == ["killed"]


@pytest.mark.parametrize("executor", [lab.ForkingExecutor, LocalExecutor])
def test_a_run_that_is_killed_leaves_no_worker_and_the_next_has_every_job(
    results: Path, executor: type[LocalExecutor]
) -> None:
    with running(results, *SLOW, executor=executor) as run:
        wait_for(lambda: steps(results) > 3)
        left = [*workers(results), *lab.workers_of(run.pid)]  # what forks them is among these
        run.send_signal(signal.SIGKILL)
        with running(results, *SLOW) as again:  # at once
            out, err = again.communicate(timeout=90)
    assert again.returncode == 0, err
    assert "n=2" in out, "the table holds both seeds"
    wait_for(lambda: not any(map(is_alive, left)))
    assert statuses(results).count("ok") == 2
    assert set(statuses(results)) <= {"ok", "preempted", "killed"}
    assert not [job for job in results.glob("runs/*") if owner_of(job)]


@pytest.mark.parametrize("executor", [lab.ForkingExecutor, LocalExecutor])
def test_detached_workers_go_on_and_the_next_run_has_their_results(
    results: Path, executor: type[LocalExecutor]
) -> None:
    with running(results, *LONG, "--detach", executor=executor) as run:
        wait_for(lambda: steps(results) > 3)
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=20)
    assert "workers go on by themselves" in err
    with running(results, *LONG) as run:
        _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "running elsewhere (" in err
    assert statuses(results) == ["ok"]


@pytest.mark.parametrize("num", [2, 3])
def test_runs_on_one_folder_share_the_queue(results: Path, num: int) -> None:
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(running(results)) for _ in range(num)]
        ends = [run.communicate(timeout=150) for run in runs]
    tables = {out for out, _ in ends}
    assert len(tables) == 1, "each has every job in its table"
    assert {run.returncode for run in runs} == {1}, "a job of the suite crashes"
    assert statuses(results) == ["crashed"] * 2 + ["ok"] * 4
    for _, err in ends:
        assert "Traceback" not in err


def test_runs_of_other_jobs_stand_in_nobodys_way(results: Path) -> None:
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(running(results, *SLOW, "--seeds", seed)) for seed in "012"]
        for run in runs:
            _, err = run.communicate(timeout=120)
            assert run.returncode == 0, err
            assert "elsewhere" not in err
    assert statuses(results) == ["ok"] * 3


def test_a_job_of_another_run_is_named_where_nobody_waits(results: Path) -> None:
    with running(results, *LONG) as first:
        wait_for(lambda: steps(results) > 3)
        with running(results, *LONG, "--no-wait") as second:
            _, err = second.communicate(timeout=60)
        assert second.returncode == 1
        assert f"running elsewhere ({os.uname().nodename}, pid {first.pid}, since" in err
        first.communicate(timeout=60)
    assert first.returncode == 0
    assert statuses(results) == ["ok"]


def test_a_metric_that_ends_its_process_is_told_by_the_exit_status(results: Path) -> None:
    asked = ("--models", "fake-gaussian", "--budget", "16steps", "--seeds", "0")
    with running(results, *asked, "--metrics", "fake_nll,fake_segfault") as run:
        out, err = run.communicate(timeout=90)
    assert run.returncode == 1, err
    assert "the worker ended by SIGSEGV while measuring fake_segfault" in " ".join(err.split())
    assert "failed: fake_segfault: the worker died while it was measured" in err
    assert statuses(results) == ["crashed"]
    with running(results, *asked, "--metrics", "fake_nll", "--rerun", "failed") as run:
        out, err = run.communicate(timeout=90)
    assert run.returncode == 0, err
    assert "fake-gaussian" in out


def test_what_ran_out_of_memory_is_done_in_parts_whatever_is_killed(results: Path) -> None:
    asked = ("--models", "fake-large", "--budget", "16steps", "--seeds", "0")
    half = (*asked, "--on-oom", "half-batch")
    with running(results, *half) as run:
        wait_for(lambda: len(list(results.glob("runs/*/1"))) == 2)  # that in two parts has begun
        run.send_signal(signal.SIGKILL)
    with running(results, *half) as run:
        out, err = run.communicate(timeout=90)
    assert run.returncode == 0, err
    assert "batch in 4 parts" in out
    assert "oom: fake-large:images on fake-images, seed 0: tried to allocate" in err
    assert "(tried again: batch in 4 parts)" in err
    assert statuses(results).count("ok") == 1
    before = statuses(results)
    with running(results, *half) as run:
        again, err = run.communicate(timeout=60)
    assert (run.returncode, again, statuses(results)) == (0, out, before), err
    with running(results, *asked) as run:
        _, err = run.communicate(timeout=60)
    assert run.returncode == 1, err


def test_what_couples_its_batch_is_not_done_in_parts(results: Path) -> None:
    asked = ("--models", "fake-coupled", "--budget", "16steps", "--seeds", "0")
    with running(results, *asked, "--on-oom", "half-batch") as run:
        _, err = run.communicate(timeout=60)
    assert run.returncode == 1, err
    reason = "a batch has to go through the model whole: its loss pairs the examples of a batch"
    assert reason in " ".join(err.split())
    assert statuses(results) == ["oom"]


NAMESPACE = ("unshare", "-p", "-f", "--mount-proc")
SECOND = """
import importlib, pathlib, sys
from tests.faults import lab
for name in lab.IMPORTED:
    importlib.import_module(name)
print("ready", flush=True)
sys.stdin.readline()
lab.alone(pathlib.Path(sys.argv[1]), sys.argv[2:])
"""


def can_make_a_namespace() -> bool:
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode
    )


@pytest.mark.skipif(not can_make_a_namespace(), reason="makes a namespace of process ids")
def test_a_second_host_waits_for_what_the_first_is_doing(results: Path) -> None:
    """Numbers of processes mean nothing there: the case that was run twice."""
    second = subprocess.Popen(
        [*NAMESPACE, sys.executable, "-c", SECOND, str(results), *LONG],
        cwd=TOP,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with second:
        assert second.stdout is not None
        assert second.stdout.readline() == "ready\n"
        with running(results, *LONG) as first:
            wait_for(lambda: steps(results) > 3)
            _, err = second.communicate("\n", timeout=90)
            assert second.returncode == 0, err
            assert "running elsewhere (" in err
            first.communicate(timeout=60)
    assert first.returncode == 0
    assert statuses(results) == ["ok"]


@pytest.mark.parametrize("read_only", [True, False], ids=["reader", "writer"])
def test_a_database_that_is_held_all_the_time_costs_a_word(results: Path, read_only: bool) -> None:
    results.mkdir()
    path = results / "flowbench.duckdb"
    duckdb.connect(str(path)).close()
    code = (
        "import duckdb, sys; held = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == 'True'); "
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(read_only)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with running(results) as run:
        out, err = run.communicate(timeout=120)
    holder.communicate()
    assert run.returncode == 1, err  # a job of the suite crashes
    assert "fake-gaussian" in out
    assert "Traceback" not in err
    assert statuses(results) == ["crashed"] * 2 + ["ok"] * 4


@pytest.mark.long
@pytest.mark.parametrize(("kills", "seed"), [(25, 1)])
def test_a_campaign_of_kills(kills: int, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.campaign", f"--kills={kills}", f"--seed={seed}"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert f"{kills} kills, 0 wrong" in done.stdout


def test_the_laboratory_names_points_that_exist() -> None:
    """Else a campaign would kill nobody."""
    for what in lab.FUNCTIONS_OF_RUN:
        owner, name = lab.home_of(what)
        assert callable(getattr(owner, name))
