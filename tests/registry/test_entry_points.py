from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowbench.errors import DuplicateNameError, PluginLoadError, SuiteError, UnknownNameError
from flowbench.registry import PluginSelection, load_registry

GOOD = """
from flowbench.api import MetricSpec, hookimpl
FLOWBENCH_API_VERSION = 2
@hookimpl
def register_metrics():
    return [MetricSpec(name="{name}", compute="m:f", unit="", direction="lower", summary="s")]
"""
Install = Callable[[str, str, str], None]
NONE = PluginSelection(exclude=("flowbench",))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution with one entry point, as pip would leave it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(distribution: str, module: str, text: str) -> None:
        (tmp_path / f"{module}.py").write_text(text)
        folder = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        (folder / "entry_points.txt").write_text(f"[flowbench]\nmain = {module}\n")

    yield make
    importlib.invalidate_caches()


def test_a_foreign_distribution_comes_through_the_same_door(install: Install) -> None:
    install("flow-foreign", "flow_foreign_mod", GOOD.format(name="foreign"))
    registry = load_registry(NONE)
    assert registry.metrics["foreign"].source.distribution == "flow-foreign"


def test_a_plugin_that_does_not_import_is_quarantined_with_its_cause(install: Install) -> None:
    install("flow-broken", "flow_broken_mod", "import nothing_of_that_name")
    install("flow-good", "flow_good_mod", GOOD.format(name="good"))
    registry = load_registry(NONE)
    (broken,) = [p for p in registry.plugins if p.cause]
    assert broken.source.distribution == "flow-broken"
    assert "nothing_of_that_name" in (broken.cause or "")
    assert "good" in registry.metrics


def test_an_unknown_name_mentions_the_quarantine(install: Install) -> None:
    install("flow-broken2", "flow_broken2_mod", "raise RuntimeError('<b>boom</b>')")
    with pytest.raises(UnknownNameError, match="quarantined: flow-broken2"):
        load_registry(NONE).metric("x")


def test_two_plugins_of_one_name_are_an_error_that_names_both(install: Install) -> None:
    install("flow-one", "flow_one_mod", GOOD.format(name="same"))
    install("flow-two", "flow_two_mod", GOOD.format(name="same"))
    with pytest.raises(DuplicateNameError, match=r"flow-one:main \(1.0\) and flow-two:main"):
        load_registry(NONE)
    excluded = PluginSelection(exclude=("flowbench", "flow-two"))
    assert load_registry(excluded).metrics["same"].source.distribution == "flow-one"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("FLOWBENCH_API_VERSION = 99", "is for API 99, this flowbench has API 2"),
        (
            "FLOWBENCH_API_VERSION = 1",
            r"is for API 1, this flowbench has API 2: .*Density.*= 2 \(docs/\S+/version-2\.md\)$",
        ),
        ("", "declares no FLOWBENCH_API_VERSION"),
        ("FLOWBENCH_API_VERSION = 2", "implements none of"),
        (GOOD.format(name="Bad Name"), "registers the name 'Bad Name'"),
        (GOOD.format(name="ok").replace("register_metrics", "register_metric"), "unknown hook"),
        (
            "from flowbench.api import hookimpl\nFLOWBENCH_API_VERSION = 2\n"
            "@hookimpl\ndef register_models():\n    return ['glow']\n",
            "returned str, expected ModelSpec",
        ),
        (
            "from flowbench.api import hookimpl\nFLOWBENCH_API_VERSION = 2\n"
            "@hookimpl\ndef register_models():\n    return []\n",
            "register_models returned nothing, expected a list of specs",
        ),
    ],
)
def test_a_plugin_file_that_breaks_the_rules(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "rule_breaker.py"
    path.write_text(text)
    sys.modules.pop("rule_breaker", None)
    with pytest.raises(PluginLoadError, match=cause):
        load_registry(PluginSelection(exclude=("flowbench",), files=(path,)))
    sys.modules.pop("rule_breaker", None)


def test_a_missing_plugin_file(tmp_path: Path) -> None:
    with pytest.raises(PluginLoadError, match="does not exist"):
        load_registry(PluginSelection(files=(tmp_path / "no.py",)))


def test_a_plugin_file_must_not_hide_a_module(tmp_path: Path) -> None:
    path = tmp_path / "json.py"
    path.write_text(GOOD.format(name="j"))
    with pytest.raises(PluginLoadError, match="exists already; rename the file"):
        load_registry(PluginSelection(files=(path,)))


def test_a_plugin_file_may_lie_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lies_here.py"
    path.write_text(GOOD.format(name="here"))
    monkeypatch.syspath_prepend(str(tmp_path))  # as `python -m` does in the worker
    registry = load_registry(PluginSelection(exclude=("flowbench",), files=(path,)))
    assert "here" in registry.metrics
    sys.modules.pop("lies_here", None)


def test_a_plugin_that_exits_at_import_is_quarantined(install: Install) -> None:
    install("flow-exits", "flow_exits_mod", "raise SystemExit(3)")
    (plugin,) = [p for p in load_registry(NONE).plugins if p.cause]
    assert "SystemExit: 3" in (plugin.cause or "")


def test_a_plugin_that_hangs_at_import_is_quarantined(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBENCH_IMPORT_LIMIT", "0.2")
    install("flow-hangs", "flow_hangs_mod", "import time\ntime.sleep(600)")
    install("flow-after", "flow_after_mod", GOOD.format(name="after"))
    registry = load_registry(NONE)
    (plugin,) = [p for p in registry.plugins if p.cause]
    assert plugin.source.distribution == "flow-hangs"
    assert "import took more than 0.2 s; leave it out with --no-plugin" in (plugin.cause or "")
    assert "after" in registry.metrics
    assert "flow_hangs_mod" not in sys.modules


def test_a_plugin_file_that_hangs_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBENCH_IMPORT_LIMIT", "0.2")
    path = tmp_path / "hanging_file.py"
    path.write_text("while True: pass")
    with pytest.raises(PluginLoadError, match=r"import took more than 0.2 s"):
        load_registry(PluginSelection(exclude=("flowbench",), files=(path,)))


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_limit_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FLOWBENCH_IMPORT_LIMIT", text)
    with pytest.raises(SuiteError, match="expected seconds"):
        load_registry(NONE)


def test_one_plugin_with_one_name_twice(tmp_path: Path) -> None:
    path = tmp_path / "says_it_twice.py"
    path.write_text(GOOD.format(name="twice").replace("return [", "return 2 * ["))
    with pytest.raises(DuplicateNameError, match="'twice' is registered twice by"):
        load_registry(PluginSelection(exclude=("flowbench",), files=(path,)))
    sys.modules.pop("says_it_twice", None)


def test_unknown_plugins_in_the_selection_are_errors() -> None:
    with pytest.raises(UnknownNameError, match="unknown plugin 'flowbenhc'; did you mean"):
        load_registry(PluginSelection(exclude=("flowbenhc",)))


def test_environment_restricts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWBENCH_PLUGINS", "flowbench:metrics")
    registry = load_registry(PluginSelection.from_environment())
    assert registry.metrics
    assert not registry.models
