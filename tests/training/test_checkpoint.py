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


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"x": torch.arange(100.0)})
    whole = path.read_bytes()
    for position in range(0, len(whole) - 66, 7):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="cannot read checkpoint"):
            load_checkpoint(path)


def test_torch_and_earlier_versions_read_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"x": torch.arange(3)})
    assert torch.equal(torch.load(path, weights_only=True)["x"], torch.arange(3))
    torch.save({"x": torch.arange(4)}, path)  # as it was written before there was a checksum
    assert torch.equal(load_checkpoint(path)["x"], torch.arange(4))


def test_the_file_before_is_kept_as_a_spare(tmp_path: Path) -> None:
    path, spare = tmp_path / "a.pt", tmp_path / "a.1.pt"
    for number in range(3):
        save_checkpoint(path, {"n": number}, spare=spare)
    assert (load_checkpoint(path)["n"], load_checkpoint(spare)["n"]) == (2, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.1.pt", "a.pt"]


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
