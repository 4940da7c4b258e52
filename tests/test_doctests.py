"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field

from flowbench import api
from flowbench.api import readers

ROOT = Path(__file__).parent.parent
PACKAGES = {"flowbench": ROOT, "flowbench_models": ROOT / "plugins"}
# What an author has at hand: `from flowbench.api import ...`, NumPy, torch.
NAMES: dict[str, Any] = {"np": np, "torch": torch, "math": math, "Field": Field}
NAMES |= {name: getattr(api, name) for name in api.__all__}


def _modules() -> list[str]:
    """Modules with an example, found in their text, so that the others are not imported."""
    found = []
    for package, folder in PACKAGES.items():
        for path in sorted((folder / package).rglob("*.py")):
            if ">>> " in path.read_text():
                parts = path.relative_to(folder).with_suffix("").parts
                found.append(".".join(parts).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", _modules())
def test_examples_print_what_they_say(name: str) -> None:
    module = importlib.import_module(name)
    torch.manual_seed(0)
    results = doctest.testmod(module, extraglobs=NAMES, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted
    assert not results.failed


CLASSES = {name: getattr(api, name) for name in api.__all__ if inspect.isclass(getattr(api, name))}
CLASSES |= {name: getattr(readers, name) for name in readers.__all__ if name == "Archive"}


@pytest.mark.parametrize("name", [n for n, c in CLASSES.items() if not issubclass(c, Exception)])
def test_every_public_class_shows_how_it_is_used(name: str) -> None:
    assert ">>> " in (CLASSES[name].__doc__ or "")
