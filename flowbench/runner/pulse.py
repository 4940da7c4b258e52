"""The worker's heartbeat: what it is doing, written every second by a thread of its own.

A thread, so that a long step or a slow sampler is not mistaken for a dead process; that something
takes too long is for the watchdog to say, from the part and the seconds in the heartbeat.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from flowbench.runner.attempt import HEARTBEAT, AttemptDir, Heartbeat, Phase

INTERVAL_S = 1.0


@dataclass(frozen=True)
class _Within:
    """Work that belongs to what is being done."""

    phase: Phase
    done: float
    begun: float


class Pulse:
    """Writes heartbeats until it is stopped."""

    def __init__(self, directory: AttemptDir, clock: Any) -> None:
        self._directory = directory
        self._clock = clock
        # An event and no flag: the thread waits for its next beat and its end at once.
        self._ended = threading.Event()
        self._last_step, self._last_train_s = 0, 0.0
        self._steps_per_s: float | None = None
        self._phase: Phase = "preparing"
        self._detail = ""
        self._within: _Within | None = None
        self.step = 0
        self.progress = 0.0
        self.evaluation_s: float | None = None
        self.evaluation_draws = 1
        self.score: float | None = None
        self.score_unit = "bpd"
        self.whole_batch: str | None = None
        self._begin()

    def _begin(self) -> None:
        self._ended.clear()
        self._thread = threading.Thread(target=self._beat_until_ended, daemon=True)
        self._thread.start()

    def resume(self, phase: Phase, detail: str) -> None:
        """Goes on after `stop`, with something else to be done."""
        self.now(phase, detail)
        self._begin()

    def now(self, phase: Phase, detail: str = "") -> None:
        """Says what is being done from now on.

        Args:
            detail: The metric or file at hand, in a few words.
        """
        self._phase, self._detail, self._within = phase, detail, None

    def within(self, phase: Phase, done: float) -> None:
        """Says how far work is that belongs to what is being done, which goes on at its end.

        Args:
            done: Part of the work, in [0, 1].
        """
        begun = time.monotonic()
        if self._within is not None and self._within.phase == phase:
            begun = self._within.begun
        self._within = None if done >= 1.0 else _Within(phase, done, begun)

    def stop(self) -> None:
        """Writes the last heartbeat."""
        self._ended.set()
        self._thread.join(timeout=5 * INTERVAL_S)
        self._write()

    def _beat_until_ended(self) -> None:
        while True:
            self._write()
            if self._ended.wait(INTERVAL_S):
                return

    def _write(self) -> None:
        try:
            self._directory.write(HEARTBEAT, self._heartbeat().model_dump_json())
        except OSError:  # a full disk must not end the thread; the watchdog sees the silence
            return

    def _heartbeat(self) -> Heartbeat:
        charged, part, within = self._clock.charged_s, self._clock.part, self._within
        phase, done, left_s = self._phase, None, None
        if phase == "training":
            phase = "looking" if part == "eval" else phase
            done, left_s = self.progress, _left_s(charged, self.progress)
        elif within is not None:
            phase, done = within.phase, within.done
            left_s = _left_s(time.monotonic() - within.begun, done)
        if part == "wait":
            phase = "paused"
        return Heartbeat(
            pid=os.getpid(),
            part=part,
            phase=phase,
            detail=self._detail,
            done=done,
            left_s=left_s,
            evaluation_s=self.evaluation_s if self._phase == "training" else None,
            evaluation_draws=self.evaluation_draws,
            charged_s=charged,
            waited_s=self._clock.waited_s,
            progress=self.progress,
            step=self.step,
            steps_per_s=self._rate(charged),
            score=self.score,
            score_unit=self.score_unit,
            whole_batch=self.whole_batch,
            beat=time.monotonic(),
        )

    def _rate(self, charged: float) -> float | None:
        steps, seconds = self.step - self._last_step, charged - self._last_train_s
        # Just after a pause a step may be counted with hardly any time charged for it yet.
        if steps > 0 and seconds >= INTERVAL_S / 2:
            self._last_step, self._last_train_s = self.step, charged
            self._steps_per_s = steps / seconds
        return self._steps_per_s


def _left_s(spent_s: float, done: float) -> float | None:
    """Seconds that the rest takes at the pace so far; None before a hundredth is done."""
    return spent_s * (1.0 / done - 1.0) if 0.01 <= done <= 1.0 else None
