"""What is remembered is what was found out, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowbench.memory import Memory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "flowbench"


def test_what_was_found_out_is_known_to_the_next(cache: Path) -> None:
    asked: list[str] = []

    def find_out() -> str:
        asked.append("a")
        return "found"

    for _ in range(2):
        memory = Memory("facts.json", by="one", most=9)
        assert memory.recall("a", find_out) == "found"
        memory.keep()
    assert asked == ["a"]
    assert [path.name for path in cache.iterdir()] == ["facts.json"]


def test_what_something_else_found_out_is_forgotten() -> None:
    memory = Memory("facts.json", by="one", most=9)
    memory.recall("a", lambda: "old")
    memory.keep()
    assert Memory("facts.json", by="two", most=9).recall("a", lambda: "new") == "new"


def test_it_begins_anew_before_it_grows_for_ever() -> None:
    memory = Memory("facts.json", by="one", most=1)
    for key in ("a", "b"):
        memory.recall(key, lambda: "old")
    memory.keep()
    assert Memory("facts.json", by="one", most=1).recall("a", lambda: "new") == "new"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"by": "one"}', b'{"by": "one", "texts": [1]}']
)
def test_a_file_that_cannot_be_read_is_begun_anew(cache: Path, content: bytes) -> None:
    cache.mkdir()
    (cache / "facts.json").write_bytes(content)
    memory = Memory("facts.json", by="one", most=9)
    assert memory.recall("a", lambda: "found") == "found"
    memory.keep()
    assert Memory("facts.json", by="one", most=9).recall("a", lambda: "other") == "found"


def test_without_a_place_for_it_nothing_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    memory = Memory("facts.json", by="one", most=9)
    assert memory.recall("a", lambda: "found") == "found"
    memory.keep()
