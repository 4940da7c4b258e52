from __future__ import annotations

from pathlib import Path

from flowbench.contract.by_name import checks_of, names_of
from flowbench.registry import Registry


def titles(registry: Registry, names: list[str] | None) -> list[str]:
    pending = checks_of(registry, names, dataset=None, slow=False, data_dir=Path("none"))
    return [title for title, _ in pending]


def test_no_names_are_none_and_not_all(registry: Registry) -> None:
    assert titles(registry, []) == []
    assert titles(registry, ["sound_nll"]) == ["metric sound_nll"]


def test_without_a_list_everything_is_checked(registry: Registry) -> None:
    assert titles(registry, None) == titles(registry, names_of(registry))
    assert len(titles(registry, None)) == sum(
        map(len, (registry.models, registry.datasets, registry.metrics))
    )
