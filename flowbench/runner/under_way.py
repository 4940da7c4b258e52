"""An attempt under way: what was asked, where it writes, who watches it, what is known of it."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flowbench.code_hash import CodeHashes
from flowbench.runner.attempt import AttemptDir, Phase, WorkOrder
from flowbench.runner.followers import Followers
from flowbench.runner.pulse import Pulse
from flowbench.runner.turnstile import Turnstile
from flowbench.training.clock import Clock
from flowbench.training.observer import Preempted
from flowbench.training.ranks import ALONE, Ranks

PAUSE_CHECK_EVERY_S = 0.25


def code_columns(code: CodeHashes | None) -> dict[str, Any]:
    """What a record says of the code that ran; nothing where it is not known."""
    if code is None:
        return {}
    return {
        "code_sha256": code.of_all,
        "model_code_sha256": code.of_model,
        "core_code": code.core,
        "model_code": code.model,
        "dataset_code": code.dataset,
    }


class Attempt:
    """One attempt while it runs.

    Args:
        stop: Set when the process is asked to stop.
        followers: The other processes of a job on several devices.

    Attributes:
        code: Hashes of the code that runs: as it was planned, until the worker has looked.
        known: What the record will say, as far as it is known. An attempt that fails is recorded
            with as much as it had found out.
    """

    def __init__(
        self,
        order: WorkOrder,
        directory: AttemptDir,
        clock: Clock,
        turnstile: Turnstile,
        pulse: Pulse,
        stop: threading.Event,
        followers: Followers | None = None,
    ) -> None:
        self.order, self.job = order, order.job
        self.directory, self.clock = directory, clock
        self.turnstile, self.pulse = turnstile, pulse
        self.source = None if order.resume is None else AttemptDir(Path(order.resume))
        self.code = directory.code()
        self.known = code_columns(self.code)
        self._stop, self._followers = stop, followers
        self._next_look = 0.0

    def note(self, **columns: Any) -> None:
        """Adds what is known now to what the record will say: columns of `AttemptRow`."""
        self.known.update(columns)

    def runs(self, code: CodeHashes) -> None:
        """Notes which code it runs; `code` has the hashes from then on."""
        self.code = code
        self.directory.write_code(code)
        self.note(**code_columns(code))

    def complain(self, line: str) -> None:
        """Says of a damaged file, in the log and in the record, that the attempt does without."""
        print(line, file=sys.stderr, flush=True)
        provenance = self.known.get("provenance", {})
        damage = [*provenance.get("damage", ()), line]
        self.note(provenance={**provenance, "damage": damage})

    def now(self, phase: Phase, detail: str = "") -> None:
        """Says in the heartbeat what is being done.

        Args:
            detail: The metric or file at hand, in a few words.
        """
        self.pulse.now(phase, detail)

    def asked_to_stop(self) -> bool:
        """Looks whether to stop, and waits while another job has the machine alone."""
        now = time.monotonic()
        # Not at each step: a small flow takes thousands a second, and a lock is a system call.
        if now >= self._next_look:
            self._next_look = now + PAUSE_CHECK_EVERY_S
            before = self.clock.part
            self.turnstile.pause_if_asked(waiting=lambda: self.clock.switch("wait"))
            if self.clock.part == "wait":  # it waited, and what it does now goes on
                self.clock.switch(before)
            if self.directory.is_asked_to_stop():  # by a host whose signals do not come here
                self._stop.set()
        return self._stop.is_set()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Gives this job the machine to itself; the wait for it is no time of the job's.

        Raises:
            TimeoutError: A process hangs that does not pause.
        """
        with ExitStack() as stack:
            with self.clock.timing("wait"):
                stack.enter_context(self.turnstile.alone())
            yield

    @contextmanager
    def together(self, device_kind: str) -> Iterator[Ranks]:
        """Has the processes of all devices of the job train; to wait for them is no training.

        Args:
            device_kind: What each of them computes on.

        Raises:
            RankLostError: One of them has ended.
        """
        if self._followers is None:
            yield ALONE
            return
        with ExitStack() as stack:
            with self.clock.timing("start"):
                ranks = stack.enter_context(self._followers.together(device_kind))
            yield ranks

    def breathe(self) -> None:
        """Between two pieces of work: stops if asked to, pauses if another job measures.

        Raises:
            Preempted: The process was asked to stop.
        """
        if self.asked_to_stop():
            raise Preempted

    def write_arrays(self, name: str, **arrays: Any) -> None:
        """Writes arrays into one compressed file of the attempt's directory.

        Args:
            name: Name of the ``.npz`` file.
        """
        buffer = io.BytesIO()
        # Into memory first, so that the file is written whole like all others.
        np.savez_compressed(buffer, **arrays)
        self.directory.write(name, buffer.getvalue())
