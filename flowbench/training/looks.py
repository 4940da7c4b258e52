"""When a training looks at validation: that is not charged, so it must not outlast the budget."""

from __future__ import annotations

import math
from typing import Any

# Where on the way the validation split is looked at: early often, because curves bend early.
VALIDATE_AT = (0.0, 0.02, 0.05, *(i / 20 for i in range(2, 20)))
LOOK_SHARE = 0.1  # of a time limit, in which all looks together have to fit


class Looks:
    """The looks that are left, planned anew with what each of them took.

    Without a time limit all of `VALIDATE_AT` are taken, so that a training is reproducible. With
    one, fewer are taken where all of them would exceed `LOOK_SHARE` of it, and then only averaged
    weights are scored, where there is an average. The first and the last look are always taken.

    Args:
        limit_s: Charged seconds that training may take; None without a limit.
        scores: Weights that a full look scores: raw alone, or raw and averaged.
    """

    def __init__(self, limit_s: float | None, scores: int) -> None:
        self.share_s = math.inf if limit_s is None else LOOK_SHARE * limit_s
        self.spent_s = 0.0
        self.num = 0
        self.averaged_alone = False
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
            full = seconds * self._scores * len(VALIDATE_AT)
            self.averaged_alone = self._scores > 1 and full > self.share_s
            seconds *= 1 if self.averaged_alone else self._scores
        later = [at for at in VALIDATE_AT if at > progress]
        affordable = self._affordable(seconds)
        # Evenly over what is left; one more gap than looks, since the last look is at the end.
        spaced = progress + (1.0 - progress) / (affordable + 1.0)
        # Only a place of the usual ones: curves of several seeds are then seen at the same points.
        self._next = next((at for at in later if at >= spaced or affordable == math.inf), math.inf)

    def _affordable(self, seconds: float) -> float:
        """Looks that fit into what is left of the share, the last one aside."""
        # A look that took no time, as in tests with a fake clock, is affordable for ever.
        if seconds <= 0.0 or self.share_s == math.inf:
            return math.inf
        return max(0, math.floor((self.share_s - self.spent_s) / seconds) - 1)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs of the plan."""
        names = ("spent_s", "num", "averaged_alone", "_next")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what `state_dict` returned."""
        vars(self).update(state)
