from __future__ import annotations

import json
import os
import re
import shutil
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


def _links(address: str) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Links and pictures of the long description, and the addresses of the project, as built."""
    command = [sys.executable, "-m", "hatchling", "metadata"]
    env = os.environ | {"FLOWBENCH_FILES_URL": address}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=env)
    built = json.loads(done.stdout)
    text = built["readme"]["text"]
    assert "The benchmark harness for normalizing flows" in text
    assert "[SUITE]" in text
    return re.findall(r"(!?)\[[^]]*\]\(([^)]*)\)", text), built.get("urls", {})


def test_the_long_description_links_to_files_where_they_can_be_read() -> None:
    """A package index shows it alone; `example.org` stands for what the release workflow says."""
    links, urls = _links("https://example.org/flowbench/blob/v1.2.3/")
    assert urls == {"Source": "https://example.org/flowbench/blob/v1.2.3"}
    places = {f"https://example.org/flowbench/{kind}/v1.2.3/": kind for kind in ("blob", "raw")}
    assert len(links) > 20
    for picture, link in links:
        (place,) = [place for place in places if link.startswith(place)]
        assert places[place] == ("raw" if picture else "blob")
        assert (ROOT / link.removeprefix(place)).exists()


def test_the_long_description_has_no_links_to_files_that_nobody_can_read() -> None:
    assert _links("") == ([], {})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_only_our_names(built: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(built[1]).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == OURS
    assert "flowbench/_leaderboards/digits/suite.toml" in names


@pytest.mark.slow
def test_sdist_holds_what_is_built_tested_and_read(built: tuple[Path, Path]) -> None:
    """Every tracked file, but for the results that were measured and what git alone reads."""
    with tarfile.open(built[0]) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout: what is tracked is not known")
    tracked = {name for name in done.stdout.splitlines() if not name.startswith("results/")}
    assert tracked - packed == {".gitignore"} - packed
    assert not {name for name in packed if name.startswith((".venv/", "build/", "results/"))}


@pytest.mark.slow
def test_what_is_built_can_be_published(built: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


@pytest.mark.slow
def test_the_wheel_says_the_version_that_its_name_has(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    """The sdist has no tags, so that it hands the version on."""
    with zipfile.ZipFile(built[1]) as wheel:
        wheel.extractall(tmp_path)
    version = built[1].name.split("-")[1]
    assert built[0].name == f"flowbench-{version}.tar.gz"
    asked = (
        "import flowbench, flowbench.provenance as p\n"
        "print(flowbench.__file__, flowbench.__version__, p.provenance([], ())['versions'])\n"
        "from flowbench.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked, "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    first, last = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path / 'flowbench' / '__init__.py'} {version} ")
    assert f"'flowbench': '{version}'" in first
    assert last == f"flowbench {version}"


@pytest.mark.slow
def test_the_tag_is_the_version(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)

    def git(*arguments: str) -> None:
        known = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *known, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def version() -> str:
        command = [sys.executable, "-m", "hatchling", "version"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert version() == "0.1.0.dev0"  # an archive without a repository
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert re.fullmatch(r"0\.1\.0\.dev1\+g[0-9a-f]{7,}", version())
    git("tag", "v1.2.3")
    assert version() == "1.2.3"
    git("commit", "-qm", "next", "--allow-empty")
    assert re.fullmatch(r"1\.2\.4\.dev1\+g[0-9a-f]{7,}", version())
