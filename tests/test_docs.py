"""What a plugin author can use is documented and tested, and the site builds without a warning."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowbench import api
from flowbench.contract import check_model
from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.entry_points import HOOKS

ROOT = Path(__file__).parent.parent
HOOK_PAGE = ROOT / "docs" / "reference" / "hooks.md"


def _hooks() -> list[str]:
    tree = ast.parse((ROOT / "flowbench" / "api" / "hooks.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if any("hookspec" in ast.dump(d) for d in f.decorator_list)]


@functools.cache
def _words_of_tests() -> set[str]:
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name != "test_public_api.py"]
    return {word for path in files for word in re.findall(r"\w+", path.read_text())}


@functools.cache
def _documented(home: str) -> set[str]:
    """Names of a module of the API that carry a docstring; that of a value stands below it."""
    body = ast.parse(ROOT.joinpath(*home.split(".")).with_suffix(".py").read_text()).body
    found = {
        node.name
        for node in body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
    }
    for node, below in zip(body, [*body[1:], None], strict=True):
        text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(node, ast.Assign) and text:
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_there_is_no_other_hook_than_the_loader_calls() -> None:
    assert set(_hooks()) == set(HOOKS)


@pytest.mark.parametrize("hook", _hooks())
def test_every_hook_is_documented_and_tested(hook: str) -> None:
    assert f"::: flowbench.api.hooks.{hook}\n" in HOOK_PAGE.read_text()
    assert hook in _documented("flowbench.api.hooks")
    implementation = re.compile(rf"@hookimpl\s+def {hook}\(")
    files = [ROOT / "docs" / "how-to" / "plugin.md", *(ROOT / "tests").rglob("*.py")]
    used = [path for path in files if implementation.search(path.read_text())]
    assert any(path.is_relative_to(ROOT / "tests") for path in used), f"no test implements {hook}"


@pytest.mark.parametrize("name", [name for name in api.__all__ if name != "hookimpl"])
def test_every_public_name_is_documented(name: str) -> None:
    """All but pluggy's own `hookimpl`, which the head of its module explains."""
    assert name in _documented(api._HOME_OF[name]), f"{name} has no docstring"


@pytest.mark.parametrize(
    "name", [n for n in api.__all__ if n not in ("Context", "Info", "Latents", "WithInfo")]
)
def test_every_public_name_is_tested(name: str) -> None:
    """All but the names of types, which do nothing."""
    assert name in _words_of_tests(), f"no test mentions {name}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    if not os.environ.get("FLOWBENCH_REQUIRE_TOOLS"):  # there a site that is not built is a failure
        pytest.importorskip("mkdocstrings", reason="needs pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.mark.slow
def test_the_site_holds_every_public_name(site: Path) -> None:
    page = (site / "reference" / "api.html").read_text()
    homes = {name: f"{home}.{name}" for name, home in api._HOME_OF.items()}
    anchors = set(re.findall(r'id="([\w.]+)"', page))
    missing = {n for n, home in homes.items() if not {home, f"flowbench.api.{n}"} & anchors}
    assert not missing


@pytest.mark.slow
def test_the_site_holds_what_the_specs_and_commands_say(site: Path) -> None:
    assert 'id="glow"' in (site / "reference" / "models.html").read_text()
    assert 'id="digits"' in (site / "reference" / "datasets.html").read_text()
    assert "bits/dim" in (site / "reference" / "metrics.html").read_text()
    commands = (site / "reference" / "cli.html").read_text()
    assert {"--budget", "--fast", "--no-plugin"} <= set(re.findall(r"--[\w-]+", commands))


@pytest.mark.slow
def test_a_built_page_asks_nobody_for_anything(site: Path) -> None:
    loads = re.compile(r"<(?:script|img|iframe|link)[^>]*(?:src|href)=\"?https?://", re.IGNORECASE)
    assert not [path for path in site.rglob("*.html") if loads.search(path.read_text())]


@pytest.mark.slow
def test_programs_find_every_page_as_text(site: Path) -> None:
    listed = re.findall(
        r"^- \[[^]]+\]\(([^)]+\.md)\)", (site / "llms.txt").read_text(), re.MULTILINE
    )
    pages = {p.relative_to(site).with_suffix(".md").as_posix() for p in site.rglob("*.html")}
    assert sorted(listed) == sorted(pages - {"404.md"})
    full = (site / "llms-full.txt").read_text()
    for page in listed:
        text = (site / page).read_text()
        assert text.strip() in full
        assert "\n::: " not in text
    assert (inspect.getdoc(api.ModelSpec) or "none") in full


@pytest.mark.slow
def test_the_site_can_be_searched_and_read_in_the_dark(site: Path) -> None:
    found = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    places = {entry["location"].partition("#")[0] for entry in found}
    assert {"concepts/bits.html", "reference/cli.html", "how-to/my-flow.html"} <= places
    page = (site / "index.html").read_text()
    assert set(re.findall(r'data-md-color-scheme="?(\w+)', page)) >= {"default", "slate"}
    assert "prefers-color-scheme" in page


def test_the_plugin_in_contributing_keeps_the_contract(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    file = tmp_path / "contributed_flow.py"  # the guide's has the name `my_flow`, too
    file.write_text(code.replace("my_flow", file.stem))
    try:
        registry = load_registry(PluginSelection(exclude=("flowbench",), files=(file,)))
        report = check_model(registry, "myflow", slow=False)
    finally:
        sys.modules.pop(file.stem, None)
    assert report.status == "passed", "\n".join(report.lines())


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_pages_beside_the_site_link_to_what_there_is(page: str) -> None:
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert not [link for link in links if not (ROOT / link).exists()]
    commands = re.findall(r"\bmake ([a-z-]+)", text)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(commands) <= set(targets)


@pytest.mark.slow
def test_the_picture_is_drawn_from_the_reference_results(tmp_path: Path) -> None:
    if not (ROOT / "results" / "reference").is_dir():
        pytest.skip("results/reference is not here: a source distribution has no results")
    drawn = tmp_path / "board.svg"
    tool = ROOT / "tools" / "draw_picture.py"
    subprocess.run([sys.executable, str(tool), str(drawn)], check=True, capture_output=True)
    kept = (ROOT / "docs" / "board.svg").read_bytes()
    assert drawn.read_bytes() == kept, "run python tools/draw_picture.py"
