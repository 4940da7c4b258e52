"""Forked workers: what becomes of them, of their server, and of what they start."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowbench.api.executors import Lifeline
from flowbench.runner.executors import forks, local
from flowbench.runner.executors.base import LOG, Handle
from flowbench.runner.executors.left_over import end_left_over
from flowbench.runner.executors.local import LocalExecutor
from tests.faults.campaign import is_alive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks under Linux alone")
# A server without torch, whose workers do what a script in their folder says.
LIGHT = """
import os, sys, time
from pathlib import Path
from flowbench.runner import fork_server, worker

fork_server.IMPORTED = {imported}
worker.main = lambda folder, *files: exec(Path(folder, "does").read_text()) or 0
sys.exit(fork_server.main(*sys.argv[1:]))
"""
FACTS = """
import ctypes, json
found = {
    "pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "group": os.getpgid(0),
    "files": sorted(int(p.name) for p in [*Path("/proc/self/fd").iterdir()] if p.exists()),
    "given": sorted(map(int, files)), "argv": sys.argv[1], "cores": sorted(os.sched_getaffinity(0)),
    "threads": len(os.listdir("/proc/self/task")), "variable": os.environ["FLOWBENCH_ATTEMPT"],
}
Path(folder, "facts").write_text(json.dumps(found))
print("said")
"""
STARTS_ANOTHER = """
pid = os.fork()
if pid == 0:
    os.setsid() if {leaves} else None
    time.sleep(60)
