"""Bijections and laws show how they are used; tests/test_doctests.py runs what they show."""

from __future__ import annotations

import pytest

from tests.plugins.flowbench_models.test_transforms import BIJECTIONS, LAWS, OF_VECTORS

# What only holds together the parts of one step shows nothing of its own.
STEPS = {"FlowStep"}


@pytest.mark.parametrize("kind", [*BIJECTIONS, *OF_VECTORS, *LAWS], ids=lambda kind: kind.__name__)
def test_a_bijection_shows_how_it_is_used(kind: type) -> None:
    shows = ">>> " in (kind.__doc__ or "")
    assert shows != (kind.__name__ in STEPS)
