from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowbench.provenance import cpu_quota, load_average, memory_limit


def test_the_load_average_is_that_of_the_last_minute() -> None:
    load = load_average()
    assert load is not None
    assert load == pytest.approx(os.getloadavg()[0], abs=0.5)


@pytest.mark.parametrize("missing", [OSError("no"), AttributeError("no")])
def test_a_load_that_the_system_does_not_say_is_unknown(
    monkeypatch: pytest.MonkeyPatch, missing: Exception
) -> None:
    def unknown() -> None:
        raise missing

    monkeypatch.setattr(os, "getloadavg", unknown)
    assert load_average() is None


@pytest.mark.parametrize(
    ("membership", "limits", "quota"),
    [
        ("0::/a/b\n", {"a/b": "150000 100000", "a": "max 100000"}, 1.5),
        ("0::/a/b\n", {"a/b": "max 100000", "a": "50000 100000"}, 0.5),
        ("12:cpu:/x\n0::/\n", {".": "400000 100000"}, 4.0),  # a container's own root
        ("0::/a\n", {"a": "max 100000", "other": "100 100000"}, None),
        ("12:cpu:/a\n", {"a": "100 100000"}, None),  # groups of version 1 alone
        (None, {}, None),
    ],
)
def test_the_smallest_quota_of_the_groups_above_holds(
    tmp_path: Path, membership: str | None, limits: dict[str, str], quota: float | None
) -> None:
    for folder, text in limits.items():
        (tmp_path / "groups" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / folder / "cpu.max").write_text(f"{text}\n", encoding="ascii")
    if membership is not None:
        (tmp_path / "cgroup").write_text(membership, encoding="ascii")
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "groups") == quota


def test_the_smallest_limit_of_memory_of_the_groups_above_holds(tmp_path: Path) -> None:
    for folder, text in (("a/b", "max"), ("a", "2000000"), (".", "3000000")):
        (tmp_path / "groups" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / folder / "memory.max").write_text(f"{text}\n", encoding="ascii")
    (tmp_path / "cgroup").write_text("0::/a/b\n", encoding="ascii")
    assert memory_limit(tmp_path / "cgroup", tmp_path / "groups") == 2_000_000
    assert memory_limit(tmp_path / "none", tmp_path / "groups") is None
