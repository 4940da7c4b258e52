from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from flowbench.errors import StoreError
from flowbench.training.checkpoint import (
    load_checkpoint,
    rng_state,
    save_checkpoint,
    set_rng_state,
)


def test_round_trip_leaves_no_partial_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"x": torch.arange(3), "n": {"k": [1, 2.5, "t", None]}})
    state = load_checkpoint(path)
    assert torch.equal(state["x"], torch.arange(3))
    assert state["n"] == {"k": [1, 2.5, "t", None]}
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_a_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"x": torch.arange(1000)})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match="cannot read checkpoint"):
        load_checkpoint(path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


def test_code_in_a_checkpoint_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.pt"
    torch.save({"x": Evil()}, path)
    with pytest.raises(StoreError):
        load_checkpoint(path)
    assert capsys.readouterr().out == ""


def test_rng_state_comes_back() -> None:
    torch.manual_seed(3)
    state = rng_state("cpu")
    first = torch.rand(3)
    set_rng_state(state)
    assert torch.equal(torch.rand(3), first)
