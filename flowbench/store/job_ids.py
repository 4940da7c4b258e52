"""Names a job by how its id begins, in one way for every command and in Python."""

from __future__ import annotations

from collections.abc import Iterable

from flowbench.errors import StoreError, unknown_name

_MOST_SHOWN = 5


def whole_job_id(which: str, known: Iterable[str]) -> str:
    """The id of the one job that is called so, or begins so.

    Args:
        which: An id, or how it alone begins.
        known: The ids that there are.

    Raises:
        StoreError: There is none, or more than one.
    """
    names = set(known)
    found = sorted(job_id for job_id in names if which and job_id.startswith(which))
    if which in found:
        return which
    if not found:
        raise StoreError(unknown_name("job", which, names, "flowbench results list"))
    if len(found) > 1:
        shown = ", ".join(found[:_MOST_SHOWN]) + (", ..." if len(found) > _MOST_SHOWN else "")
        raise StoreError(f"{which!r} fits {len(found)} jobs: {shown}; give more of the id")
    return found[0]