Path(folder, "other").write_text(str(pid))
"""
WAITS = "Path(folder, 'runs').touch(); time.sleep(60)"


def light_server(monkeypatch: pytest.MonkeyPatch, imported: tuple[str, ...] = ()) -> None:
    monkeypatch.setattr(forks, "SERVER", ("-P", "-c", LIGHT.format(imported=imported)))


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalExecutor]:
    light_server(monkeypatch)
    made = LocalExecutor("cpu", num_jobs=1)
    yield made
    made.close()


def launch(
    executor: LocalExecutor, folder: Path, does: str, lifeline: Lifeline | None = None
) -> Handle:
    folder.mkdir(parents=True)
    (folder / "does").write_text(does)
    if lifeline is not None:
        return executor.launch(folder, executor.slots[0], lifeline)
    with (folder / "lock").open("w") as lock:
        return executor.launch(folder, executor.slots[0], Lifeline(lock.fileno(), None))


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(handle: Handle) -> int:
    wait_for(lambda: handle.poll() is not None)
    status = handle.poll()
    assert status is not None
    return status


def takes_in_orphans() -> bool:
    found = ctypes.c_int()
    assert ctypes.CDLL(None).prctl(37, ctypes.byref(found), 0, 0, 0) == 0  # PR_GET_CHILD_SUBREAPER
    return bool(found.value)


def server_of(executor: LocalExecutor) -> int:
    return executor._servers[0]._process.pid


def test_a_forked_worker_is_a_child_that_has_nothing_of_its_server(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    alive, writing_end = os.pipe()
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    assert ended(launch(executor, tmp_path / "1", FACTS, Lifeline(lock, alive))) == 0
    for number in (alive, writing_end, lock):
        os.close(number)
    facts = json.loads((tmp_path / "1" / "facts").read_text())
    assert facts["parent"] == os.getpid()
    assert facts["session"] == facts["group"] == facts["pid"] != server_of(executor)
    assert facts["files"] == [0, 1, 2, *facts["given"]]
    assert len(facts["given"]) == 2
    assert facts["argv"] == facts["variable"] == str(tmp_path / "1")
    assert facts["cores"] == sorted(os.sched_getaffinity(0))
    assert facts["threads"] == 1
    assert not takes_in_orphans()
    # One after another, all from one server; each prints into its own log, and ends in its way.
    before = server_of(executor)
    for does, status in (("sys.exit(3)", 3), ("os.kill(os.getpid(), 11)", -11), (FACTS, 0)):
        folder = tmp_path / f"then {status}"
        assert ended(launch(executor, folder, does)) == status
        assert (folder / LOG).read_text() == ("said\n" if status == 0 else "")
    assert server_of(executor) == before
    # Its lock is its own: who waits for it waits for no server.
    assert not [p for p in Path(f"/proc/{before}/fd").iterdir() if "lock" in str(p.readlink())]


@pytest.mark.parametrize("leaves", [False, True])
def test_what_a_forked_worker_starts_is_found(
    executor: LocalExecutor, tmp_path: Path, leaves: bool
) -> None:
    folder = tmp_path / "a name with spaces"
    handle = launch(executor, folder, STARTS_ANOTHER.format(leaves=leaves))
    told = folder / "other"
    wait_for(lambda: told.exists() and bool(told.read_text()))  # it is there before its content
    other = int(told.read_text())
    assert ended(handle) == 0
    if leaves:  # its own session: killing the group does not reach it
        assert is_alive(other)
        end_left_over(tmp_path / "another")
        assert is_alive(other)
        end_left_over(folder)
    wait_for(lambda: not is_alive(other))


@pytest.mark.slow
def test_a_worker_outlives_its_server_and_the_next_has_another(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = launch(executor, tmp_path / "1", WAITS)
    wait_for(lambda: handle.poll() is None and (tmp_path / "1" / "runs").exists())
    first = server_of(executor)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not is_alive(first))
    assert handle.poll() is None
    handle.terminate()
    assert ended(handle) == -signal.SIGTERM
    with monkeypatch.context() as patch:  # it ends after it was looked at
        patch.setattr(forks.ForkServer, "serves", lambda *_: True)
        assert ended(launch(executor, tmp_path / "2", FACTS)) == -signal.SIGKILL
    assert not takes_in_orphans()
    assert ended(launch(executor, tmp_path / "3", FACTS)) == 0
    assert server_of(executor) != first


@pytest.mark.slow
def test_another_environment_is_another_servers_and_so_is_edited_code(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = "print(os.environ.get('OF_A_PLUGIN'), os.environ['OMP_NUM_THREADS'])"
    found = []
    for name in ("before", "changed"):
        monkeypatch.setenv("OF_A_PLUGIN", name)
        assert ended(launch(executor, tmp_path / name, says)) == 0
        found.append((tmp_path / name / LOG).read_text().split())
    threads = str(executor.slots[0].num_threads)
    assert found == [["before", threads], ["changed", threads]]
    before = server_of(executor)
    assert ended(launch(executor, tmp_path / "as before", says)) == 0
    assert server_of(executor) == before
    monkeypatch.setattr(local, "core_sha256", lambda: "edited")
    assert ended(launch(executor, tmp_path / "edited", says)) == 0
    assert server_of(executor) != before


@pytest.mark.slow
@pytest.mark.parametrize("end", ["terminate", "kill", "itself"])
def test_a_server_that_ends_before_it_forks_is_a_worker_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    light_server(monkeypatch, ("of_no_such_name" if end == "itself" else "hangs",))
    executor = LocalExecutor("cpu", num_jobs=1)
    handle = launch(executor, tmp_path / "1", FACTS)
    assert handle.poll() is None
    assert takes_in_orphans()
    if end != "itself":
        getattr(handle, end)()
    expected = {"terminate": -signal.SIGTERM, "kill": -signal.SIGKILL, "itself": 1}
    assert ended(handle) == expected[end]
    assert ("of_no_such_name" in (tmp_path / "1" / LOG).read_text()) == (end == "itself")
    assert not takes_in_orphans()
    executor.close()


@pytest.mark.slow
def test_a_worker_that_was_asked_for_starts_though_its_run_ends(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    handle = launch(executor, tmp_path / "1", FACTS)
    server = server_of(executor)
    executor.close()
    wait_for((tmp_path / "1" / "facts").exists)
    wait_for(lambda: not is_alive(server))
    del handle
