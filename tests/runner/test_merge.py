"""Attempts of several folders become those of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowbench.errors import StoreError
from flowbench.runner.attempt import CHECKPOINT, AttemptDir, Placement, ResultsDir
from flowbench.runner.merge import merge
from flowbench.store.queries import list_attempts
from flowbench.store.reconcile import readable
from tests.runner.test_survey import begin, end


def folders(root: Path) -> tuple[Path, Path]:
    """Two folders: one attempt of a job here, two there, of another job one; one still runs."""
    here, there = root / "here", root / "there"
    end(begin(here))
    end(begin(there), "preempted")
    end(begin(there), "crashed")
    end(begin(there, seed=1))
    begin(there, seed=2)
    return here, there


def test_attempts_are_brought_once_and_numbered_on(tmp_path: Path) -> None:
    here, there = folders(tmp_path)
    (first,) = (there / "runs").glob("*/2")
    (first.parent / "1" / CHECKPOINT).write_text("state")
    placement = Placement(executor="slurm", options={}, job="1")
    AttemptDir(first.parent / "1").write("placed.json", placement.model_dump_json())
    before = sorted(path.name for path in there.rglob("*"))
    results = ResultsDir(here)
    done = merge(results, there)
    assert (done.brought, done.known, done.open) == (3, 0, 1)
    attempts = results.attempts(first.parent.name)
    assert [a.number for a in attempts] == [1, 2, 3]
    records = [record for a in attempts if (record := a.record())]
    assert [r.status for r in records] == ["ok", "preempted", "crashed"]
    assert [r.attempt_id for r in records] == [f"{first.parent.name}-{n}" for n in (1, 2, 3)]
    assert attempts[1].order().number == 2
    assert (attempts[1].path / CHECKPOINT).read_text() == "state"
    assert attempts[1].placement() is None  # its queue is not asked from here
    again = merge(results, there)
    assert (again.brought, again.known) == (0, 3)
    assert sorted(path.name for path in there.rglob("*")) == before
    with readable(here) as folder:
        assert len(list_attempts(folder)) == 4


def test_what_cannot_be_read_is_named_and_left(tmp_path: Path) -> None:
    here, there = folders(tmp_path)
    (broken, *_) = sorted((there / "runs").glob("*/2/record.json"))
    broken.write_text("{")
    done = merge(ResultsDir(here), there)
    assert done.brought == 2
    (problem,) = done.problems
    assert str(broken) in problem


def test_what_is_no_results_folder_is_refused(tmp_path: Path) -> None:
    here, _ = folders(tmp_path)
    with pytest.raises(StoreError, match="it has no folder 'runs'"):
        merge(ResultsDir(here), tmp_path)
    with pytest.raises(StoreError, match="is the folder that results are brought to"):
        merge(ResultsDir(here), here)
