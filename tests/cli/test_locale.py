"""Files are UTF-8 and names come through, whatever the locale (jobs: in `tests/cases`)."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PLUGINS = ("flowbench_models", "flowbench_datasets", "flowbench_metrics")
PACKAGES = (ROOT / "flowbench", *(ROOT / "plugins" / name for name in PLUGINS))


def flowbench(*arguments: str | bytes, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "flowbench.cli.app", *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **ASCII}, capture_output=True, check=False, timeout=300
    )


@pytest.fixture
def photos(tmp_path: Path) -> str:
    folder = tmp_path / "Bilder-\u00e4\u65e5"
    folder.mkdir()
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"\u00fc{number}.png")
    return f"folder:{folder.name}?size=8"


@pytest.mark.slow
def test_what_is_prepared_under_another_name_is_read_again(photos: str, tmp_path: Path) -> None:
    place = ("--data-dir", "Daten-\u00fc")
    for command in ("prepare", "verify"):
        done = flowbench("data", command, photos, *place, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
    assert "Bilder-\u00e4\u65e5" in done.stdout.decode("utf-8")


def test_a_name_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    done = flowbench("data", "where", "--data-dir", b"\xff\xfe", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == b"error: a name in the command, or this folder's, is not UTF-8\n"


def _reads_text_by_the_locale(call: ast.Call) -> bool:
    if any(keyword.arg in ("encoding", None) for keyword in call.keywords):
        return False
    by_position = {"read_text": 0, "write_text": 1}
    if isinstance(call.func, ast.Attribute) and call.func.attr in by_position:
        return len(call.args) <= by_position[call.func.attr]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    return ast.unparse(given.get("text", ast.Constant(False))) == "True"


def test_every_text_file_is_read_and_written_as_utf8() -> None:
    """What ruff's PLW1514 does not see: methods of a path that has no annotation."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in PACKAGES
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _reads_text_by_the_locale(node)
    ]
    assert found == []
