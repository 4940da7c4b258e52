"""Names of jobs in little room: only what tells them apart, shortened in the middle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.cells import cell_len

from flowbench.store.records import JobRow


def telling_names(jobs: Sequence[JobRow]) -> tuple[list[str], str]:
    """What tells jobs apart, and what all of them share.

    Returns:
        A name for each: the model, its settings, the dataset, the seed and the parts of its batches
        where these differ; and those of them that are the same for all, in words.
    """
    shared = []
    # Of one job the settings are no news.
    several = len({job.settings for job in jobs}) > 1
    names = [job.configured if several else f"{job.model}:{job.preset}" for job in jobs]
    if len({job.dataset for job in jobs}) == 1:
        shared.append(f"on {jobs[0].dataset}")
    else:
        names = [f"{name} {job.dataset}" for name, job in zip(names, jobs, strict=True)]
    if len({job.seed for job in jobs}) == 1:
        shared.append(f"seed {jobs[0].seed}")
    else:
        names = [f"{name} s{job.seed}" for name, job in zip(names, jobs, strict=True)]
    if len({job.num_parts for job in jobs}) == 1:
        shared.append(jobs[0].in_parts)
    else:
        names = [f"{n} {j.in_parts}".rstrip() for n, j in zip(names, jobs, strict=True)]
    return names, ", ".join(filter(None, shared))


def short_names(names: Sequence[str], width: int, ellipsis: str = "…") -> list[str]:
    """Cuts names in the middle, all in the same place, so that they stay distinct.

    Args:
        names: Names, each another.
        width: Cells that a name may take; at least 4.
        ellipsis: Stands for what is cut, in one cell.

    Returns:
        The names in order. Where no place leaves them distinct, those that are alike are numbered.
    """
    # Near the middle first; the end, where seeds are, is the last to go.
    heads = sorted(range(1, width - 1), key=lambda head: (abs(head - width // 2), head))
    cut = [[_cut(name, head, width, ellipsis) for name in names] for head in heads]
    # The first of equal ones: `max` keeps it, and the list begins with the most welcome.
    best = max(cut, key=lambda short: len(set(short)))
    counts, seen = Counter(best), Counter[str]()
    for index, name in enumerate(best):
        if counts[name] > 1:
            seen[name] += 1
            number = f"{ellipsis}{seen[name]}"
            best[index] = _head(name, width - len(number)) + number
    return best


def _cut(name: str, head: int, width: int, ellipsis: str) -> str:
    if cell_len(name) <= width:
        return name
    tail = _head(name[::-1], width - head - 1)[::-1]
    return _head(name, head) + ellipsis + tail


def _head(text: str, width: int) -> str:
    """As many characters from the left as fit; some take two cells."""
    taken = 0
    for index, character in enumerate(text):
        taken += cell_len(character)
        if taken > width:
            return text[:index]
    return text
