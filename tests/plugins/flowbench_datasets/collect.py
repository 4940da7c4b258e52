"""Puts the pieces that a converter yields together again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from flowbench.api import Split
from flowbench.api.specs import SplitName


def collect(pieces: Iterable[tuple[SplitName, Split]]) -> dict[str, Split]:
    found: dict[str, list[Split]] = {}
    for name, piece in pieces:
        found.setdefault(name, []).append(piece)
    return {
        name: Split(
            x=np.concatenate([s.x for s in splits]),
            context={k: np.concatenate([s.context[k] for s in splits]) for k in splits[0].context},
        )
        for name, splits in found.items()
    }
