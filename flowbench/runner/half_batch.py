"""``--on-oom half-batch``: what ran out of memory is tried again with less of a batch at a time.

It is a job of its own, of the same effective batch: `flowbench.training.accumulate`. All that is
asked here the failed attempt has left in its files, so that each run on the folder comes to the
same job, whichever run was killed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

from flowbench.errors import ConfigError
from flowbench.runner.attempt import AttemptDir, Heartbeat
from flowbench.runner.plan import Job, in_parts
from flowbench.store.records import AttemptRow

_OF_TRAINING = frozenset({"preparing", "training", "looking", "paused"})


def half_batch(job: Job, attempt: AttemptDir, record: AttemptRow) -> Job:
    """The job with half of what it takes of a batch at a time, or the next less that divides it.

    Args:
        attempt: The attempt at it that ran out of memory.
        record: Its record.

    Raises:
        ConfigError: That would be of no help, or not the same training.
    """
    for refused in _refused(job, attempt.heartbeat(), record):
        raise ConfigError(f"{job.label}: out of memory, and not tried with half a batch: {refused}")
    size, parts = _share(job, record), job.row.num_parts
    more = next(num for num in range(2 * parts, size + 1) if size % num == 0)
    return in_parts(job, more, instead_of=record.attempt_id)


def _share(job: Job, record: AttemptRow) -> int:
    """Examples of a batch that each device had."""
    size: int = job.row.config["training"]["batch_size"]
    return size // record.num_devices


def _refused(job: Job, beat: Heartbeat | None, record: AttemptRow) -> Iterator[str]:
    """Why a job is not tried in more parts, as far as its last heartbeat tells."""
    if beat is not None and beat.phase not in _OF_TRAINING:
        yield f"it was {beat.doing}, of which the batch is no part"
    # The worker's own record alone comes with its very last heartbeat.
    if beat is not None and beat.phase == "preparing" and record.ledger:
        yield "it had not begun to train"
    if beat is not None and beat.whole_batch is not None:
        yield f"a batch has to go through the model whole: {beat.whole_batch}"
    if job.row.num_parts >= _share(job, record):
        yield "it takes one example at a time"
