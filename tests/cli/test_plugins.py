"""``flowbench plugins`` survives whatever is installed, and says what is wrong with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

METRIC = """
from flowbench.api import MetricSpec, hookimpl
FLOWBENCH_API_VERSION = 2
@hookimpl
def register_metrics():
    return [MetricSpec(name="same", compute="m:f", unit="", direction="lower", summary="s")]
"""
# The module of each distribution, and the reason shown for it.
INSTALLED = {
    "flow-a-import": ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
    "flow-b-api": ("FLOWBENCH_API_VERSION = 99", "is for API 99, this flowbench has API 2"),
    # The timer goes off by itself in tests/registry; here at once, however busy the machine is.
    "flow-c-hang": (
        "import signal, time\nsignal.raise_signal(signal.SIGALRM)\ntime.sleep(600)",
        "import took more than 300 s",
    ),
    "flow-d-exit": ("import sys\nsys.exit(0)", "SystemExit: 0"),
    "flow-e-first": (METRIC, None),
    "flow-f-second": (METRIC, "'same' is registered by both flow-e-first:main (1.0) and"),
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Distributions as pip would leave them, on the path of a new process."""
    site = tmp_path_factory.mktemp("site")
    for name, (text, _) in INSTALLED.items():
        module = name.replace("-", "_")
        (site / f"{module}.py").write_text(text)
        folder = site / f"{module}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[flowbench]\nmain = {module}\n")
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path, "FLOWBENCH_IMPORT_LIMIT": "300"}


def _flowbench(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowbench.cli.app", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_every_broken_plugin_is_shown_with_its_cause(environment: dict[str, str]) -> None:
    done = _flowbench(environment, "plugins", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"].partition(":")[0]: row for row in json.loads(done.stdout)}
    for name, (_, cause) in INSTALLED.items():
        if cause is None:
            assert (rows[name]["status"], rows[name]["cause"]) == ("loaded", None)
        else:
            assert cause in rows[name]["cause"]
    assert rows["flow-b-api"]["api_version"] == 99
    assert rows["flow-f-second"]["status"] == "clash"
    assert rows["flowbench"]["registers"]


def test_it_is_readable(environment: dict[str, str]) -> None:
    lines = _flowbench(environment, "plugins").stdout.splitlines()
    assert "flow-e-first:main 1.0  API 2  loaded" in lines
    assert "flow-d-exit:main 1.0  quarantined" in lines
    assert lines[lines.index("flow-d-exit:main 1.0  quarantined") + 1] == "  SystemExit: 0"


def test_the_others_can_be_used(environment: dict[str, str]) -> None:
    done = _flowbench(environment, "list", "metrics", "--no-plugin", "flow-f-second")
    assert done.returncode == 0, done.stderr
    assert "flow-e-first" in done.stdout
    assert _flowbench(environment, "list").stderr.startswith("error: metric 'same' is registered")
