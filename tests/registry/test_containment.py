from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flowbench.errors import PluginLoadError
from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.containment import Kept, undisturbed
from flowbench.registry.registry import Entry

HEAD = """
import json, logging, os, random, signal, sys, warnings
import numpy as np, torch
from flowbench.api import MetricSpec, hookimpl
FLOWBENCH_API_VERSION = 2
@hookimpl
def register_metrics():
    print("registering")
    return [MetricSpec(name="odd", compute="m:f", unit="", direction="lower", summary="s")]
"""


def state() -> dict[str, object]:
    """What no import may change."""
    return {
        "directory": Path.cwd(),
        "environment": dict(os.environ),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "device": torch.get_default_device(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002  # the generator that is looked at
        "random": random.getstate(),
        "logging": (list(logging.getLogger().handlers), logging.getLogger().level),
        "disabled": logging.getLogger().manager.disable,
        "filters": list(warnings.filters),
        "signal": signal.getsignal(signal.SIGTERM),
        "dumps": json.dumps,
        "module": sys.modules.get("json"),
        "stdout": sys.stdout,
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("os.chdir('/')", "the working directory"),
        ("os.environ['ODD'] = '1'", "environment variables ODD"),
        ("del os.environ['HOME']", "environment variables HOME"),
        ("torch.set_default_dtype(torch.float64)", "torch's dtype"),
        ("torch.set_num_threads(torch.get_num_threads() + 1)", "torch's threads"),
        ("torch.set_grad_enabled(False)", "torch's grad"),
        ("torch.set_default_device('meta')", "torch's device"),
        ("torch.set_float32_matmul_precision('medium')", "torch's precision of products"),
        ("torch.manual_seed(7)", "torch's random generator"),
        ("np.random.seed(7)", "NumPy's random generator"),
        ("np.seterr(all='ignore')", "NumPy's error handling"),
        ("random.seed(7)", "Python's random generator"),
        ("logging.getLogger().addHandler(logging.NullHandler())", "the root logger"),
        ("logging.disable(logging.CRITICAL)", "the root logger"),
        ("warnings.simplefilter('ignore')", "warning filters"),
        ("warnings.resetwarnings()", "warning filters"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "signal handlers"),
        ("json.dumps = None", "functions json.dumps"),
        ("json.dumps = lambda value, **_: '{}'", "functions json.dumps"),
        ("del sys.modules['json']", "loaded modules json"),
        ("sys.stdout = None", "standard output"),
    ],
)
def test_what_an_import_changes_is_put_back_and_named(
    line: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / f"odd_{abs(hash(line))}.py"
    path.write_text(HEAD + line)
    before = state()
    registry = load_registry(PluginSelection(exclude=("flowbench",), files=(path,)))
    after = state()
    (plugin,) = registry.plugins
    assert [words in "; ".join(plugin.contained), after] == [True, before]


def test_nothing_is_said_of_a_plugin_that_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "odd_calm.py"
    path.write_text(HEAD)
    (plugin,) = load_registry(PluginSelection(exclude=("flowbench",), files=(path,))).plugins
    assert plugin.contained == ()


def test_a_reference_is_imported_as_carefully(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "odd_lazy.py").write_text("import os\nprint('banner')\nos.chdir('/')\nMyFlow = 1")
    source, spec = SimpleNamespace(distribution="d"), SimpleNamespace(name="mine")
    entry = Entry(spec, source)  # type: ignore[type-var, arg-type]
    before = Path.cwd()
    assert entry.resolve("odd_lazy:MyFlow") == 1
    assert (Path.cwd(), capsys.readouterr().out) == (before, "")
    with pytest.raises(PluginLoadError, match=r"has no 'MyFlwo'; did you mean 'MyFlow'?"):
        entry.resolve("odd_lazy:MyFlwo")
    (tmp_path / "odd_exit.py").write_text("import sys\nsys.exit('gone')")
    with pytest.raises(PluginLoadError, match=r"\(odd_exit:x\): SystemExit: gone"):
        entry.resolve("odd_exit:x")


@pytest.mark.slow
def test_a_plugin_that_prints_leaves_json_alone_on_standard_output(tmp_path: Path) -> None:
    path = tmp_path / "noisy.py"
    path.write_text("print('hello')\nimport warnings\nwarnings.warn('careful')" + HEAD)
    command = [sys.executable, "-m", "flowbench.cli.app", "list", "metrics", "--json"]
    command += ["--no-plugin", "flowbench", "--plugin-file", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [row["name"] for row in json.loads(done.stdout)] == ["odd"]
    assert "hello" in done.stderr


def test_a_block_leaves_what_all_compute_with_as_it_was() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    before = state()
    with undisturbed() as changed:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.set_grad_enabled(False)
        torch.rand(3)
        random.random()
        np.random.rand()  # noqa: NPY002
    assert changed == ["torch's dtype, grad, threads"]
    assert state() == before
    assert torch.equal(torch.rand(3), expected)


def test_what_was_drawn_from_is_named_and_put_back() -> None:
    kept, before = Kept.generators(), state()
    assert kept.put_back() == []
    torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002
    assert [words.partition("'s")[0] for words in kept.put_back()] == ["Python", "NumPy", "torch"]
    assert state() == before
