"""The ledger: one monotonic clock, and at every moment exactly one part that it runs for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, get_args

from flowbench.training.run_delay import RunDelay

Part = Literal[
    "start",  # process start and imports, opening the data
    "setup",  # model build, data-dependent initialisation
    "compile",  # torch.compile's first call
    "data",  # waiting for a training batch
    "train",  # optimizer steps
    "eval",  # validation and test evaluation
    "checkpoint",  # writing files
    "wait",  # paused while another job of this machine measures latency
    "other",  # what no timer claims
]
PARTS: tuple[Part, ...] = get_args(Part)
CHARGED: frozenset[Part] = frozenset({"setup", "compile", "data", "train"})
LAP_S = 1.0  # threads that wait in turn are told apart within it


class Clock:
    """Charges every second since its begin to one part.

    Args:
        now: Monotonic time in seconds.
        begin: Moment from which to count; the worker gives that of its spawn.

    Attributes:
        run_delay: What charged parts waited for a core.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        begin: float | None = None,
    ) -> None:
        self.run_delay = RunDelay()
        self._now = now
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._part: Part = "start"
        self._since = self._lap_began = now() if begin is None else begin

    @property
    def part(self) -> Part:
        """The part that the clock runs for now."""
        return self._part

    def switch(self, part: Part) -> Part:
        """Charges the time since the last switch, and runs for another part from now on.

        Args:
            part: The part to run for.

        Returns:
            The part that it ran for.
        """
        # Asked once: between two readings a moment would belong to no part.
        moment = self._now()
        self._seconds[self._part] += moment - self._since
        before, self._part, self._since = self._part, part, moment
        charged = before in CHARGED
        if charged != (part in CHARGED) or (charged and moment - self._lap_began > LAP_S):
            self.run_delay.lap(counts=charged)
            self._lap_began = moment
        return before

    @contextmanager
    def timing(self, part: Part) -> Iterator[None]:
        """Runs for a part within a block, then for the one before it again.

        Args:
            part: The part to run for.
        """
        before = self.switch(part)
        try:
            yield
        finally:
            self.switch(before)

    def carry(self, ledger: Mapping[str, float], run_delay_s: float | None) -> None:
        """Adds what earlier attempts at the same job have spent.

        Args:
            ledger: Their seconds by part.
            run_delay_s: What they waited for a core; None where it is not known.
        """
        for part in PARTS:
            self._seconds[part] += float(ledger.get(part, 0.0))
        self.run_delay.carry(run_delay_s)

    @property
    def charged_s(self) -> float:
        """Seconds charged to the budget, up to now."""
        # A budget ends in the middle of a part, so what runs now counts as well.
        running = self._now() - self._since if self._part in CHARGED else 0.0
        return sum(self._seconds[part] for part in CHARGED) + running

    @property
    def waited_s(self) -> float:
        """Seconds spent waiting for other jobs, up to now."""
        running = self._now() - self._since if self._part == "wait" else 0.0
        return self._seconds["wait"] + running

    def ledger(self) -> dict[str, float]:
        """Seconds of each part, up to now.

        Returns:
            Seconds by part, in the order of `PARTS`; they sum to the wall time.
        """
        # To itself: this books the time of the part that still runs.
        self.switch(self._part)
        return {part: self._seconds[part] for part in PARTS}
