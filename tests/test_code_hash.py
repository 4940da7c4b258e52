"""What changes the hash of a part's code, and what does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flowbench import code_hash
from flowbench.code_hash import CodeHashes, core_sha256, part_sha256

FILES = {
    "__init__.py": '"""Flows."""\n\nfrom .glow import Glow\nfrom .nice import Nice\n',
    "glow.py": (
        '"""Glow."""\n\nfrom hash_flows.parts import coupling\nfrom . import scale\n\n\n'
        "class Glow:\n    width = 8  # channels\n\n    def go(self):\n        return coupling\n"
    ),
    "scale.py": "import math\n\nTWO = math.sqrt(4)\n",
    "nice.py": "from .parts import additive\n\n\nclass Nice:\n    pass\n",
    "parts/__init__.py": "from .affine import coupling\nfrom .additive import additive\n",
    "parts/affine.py": "from hash_flows.parts.numbers import LIMIT\n\n\ncoupling = LIMIT\n",
    "parts/numbers.py": "LIMIT = 3\n",
    "parts/additive.py": "additive = 1\n",
}
GLOW = ["hash_flows.glow:Glow"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hash_flows"
    (folder / "parts").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


@pytest.mark.parametrize("name", ["glow.py", "scale.py", "parts/affine.py", "parts/numbers.py"])
def test_what_a_model_uses_is_its_code(package: Path, name: str) -> None:
    before = part_sha256(GLOW)
    (package / name).write_text(FILES[name] + "\nMORE = 1\n")
    assert part_sha256(GLOW) != before


@pytest.mark.parametrize("name", ["nice.py", "parts/additive.py"])
def test_what_stands_beside_a_model_is_not(package: Path, name: str) -> None:
    before = part_sha256(GLOW)
    (package / name).write_text(FILES[name] + "\nMORE = 1\n")
    assert part_sha256(GLOW) == before


def test_a_new_model_in_the_package_changes_nothing(package: Path) -> None:
    before = part_sha256(GLOW)
    (package / "new.py").write_text("class New:\n    pass\n")
    (package / "__init__.py").write_text(
        FILES["__init__.py"] + 'from .new import New\n\n__all__ = ["Glow", "New", "Nice"]\n'
    )
    assert part_sha256(GLOW) == before
    assert part_sha256(["hash_flows:Glow"]) == before


def test_what_a_package_does_when_it_is_imported_counts(package: Path) -> None:
    before = part_sha256(GLOW)
    (package / "__init__.py").write_text(FILES["__init__.py"] + "print(1)\n")
    assert part_sha256(GLOW) != before


@pytest.mark.parametrize(
    "text",
    [
        FILES["glow.py"].replace("# channels", "# how many channels"),
        FILES["glow.py"].replace('"""Glow."""', '"""Glow, as published."""'),
        FILES["glow.py"].replace("self):\n", 'self):\n        """Goes."""\n'),
        FILES["glow.py"].replace("= 8", "= (\n        8\n    )") + "\n\n",
        FILES["glow.py"].replace("= 8", '= 8\n    """Channels."""'),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(package: Path, text: str) -> None:
    before = part_sha256(GLOW)
    assert text != FILES["glow.py"]
    (package / "glow.py").write_text(text)
    assert part_sha256(GLOW) == before


@pytest.mark.parametrize("change", [("8", "9"), ("8", "8.0"), ("8", "-8"), ("width", "depth")])
def test_every_value_and_name_counts(package: Path, change: tuple[str, str]) -> None:
    before = part_sha256(GLOW)
    (package / "glow.py").write_text(FILES["glow.py"].replace(*change))
    assert part_sha256(GLOW) != before


def test_a_plugin_file_stands_with_what_it_imports_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hash_alone.py").write_text("import hash_layers\nimport flowbench.api\n")
    (tmp_path / "hash_layers.py").write_text("A = 1\n")
    (tmp_path / "hash_other.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = part_sha256(["hash_alone:Model"])
    (tmp_path / "hash_other.py").write_text("A = 2\n")
    assert part_sha256(["hash_alone:Model"]) == before
    (tmp_path / "hash_layers.py").write_text("A = 2\n")
    assert part_sha256(["hash_alone:Model"]) != before


def test_nothing_is_imported(package: Path) -> None:
    (package / "scale.py").write_text("raise RuntimeError\n")
    part_sha256(GLOW)
    assert "hash_flows.glow" not in sys.modules


def test_a_module_that_cannot_be_read_has_a_hash_too(package: Path) -> None:
    assert part_sha256(["no_such_flows.glow:Glow"]) != part_sha256(["no_such_flows.nice:Nice"])
    before = part_sha256(GLOW)
    (package / "scale.py").write_text("def\n")
    assert part_sha256(GLOW) != before


def test_the_core_is_not_part_of_a_plugin() -> None:
    assert part_sha256(["flowbench.data.library.folder"]) == part_sha256([])
    assert core_sha256() == core_sha256() != part_sha256([])


def test_a_model_is_the_same_whatever_it_is_measured_by() -> None:
    code = CodeHashes(core="a", model="b", dataset="c", metrics={"nll": "d"})
    assert code.of_all == CodeHashes(core="a", model="b", dataset="c").of_all
    assert code.of_model == CodeHashes(core="a", model="b", dataset="other").of_model
    assert code.of_model != CodeHashes(core="b", model="a", dataset="c").of_model


def test_code_that_was_seen_before_is_not_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, remembered = code_hash.core_sha256(), tmp_path / "flowbench" / code_hash.REMEMBERED
    with monkeypatch.context() as patched:
        patched.setattr(code_hash, "_digest", lambda path: pytest.fail(f"{path} was parsed"))
        assert code_hash.core_sha256() == first
    for damaged in (b"", b"\xff\xfe", remembered.read_bytes()[:-1], b"0" * 64 + b" " + b"0" * 64):
        remembered.write_bytes(damaged)
        assert code_hash.core_sha256() == first
    remembered.unlink()
    remembered.mkdir()  # which cannot be written over
    assert code_hash.core_sha256() == first


def test_an_edit_of_the_core_is_seen_by_what_remembers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (core := tmp_path / "core").mkdir()
    monkeypatch.setattr(code_hash, "__file__", str(core / "code_hash.py"))
    monkeypatch.setattr(code_hash, "CORE_CODE", ("part.py",))
    (core / "code_hash.py").touch()

    def hash_of(source: str) -> str:
        (core / "part.py").write_text(source, encoding="utf-8")
        return code_hash.core_sha256()

    first = hash_of("x = 1\n")
    assert hash_of("x = 2\n") != first
    assert hash_of("x = 1  # a comment\n") == first
