"""Who has a job: told by a lock where one is seen, else by the age of a heartbeat."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from flowbench.runner import ownership
from flowbench.runner.attempt import HEARTBEAT, SILENCE_S
from flowbench.runner.ownership import OWNER, Claim, Owner, claim, owner_of
from flowbench.store.attempt_files import RECORD


def me(**fields: object) -> Owner:
    return Owner.of_this_process(**{"started": "noon", **fields})


def taken(folder: Path, **fields: object) -> Claim:
    found = claim(folder, me(**fields))
    assert isinstance(found, Claim)
    return found


def refusing(number: int) -> Callable[..., None]:
    """What a file system does that lacks something."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def aged(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_a_job_has_one_owner_until_it_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    assert owner_of(folder) is None
    first = taken(folder, command=("flowbench", "run"))
    first.begins(3)
    other = claim(folder, me())
    assert other == owner_of(folder) == me(command=("flowbench", "run"), attempt=3)
    assert str(other) == f"running elsewhere ({me().host}, pid {os.getpid()}, since noon)"
    first.release()
    assert owner_of(folder) is None
    assert sorted(path.name for path in folder.iterdir()) == ["owner.lock"]
    taken(folder).release()


def test_of_many_that_come_at_once_one_gets_the_job(tmp_path: Path) -> None:
    start, found = threading.Barrier(8), []

    def come() -> None:
        start.wait()
        found.append(claim(tmp_path, me()))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (claimed,) = [one for one in found if isinstance(one, Claim)]
    claimed.release()


def test_a_worker_keeps_the_job_of_a_run_that_is_gone(tmp_path: Path) -> None:
    code = "import sys; print('on', flush=True); sys.stdin.read()"
    run = taken(tmp_path)
    worker = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[run.lock],
        text=True,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "on\n"
    run.leave()
    assert claim(tmp_path, me()) == me()
    worker.communicate()
    assert (tmp_path / OWNER).exists()  # nobody was there to remove it
    taken(tmp_path).release()


@pytest.mark.parametrize("locks", [True, False], ids=["locks not shared", "no locks at all"])
def test_a_job_of_another_host_is_its_own_while_its_heartbeat_is_fresh(
    tmp_path: Path, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not locks:
        monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    with monkeypatch.context() as there:
        there.setattr(ownership, "_boot_id", lambda: "another kernel")
        far = taken(tmp_path, host="far")
        far.begins(1)
        far.leave()
        owner = far._owner
    attempt = tmp_path / "1"
    attempt.mkdir()
    assert claim(tmp_path, me()) == owner  # before the first heartbeat
    (attempt / HEARTBEAT).touch()
    aged(tmp_path / OWNER, 10 * SILENCE_S)
    assert claim(tmp_path, me()) == owner_of(tmp_path) == owner
    aged(attempt / HEARTBEAT, 2 * SILENCE_S)
    assert owner_of(tmp_path) is None
    taken(tmp_path).release()
    assert not (tmp_path / OWNER).exists()


def test_a_job_that_another_host_has_ended_is_free_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        there.setattr(ownership, "_boot_id", lambda: "another kernel")
        far = taken(tmp_path)
        far.begins(1)
        far.leave()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / RECORD).touch()
    taken(tmp_path).release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"host": 1}'])
def test_a_damaged_word_of_the_owner_changes_nothing(tmp_path: Path, content: bytes) -> None:
    first = taken(tmp_path)
    (tmp_path / OWNER).write_bytes(content)
    assert claim(tmp_path, me()) is None
    first.release()
    (tmp_path / OWNER).write_bytes(content)
    taken(tmp_path).release()


def test_without_locks_one_of_two_hosts_gets_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find the job free: the name of the file can be made by one alone."""
    monkeypatch.setattr(ownership, "_locks", lambda lock, kind: None)
    first: list[Claim] = []

    def elsewhere(folder: Path, locked: bool | None) -> None:
        with monkeypatch.context() as other:  # it comes in between
            other.setattr(ownership, "_elsewhere", lambda folder, locked: None)
            first.append(taken(folder))

    monkeypatch.setattr(ownership, "_elsewhere", elsewhere)
    assert claim(tmp_path, me()) == me()
    first[0].leave()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_without_locks_a_run_on_the_same_host_is_seen_by_its_heartbeat(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    first = taken(tmp_path)
    first.begins(1)
    assert claim(tmp_path, me()) == owner_of(tmp_path) == me(attempt=1)
    first.release()
    assert owner_of(tmp_path) is None
    first = taken(tmp_path)
    first.leave()  # it was killed
    aged(tmp_path / OWNER, 2 * SILENCE_S)
    taken(tmp_path).release()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_needs_no_hard_links(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refusing(number))
    first = taken(tmp_path)
    assert claim(tmp_path, me()) == owner_of(tmp_path) == me()
    with pytest.raises(FileExistsError):
        ownership._put_word(tmp_path, me())
    first.release()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["owner.lock"]


def test_a_folder_that_cannot_be_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        claim(tmp_path, me())
