"""``flowbench check``: what it prints, what it keeps, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from flowbench.cli.check import check
from flowbench.errors import FlowbenchError
from flowbench.store.checks import CheckRow, latest_checks
from flowbench.store.rebuild import rebuild
from flowbench.store.reconcile import readable

FAKES = str(Path(__file__).parent.parent / "fakes.py")
FAKE = ("--plugin-file", FAKES, "--no-plugin", "flowbench")

Call = Callable[..., Result]


@pytest.fixture
def flowbench_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(check)

    def call(*arguments: str, plugins: tuple[str, ...] = FAKE) -> Result:
        return CliRunner().invoke(app, [*arguments, *plugins])

    return call


def kept_checks() -> list[CheckRow]:
    with readable(Path("results")) as folder:
        return latest_checks(folder)


def test_a_sound_part_passes_and_is_kept(flowbench_check: Call) -> None:
    done = flowbench_check("fake_nll")
    assert done.exit_code == 0, done.output
    assert "PASSED" in done.output
    (kept,) = kept_checks()
    assert (kept.kind, kept.name, kept.status) == ("metric", "fake_nll", "passed")
    assert kept.plugin == FAKES


def test_a_broken_part_fails_with_what_to_look_at(flowbench_check: Call) -> None:
    done = flowbench_check("fake_nan", "fake_nll", "--no-store")
    assert done.exit_code == 1
    assert "FAIL  values" in done.output
    assert "look at: " in done.output
    assert "2 checked, 1 failed: fake_nan" in done.output
    assert not Path("results").exists()


def test_quiet_shows_what_failed_alone(flowbench_check: Call) -> None:
    done = flowbench_check("fake_nan", "fake_nll", "--no-store", "-q")
    assert done.exit_code == 1
    assert "FAIL  values" in done.output
    assert "metric fake_nll" not in done.output
    assert "2 checked, 1 failed: fake_nan" in done.output
    done = flowbench_check("fake_nll", "--no-store", "-q")
    assert (done.exit_code, done.output) == (0, "")


def test_a_check_that_hangs_has_failed_and_says_so(flowbench_check: Call) -> None:
    done = flowbench_check("fake-hang", "fake_nll", "--limit", "1", "--fast", "--no-store")
    assert done.exit_code == 1
    assert "did not end: it took more than 1 s and was interrupted (fakes.py:" in done.output
    assert "2 checked, 1 failed: fake-hang" in done.output


def test_a_later_check_replaces_the_earlier_one_and_a_rebuild_finds_it(
    flowbench_check: Call,
) -> None:
    flowbench_check("fake-gaussian", "--fast")
    flowbench_check("fake-gaussian", "--fast", "--dataset", "fake-vectors")
    (kept,) = kept_checks()
    assert {result["case"] for result in kept.checks} == {"2 vector, real-valued"}
    rebuild(Path("results"))
    assert kept_checks() == [kept]


def test_json_is_the_whole_report(flowbench_check: Call) -> None:
    done = flowbench_check("fake_nan", "--json")
    (report,) = json.loads(done.stdout)
    assert report["status"] == "failed"
    failed = [result for result in report["checks"] if result["status"] == "failed"]
    assert {"name", "case", "figure", "tolerance", "detail", "look_at"} <= set(failed[0])


LOCAL_FILE = """
from flowbench.api import MetricSpec, MetricValue, hookimpl

FLOWBENCH_API_VERSION = 2
SPECS = [
    MetricSpec(name=n, compute=f"local_file:{n}", unit="", direction="none", summary="a number")
    for n in ("three", "four")
]

def three(trained, data, settings):
    return [MetricValue(name="three", value=3.0, unit="", direction="none")]

def four(trained, data, settings):
    return [MetricValue(name="four", value=4.0, unit="s", direction="none")]

@hookimpl
def register_metrics():
    return SPECS
"""


def test_a_bare_file_is_checked_whole_and_nothing_else_is(flowbench_check: Call) -> None:
    Path("local_file.py").write_text(LOCAL_FILE)
    done = flowbench_check("--json", plugins=("--plugin-file", "local_file.py"))
    reports = {report["name"]: report["status"] for report in json.loads(done.stdout)}
    assert reports == {"three": "passed", "four": "failed"}  # its unit is not that of its spec
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--no-plugin", "flowbench"), "give names, or --all"),
        ((*FAKE, "--all", "fake_nll"), "--all checks fake_nll and everything else"),
        ((*FAKE, "fake-gausian"), "did you mean 'fake-gaussian'"),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    flowbench_check: Call, arguments: tuple[str, ...], message: str
) -> None:
    done = flowbench_check(*arguments, plugins=())
    assert isinstance(done.exception, FlowbenchError)
    assert message in str(done.exception)
