"""The worker's heartbeat: what it is doing, written every second by a thread of its own.

A thread, so that a long step or a slow sampler is not mistaken for a dead process; that something
takes too long is for the watchdog to say, from the part and the seconds in the heartbeat.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from flowbench.runner.attempt import HEARTBEAT, AttemptDir, Heartbeat

INTERVAL_S = 1.0


class Pulse:
    """Writes heartbeats until it is stopped."""

    def __init__(self, directory: AttemptDir, clock: Any) -> None:
        self._directory = directory
        self._clock = clock
        self._ended = threading.Event()
        self._last_step, self._last_train_s = 0, 0.0
        self._steps_per_s: float | None = None
        self.doing = "starting"
        self.step = 0
        self.progress = 0.0
        self.score: float | None = None
        self.score_unit = "bpd"
        self._thread = threading.Thread(target=self._beat_until_ended, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Writes the last heartbeat."""
        self._ended.set()
        self._thread.join(timeout=5 * INTERVAL_S)

    def _beat_until_ended(self) -> None:
        while True:
            self._write()
            if self._ended.wait(INTERVAL_S):
                return

    def _write(self) -> None:
        charged = self._clock.charged_s
        heartbeat = Heartbeat(
            pid=os.getpid(),
            part=self._clock.part,
            doing=self.doing,
            charged_s=charged,
            progress=self.progress,
            step=self.step,
            steps_per_s=self._rate(charged),
            score=self.score,
            score_unit=self.score_unit,
            beat=time.monotonic(),
        )
        try:
            self._directory.write(HEARTBEAT, heartbeat.model_dump_json())
        except OSError:  # a full disk must not end the thread; the watchdog sees the silence
            return

    def _rate(self, charged: float) -> float | None:
        steps, seconds = self.step - self._last_step, charged - self._last_train_s
        # Just after a pause a step may be counted with hardly any time charged for it yet.
        if steps > 0 and seconds >= INTERVAL_S / 2:
            self._last_step, self._last_train_s = self.step, charged
            self._steps_per_s = steps / seconds
        return self._steps_per_s
