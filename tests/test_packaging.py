from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"flowbench", "flowbench_models", "flowbench_datasets", "flowbench_metrics"}


def test_installed_entry_points_are_those_of_pyproject() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    installed = {
        p.name: p.value
        for p in metadata.entry_points(group="flowbench")
        if p.dist and p.dist.name == "flowbench"
    }
    assert installed == declared["flowbench"], "pip install -e . again"


def test_every_plugin_package_has_its_entry_point() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    modules = {f"{path.parent.name}.plugin" for path in ROOT.glob("plugins/*/plugin.py")}
    assert modules == set(declared["flowbench"].values())


def test_all_packages_are_typed() -> None:
    folders = [ROOT / "flowbench", *(p.parent for p in ROOT.glob("plugins/*/plugin.py"))]
    assert all((folder / "py.typed").exists() for folder in folders)


def test_constraints_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert not [line for line in lines if "://" in line or "@" in line]


def _build(kind: str, folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "build",
        f"--{kind}",
        "--no-isolation",
        "--outdir",
        str(folder),
    ]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.mark.slow
def test_wheel_holds_only_our_names(tmp_path: Path) -> None:
    names = zipfile.ZipFile(_build("wheel", tmp_path)).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == OURS
    assert "flowbench/_leaderboards/digits/suite.toml" in names


@pytest.mark.slow
def test_sdist_holds_what_is_built_tested_and_read(tmp_path: Path) -> None:
    """Every tracked file, but for the results that were measured and what git alone reads."""
    with tarfile.open(_build("sdist", tmp_path)) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout: what is tracked is not known")
    tracked = {name for name in done.stdout.splitlines() if not name.startswith("results/")}
    assert tracked - packed == {".gitignore"} - packed
    assert not {name for name in packed if name.startswith((".venv/", "build/", "results/"))}
