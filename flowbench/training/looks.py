"""When a training looks at validation: that is not charged, so it must not outlast the budget."""

from __future__ import annotations

import math
from typing import Any

# Where on the way the validation split is looked at: early often, because curves bend early.
VALIDATE_AT = (0.0, 0.02, 0.05, *(i / 20 for i in range(2, 20)))
LOOK_SHARE = 0.1  # of a time limit, in which all looks together have to fit
SMALL = 1 / 8  # of a look, the least that is looked at
FEWEST = 3  # looks that have to fit, be it with fewer examples


def place_of(progress: float) -> float:
    """The place among `VALIDATE_AT` of a look: looks of several trainings come near it alike."""
    return max(at for at in VALIDATE_AT if at <= max(progress, 0.0))


class Looks:
    """The looks that are left, planned anew with what each of them took.

    Without a time limit all of `VALIDATE_AT` are taken whole, so that a training is reproducible.
    With one, the first two are `SMALL`: the second, when everything has run once, tells what a
    whole look takes. Where all of them would exceed `LOOK_SHARE`, only averaged weights are scored,
    if there is an average, and fewer looks are taken; where not even `FEWEST` would fit, each of
    the others is a part of one. The first and the last are always taken.

    Args:
        limit_s: Charged seconds that training may take; None without a limit.
        scores: Weights that a whole look scores: raw alone, or raw and averaged.

    Attributes:
        part: Part of a whole look that the next one is.
    """

    def __init__(self, limit_s: float | None, scores: int) -> None:
        self.share_s = math.inf if limit_s is None else LOOK_SHARE * limit_s
        self.spent_s = 0.0
        self.num = 0
        self.averaged_alone = False
        self.part = 1.0 if limit_s is None else SMALL
        self._scores = scores
        self._next = 0.0

    def due(self, progress: float) -> bool:
        """Whether it is time to look."""
        return progress >= self._next

    def taken(self, progress: float, seconds: float) -> None:
        """Plans the next look.

        Args:
            progress: Part of the budget that was used at this one.
            seconds: What it took.
        """
        self.spent_s += seconds
        self.num += 1
        if self.num == 1:  # of raw weights alone, since there is no average yet
            seconds *= self._scores
        elif self.num == 2 and self.part < 1.0:
            seconds = self._measured(seconds)
        later = [at for at in VALIDATE_AT if at > progress]
        affordable = self._affordable(seconds)
        # Evenly over what is left; one more gap than looks, since the last look is at the end.
        spaced = progress + (1.0 - progress) / (affordable + 1.0)
        # Only a place of the usual ones: curves of several seeds are then seen at the same points.
        self._next = next((at for at in later if at >= spaced or affordable == math.inf), math.inf)

    def _measured(self, seconds: float) -> float:
        """Decides what later looks are, from the seconds of a small one; returns those of each."""
        whole = seconds / self.part
        if self._scores > 1 and whole * len(VALIDATE_AT) > self.share_s:
            self.averaged_alone = True
            whole /= self._scores
        left_s = self.share_s - self.spent_s
        self.part = 1.0 if left_s >= FEWEST * whole else max(SMALL, left_s / (FEWEST * whole))
        return whole * self.part

    def _affordable(self, seconds: float) -> float:
        """Looks that fit into what is left of the share, the last one aside."""
        # A look that took no time, as in tests with a fake clock, is affordable for ever.
        if seconds <= 0.0 or self.share_s == math.inf:
            return math.inf
        return max(0, math.floor((self.share_s - self.spent_s) / seconds) - 1)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs of the plan."""
        names = ("spent_s", "num", "averaged_alone", "part", "_next")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what `state_dict` returned."""
        vars(self).update(state)
