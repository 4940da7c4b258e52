"""Files that hold tensors: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from flowbench.errors import StoreError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a state under a temporary name, then renames it.

    Args:
        state: Tensors, numbers, texts and containers of them.
    """
    partial = path.with_suffix(path.suffix + ".part")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        # A machine that is taken away right after must not leave a whole name on half a file.
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a state onto the CPU.

    Args:
        path: A file of `save_checkpoint`.

    Raises:
        StoreError: The file is missing or damaged, or holds more than plain data.
    """
    try:
        # Onto the CPU: a checkpoint of a GPU is taken up on whatever device there is.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as exc:
        cause = " ".join(str(exc).split())[:200]
        raise StoreError(
            f"cannot read checkpoint {str(path)!r}: {cause}; run the job anew"
        ) from exc
    if not isinstance(state, dict):
        raise StoreError(f"checkpoint {str(path)!r} holds no state; run the job anew")
    return state


def rng_state(device_kind: str) -> dict[str, Any]:
    """State of torch's own generators, which dropout draws from.

    Args:
        device_kind: The device whose generator is kept beside the CPU's.

    Returns:
        The states by device kind.
    """
    states: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device_kind == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    elif device_kind == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_rng_state(states: dict[str, Any]) -> None:
    """Restores what `rng_state` returned, for the devices that are here.

    Args:
        states: The states by device kind.
    """
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
