"""Who is at work on a job: a lock that ends with those who hold it, and a file that says who.

The run takes ``owner.lock`` in the job's folder, and its worker inherits the open file: the system
lets go of the lock when both have ended, however they did. ``owner.json`` says who the run is. Not
every file system passes locks on to other hosts, and some have none even for their own: where no
lock can tell, a job belongs to whom its ``owner.json`` names as long as its heartbeat is fresh.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flowbench.files import write_whole
from flowbench.runner.attempt import HEARTBEAT, SILENCE_S
from flowbench.store.attempt_files import RECORD

LOCK, OWNER = "owner.lock", "owner.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)


class Owner(BaseModel):
    """The run that has a job.

    Attributes:
        host: Name of its machine.
        boot: What tells the machine's kernel from all others, which share no locks with it.
        pid: The run's process, in its own numbering.
        started: When it took the job, UTC, ISO 8601.
        command: Its command line.
        attempt: Number of the attempt; None before there is one.
        detached: Whether its workers outlive it.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    boot: str
    pid: int
    started: str
    command: tuple[str, ...] = ()
    attempt: int | None = None
    detached: bool = False

    @classmethod
    def of_this_process(cls, **fields: object) -> Owner:
        """This process, with what it says of itself."""
        mine = {"host": socket.gethostname(), "boot": _boot_id(), "pid": os.getpid()}
        return cls.model_validate(mine | fields)

    def __str__(self) -> str:
        return f"running elsewhere ({self.host}, pid {self.pid}, since {self.started})"


class Claim:
    """A job that this process has taken.

    Args:
        folder: The job's folder.
        lock: The open file that holds its lock.

    Attributes:
        lock: Workers inherit it.
    """

    def __init__(self, folder: Path, lock: int, owner: Owner) -> None:
        self._folder, self.lock, self._owner = folder, lock, owner

    def begins(self, attempt: int) -> None:
        """Says which attempt is under way."""
        self._owner = self._owner.model_copy(update={"attempt": attempt})
        write_whole(self._folder / OWNER, self._owner.model_dump_json())

    def release(self) -> None:
        """Lets go of the job."""
        try:
            # First: who takes the lock next must find no trace of this process.
            (self._folder / OWNER).unlink(missing_ok=True)
        finally:
            self.leave()

    def leave(self) -> None:
        """Leaves the job to the worker that has inherited the lock."""
        os.close(self.lock)


def claim(folder: Path, owner: Owner) -> Claim | Owner | None:
    """Takes a job, if nobody has it.

    Args:
        folder: The job's folder; made if need be.
        owner: Who takes it.

    Returns:
        The claim; else the owner, None where that cannot be known yet.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        locked = _locks(lock, fcntl.LOCK_EX)
        if locked is False:
            os.close(lock)
            return _said(folder)
        left = (folder / OWNER).exists()
        if (other := _elsewhere(folder, locked)) is not None:
            os.close(lock)
            return other
        if left:  # by a process that is gone; what came since is of one that has the job
            (folder / OWNER).unlink(missing_ok=True)
        _put_word(folder, owner)
    except FileExistsError:
        os.close(lock)
        return _said(folder)
    except BaseException:
        os.close(lock)
        raise
    return Claim(folder, lock, owner)


def owner_of(folder: Path) -> Owner | None:
    """Who is at work on a job; changes nothing.

    Args:
        folder: The job's folder.

    Returns:
        The owner; None if nobody is, or if it is not known who.
    """
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # never claimed
        return None
    try:
        locked = _locks(lock, fcntl.LOCK_SH)
        return _said(folder) if locked is False else _elsewhere(folder, locked)
    finally:
        os.close(lock)


def _put_word(folder: Path, owner: Owner) -> None:
    """Says who has a job, where nobody has said so.

    Raises:
        FileExistsError: Somebody has: where two see no lock of each other, one gets the job.
        OSError: The folder cannot be written.
    """
    text = owner.model_dump_json()
    whole = folder / f".{OWNER}.{owner.host}.{owner.pid}"
    whole.write_text(text, encoding="utf-8")
    try:
        # It either makes the name, with all that is in it, or says that it exists.
        os.link(whole, folder / OWNER)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        # So does this, but for a moment the word is not whole.
        with (folder / OWNER).open("x", encoding="utf-8") as file:
            file.write(text)
    finally:
        whole.unlink()


def _locks(lock: int, kind: int) -> bool | None:
    """Takes a lock, if nobody has it.

    Returns:
        Whether it is taken; None where the file system has no locks.

    Raises:
        OSError: The file system fails.
    """
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError as exc:
        if isinstance(exc, BlockingIOError):
            return False
        if exc.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _said(folder: Path) -> Owner | None:
    try:
        return Owner.model_validate(json.loads((folder / OWNER).read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None


def _elsewhere(folder: Path, locked: bool | None) -> Owner | None:
    """Who has a job although no lock says so: a run whose locks are not seen, while it lives.

    Args:
        locked: What `_locks` said: locks tell of every process of this host, where there are any.
    """
    owner = _said(folder)
    if owner is None or (locked and owner.boot == _boot_id()):
        return None
    attempt = folder / str(owner.attempt)
    if (attempt / RECORD).exists():
        return None
    signs = [_written(path) for path in (folder / OWNER, attempt / HEARTBEAT)]
    return owner if _now(folder) - max(signs) < SILENCE_S else None


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _now(folder: Path) -> float:
    """The present moment by the clock of the file system, which wrote the other times too."""
    probe = folder / f".clock-{socket.gethostname()}-{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:  # a folder that can only be read
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        return socket.gethostname()
