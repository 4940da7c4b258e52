"""What an author of a plugin writes: a test file of three lines."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from flowbench.contract.pytest_plugin import Contract

PLUGIN = "flowbench.contract.pytest_plugin"
FAKES = Path(__file__).parent.parent / "fakes.py"

TEST_FILE = f"""
def test_contract(flowbench_contract):
    flowbench_contract.plugin_file({str(FAKES)!r}).model("fake-crash", slow=False)
"""


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract(FAKES)


def test_a_sound_plugin_passes(contract: Contract) -> None:
    assert contract.metric("fake_nll").status == "passed"


@pytest.mark.slow
@pytest.mark.parametrize("check", ["model", "metric"])
def test_a_broken_plugin_fails_with_its_report(contract: Contract, check: str) -> None:
    name = {"model": "fake-gan", "metric": "fake_nan"}[check]
    with pytest.raises(pytest.fail.Exception, match=f"'{name}' breaks the contract") as failure:
        getattr(contract, check)(name)
    assert "look at:" in str(failure.value)


@pytest.mark.slow
def test_three_lines_are_a_test_file(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TEST_FILE)
    # An installation without the entry point (it was made before there was one) names the plugin.
    known = any(point.value == PLUGIN for point in metadata.entry_points(group="pytest11"))
    named = [] if known else ["-p", PLUGIN]
    command = [sys.executable, "-m", "pytest", "-q", *named, "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "model 'fake-crash' breaks the contract" in done.stdout


def test_the_plugin_costs_a_session_nothing() -> None:
    code = (
        "import sys, flowbench.contract.pytest_plugin\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'duckdb'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
