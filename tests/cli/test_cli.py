"""The command line, in this process: what it prints and how it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from flowbench.cli.app import app, main
from tests.cli.command import Command

FAKES = str(Path(__file__).parent.parent / "fakes.py")
FAKE = ("--plugin-file", FAKES, "--no-plugin", "flowbench")


def run_fakes(*more: str) -> tuple[str, ...]:
    return ("run", "--models", "fake-gaussian", "--datasets", "fake-images", *FAKE, *more)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "nothing to run; give a suite or --models"),
        (("run", "--models", "glo"), "unknown model 'glo'; did you mean 'glow'?"),
        (("run", "--models", "glow:51ch"), "unknown preset of glow '51ch'"),
        (("run", "--models", "glow", "--datasets", "digit"), "did you mean 'digits'?"),
        (("run", "--models", "glow", "--datasets", "cifar10"), "flowbench data prepare cifar10"),
        (("run", "--models", "glow", "--metrics", "bdp"), "did you mean 'bpd'?"),
        (("run", "--models", "glow", "--budget", "60"), "malformed budget '60'"),
        (("run", "--models", "glow", "--budget", "2gpuh", "--device", "cpu"), "counts GPU-hours"),
        (("run", "--models", "glow", "--seeds", "x"), "malformed seeds 'x'"),
        (("run", "--models", "glow", "--on-oom", "halve"), "expected one of half-batch"),
        (("run", "--models", "glow", "--set", "glow.widht=1"), "did you mean 'width'?"),
        (("run", "--models", "glow", "--set", "nice.width=1"), "names none of the models"),
        (("run", "--models", "glow", "--set", "glow.width=-1"), "glow.width: "),
        (("run", "--models", "glow", "--rerun", "some"), "--rerun is 'some'; expected one of"),
        (("run", "--models", "glow", "--timeout", "x"), "malformed --timeout 'x'"),
        (("run", "--models", "glow", "--executor", "x"), "unknown executor 'x'"),
        (("run", "--models", "glow", "--device", "x"), "device 'x' is not available"),
        (("run", "--models", "glow", "--sample", "temperature"), "malformed --sample"),
        (("run", "--models", "glow", "--sample", "temperature=-1"), "temperature"),
        (("run", "--models", "glow", "--eval-draws", "9" * 20), "eval_draws: Input should be less"),
        (("run", "--models", "glow", "--num-samples", "9" * 20), "num_samples: Input should be"),
        (("run", "nothing"), "unknown suite 'nothing'"),
        (("run", "no.toml"), "does not exist"),
        (("run", "--models", "glow", "--plugin-file", "no.py"), "does not exist"),
        (("list", "model"), "cannot list 'model'"),
        (("show", "glo"), "did you mean 'glow'?"),
        (("show", "glow", "--dataset", "two-moons"), "cannot run on two-moons"),
        (("plugins", "--no-plugin", "x"), "unknown plugin 'x'"),
        (("results", "list"), "flowbench run"),
        (("results", "show", "x"), "results"),
        (("leaderboard",), "flowbench run"),
        (("compare", "glow", "nice"), "flowbench run"),
        (("leaderboard", "--format", "doc"), "unknown format 'doc'"),
        (("store", "verify"), "results"),
    ],
)
def test_bad_input_is_one_clear_line(
    flowbench: Command, arguments: tuple[str, ...], message: str
) -> None:
    status, out, err = flowbench(*arguments)
    assert status == 1, out
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_malformed_suite_names_its_file(flowbench: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("models = [\n")
    status, _, err = flowbench("run", "mine.toml")
    assert status == 1
    assert "mine.toml" in err
    assert "not valid TOML" in err


def test_a_plugin_that_raises_at_import_is_one_clear_line(
    flowbench: Command, tmp_path: Path
) -> None:
    (tmp_path / "raises.py").write_text("raise RuntimeError('boom')\n")
    status, _, err = flowbench("list", "--plugin-file", "raises.py")
    assert status == 1
    assert err == "error: plugin file 'raises.py' does not load: RuntimeError: boom\n"


def test_lists_are_json_with_names(flowbench: Command) -> None:
    for kind in ("models", "datasets", "metrics", "suites"):
        status, out, _ = flowbench("list", kind, "--json")
        assert status == 0
        assert all(row["name"] for row in json.loads(out))


def test_show_counts_parameters_without_data(flowbench: Command) -> None:
    status, out, _ = flowbench("show", "glow:512ch", "--dataset", "cifar10", "--json")
    shown = json.loads(out)
    assert status == 0
    assert shown["num_parameters"] == 44_235_312
    assert {"name", "preset", "config", "likelihood", "paper"} <= set(shown)


def test_show_takes_overrides(flowbench: Command) -> None:
    _, out, _ = flowbench("show", "fake-gaussian", "--set", "width=9", "--json", *FAKE)
    assert json.loads(out)["config"]["width"] == 9


def test_a_dry_run_writes_nothing(flowbench: Command, tmp_path: Path) -> None:
    status, out, _ = flowbench(*run_fakes("--dry-run"))
    assert status == 0
    assert "not run yet" in out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_shows_what_a_grid_runs(flowbench: Command) -> None:
    grid = ("--set", "fake-gaussian.width=4,8", "--set", "fake-gaussian.training.lr=0.1,0.2")
    status, out, _ = flowbench(*run_fakes(*grid, "--dry-run"))
    assert status == 0
    assert all(f"lr={lr} width={width}" in out for lr in (0.1, 0.2) for width in (4, 8))
    assert "4 to train" in out


def test_sampling_options_are_separated_by_commas(flowbench: Command) -> None:
    given = ("--sample", "guidance=2,denoise=true", "--sample", "temperature=0.9", "--dry-run")
    status, out, _ = flowbench("run", "--models", "tarflow:tiny-gen,tarflow:tiny,glow", *given)
    assert status == 0
    planned = {line.split()[2]: line for line in out.splitlines() if "-digits-" in line}
    assert "not run yet" in planned["tarflow:tiny-gen"]
    assert "this tarflow sees no labels" in planned["tarflow:tiny"]
    assert "unknown sampling option 'denoise'" in planned["glow:tiny"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a run that went well and one that did not."""
    folder = tmp_path_factory.mktemp("cli")
    models = "fake-gaussian,fake-crash"
    arguments = ["run", "--models", models, "--datasets", "fake-images", "--budget", "20steps"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["flowbench", *arguments, *FAKE])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 1  # not all jobs were ok
    return folder / "results"


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> str:
    """A copy that a test may spoil."""
    return str(shutil.copytree(finished, tmp_path / "results"))


def test_results_list_has_the_promised_keys(flowbench: Command, results: str) -> None:
    _, out, _ = flowbench("results", "list", "--json", "--results", results)
    rows = {row["model"]: row for row in json.loads(out)}
    promised = "job_id attempt model preset dataset seed status reason device budget steps started"
    assert {*promised.split(), "metrics", "name"} <= set(rows["fake-gaussian"])
    assert rows["fake-crash"]["status"] == "crashed"
    value = rows["fake-gaussian"]["metrics"]["fake_nll"]
    assert set(value) >= set("value unit direction n stderr split protocol status".split())
    assert value["n"] == 60


def test_results_list_and_logs_for_people(flowbench: Command, results: str) -> None:
    _, out, _ = flowbench("results", "list", "--results", results)
    assert "fake-crash" in out
    job = next(line.split()[0] for line in out.splitlines() if line.startswith("fake-crash"))
    _, log, _ = flowbench("results", "logs", job, "--results", results)
    assert "this model breaks in its loss" in log
    _, record, _ = flowbench("results", "show", job, "--results", results)
    assert json.loads(record)["status"] == "crashed"


def test_results_export_and_query(flowbench: Command, results: str, tmp_path: Path) -> None:
    out_file = tmp_path / "all.csv"
    status, _, _ = flowbench("results", "export", "--out", str(out_file), "--results", results)
    assert status == 0
    assert "fake_nll" in out_file.read_text()
    sql = "select status, count(*) as n from attempts group by 1 order by 1"
    _, out, _ = flowbench("results", "query", sql, "--json", "--results", results)
    assert json.loads(out) == [{"status": "crashed", "n": 1}, {"status": "ok", "n": 1}]
    status, _, err = flowbench("results", "query", "drop table attempts", "--results", results)
    assert status == 1
    assert err.startswith("error: ")


def test_a_damaged_database_costs_a_word(flowbench: Command, results: str) -> None:
    (Path(results) / "flowbench.duckdb").write_bytes(b"damage" * 999)
    status, out, _ = flowbench("results", "list", "--results", results)
    assert status == 0
    assert "fake-crash" in out
    assert (Path(results) / "flowbench.duckdb.damaged-1").is_file()
    status, out, _ = flowbench("store", "rebuild", "--results", results)
    assert status == 0
    assert "2 attempts read" in out
    assert flowbench("store", "verify", "--results", results)[0] == 0
    assert flowbench("store", "migrate", "--results", results)[0] == 0


def test_doctor_is_content_here(flowbench: Command, results: str) -> None:
    status, out, _ = flowbench("doctor", "--results", results)
    assert status == 0, out
    assert "2 attempts" in out


def test_the_board_is_one_file_and_the_same_bytes_again(flowbench: Command, results: str) -> None:
    pages = []
    for out in ("one", "two"):
        status, printed, _ = flowbench("leaderboard", "--results", results, "--out", out)
        assert status == 0
        page = Path(printed.splitlines()[0])
        pages.append(page.read_bytes())
    assert pages[0] == pages[1]
    text = pages[0].decode()
    assert "fake-gaussian" in text
    assert 'http-equiv="Content-Security-Policy"' in text


def test_a_finished_run_is_reused(flowbench: Command, results: str) -> None:
    status, out, err = flowbench(*run_fakes("--budget", "20steps", "--results", results))
    assert status == 1  # two of the fakes' metrics fail, however often the result is reused
    assert "fake-gaussian" in out
    assert "1 reused" in err.splitlines()


@pytest.mark.slow
def test_an_edited_model_runs_again_and_a_comment_changes_nothing(
    flowbench: Command, tmp_path: Path
) -> None:
    file = tmp_path / "edited_flow.py"
    text = Path(FAKES).read_text()
    file.write_text(text)
    given = (
        "run --models fake-gaussian --datasets fake-images --metrics fake_nll --budget 1steps "
        "--no-plugin flowbench"
    )
    command = (*given.split(), "--plugin-file", str(file), "--dry-run", "--results", "edited")

    def planned() -> str:
        _unload("edited_flow")
        status, out, err = flowbench(*command)
        assert status == 0, err
        return out

    _unload("edited_flow")
    status, _, err = flowbench(*(part for part in command if part != "--dry-run"))
    assert status == 0, err
    assert err.splitlines()[0] == "1 to run"
    assert " reuse " in planned()
    file.write_text(text + "\n# A comment.\n")
    assert " reuse " in planned()
    file.write_text(text + "\nMORE = 1\n")
    assert "the code of fake-gaussian has changed" in planned()


def _unload(module: str) -> None:
    """Lets a file be imported anew, as another process would."""
    sys.modules.pop(module, None)


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("run", ["digits", "16", "256", "FLOWBENCH_WEIGHTS", "2h"]),
        ("leaderboard", ["html"]),
        ("check", ["120"]),
        ("results list", ["FLOWBENCH_RESULTS"]),
    ],
)
def test_help_shows_defaults(
    flowbench: Command, monkeypatch: pytest.MonkeyPatch, command: str, defaults: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    status, out, _ = flowbench(*command.split(), "--help")
    assert status == 0
    said = [line.partition("[default: ")[2] for line in out.splitlines()]
    assert all(any(default in line for line in said) for default in defaults), said


def test_completion_can_be_installed(flowbench: Command) -> None:
    assert "--install-completion" in flowbench("--help")[1]


LIST = ("results", "list")


def test_results_are_listed_by_model_dataset_and_status(flowbench: Command, results: str) -> None:
    def listed(*flags: str) -> int:
        return len(
            json.loads(flowbench("results", "list", "--json", "--results", results, *flags)[1])
        )

    every = listed()
    assert every > 0
    assert listed("--model", "fake-gaussian", "--dataset", "fake-images") > 0
    assert listed("--status", "ok") > 0
    assert listed("--model", "no") == listed("--dataset", "no") == listed("--status", "oom") == 0
    _, out, _ = flowbench("results", "list", "--results", results, "--model", "no")
    assert out.startswith(f"none of the {every} attempts")
    names = [a["name"] for a in json.loads(flowbench(*LIST, "--json", "--results", results)[1])]
    last = json.loads(flowbench(*LIST, "--json", "--results", results, "--limit", "1")[1])
    assert [a["name"] for a in last] == names[-1:]
    assert listed("--limit", "9", "--status", "ok") == 1


def test_the_log_of_a_good_job_says_how_it_went(flowbench: Command, results: str) -> None:
    _, out, _ = flowbench("results", "list", "--json", "--results", results, "--status", "ok")
    name = json.loads(out)[0]["name"]
    status, out, _ = flowbench("results", "logs", name, "--results", results)
    assert status == 0
    assert out.splitlines()[-1].startswith(f"{name}: ok, ")


@pytest.mark.slow
@pytest.mark.long
def test_quiet_prints_the_table_and_verbose_what_flags_come_to(
    flowbench: Command, tmp_path: Path
) -> None:
    asked = ("--budget", "5steps", "--metrics", "fake_nll", "--results", str(tmp_path / "r"))
    ran = run_fakes(*asked)
    status, out, err = flowbench(*ran, "-v")
    assert status == 0
    assert f"results: {tmp_path / 'r'}" in err
    assert "budget=5steps metrics=" in err
    assert " width=4" in err
    (begun,) = (line for line in err.splitlines() if ": attempt 1, " in line)
    assert begun.split(", ")[-1].startswith(str(tmp_path / "r" / "runs" / "fake-gaussian-"))
    assert "fake-gaussian:images on fake-images, seed 0: look at step 0, 0 % of budget" in err
    status, again, err = flowbench(*ran, "-q")
    assert (status, err) == (0, "")
    assert again == out
    status, _, err = flowbench(*ran, "-q", "-v")
    assert (status, err.count("\n")) == (1, 1)
    assert "--quiet and --verbose" in err


@pytest.mark.slow
def test_quiet_still_says_what_failed(flowbench: Command) -> None:
    asked = ("--models", "fake-crash", "--datasets", "fake-images", "--budget", "5steps")
    status, _, err = flowbench("run", *asked, *FAKE, "-q")
    assert status == 1
    assert err.startswith("crashed: fake-crash:images on fake-images, seed 0: ValueError: ")
    assert "(flowbench results logs fake-crash-fake-images-s0-" in err
    assert err.count("\n") == 1


def test_every_option_with_a_value_and_every_argument_says_its_default() -> None:
    silent = [
        f"{' '.join(path)} {param.name}"
        for path, command in _commands(typer.main.get_command(app), ())
        for param in command.params
        if not (param.required or getattr(param, "is_flag", False))
        and not _says_default(param)
        # What can be repeated and is not given is nothing.
        and not (param.multiple or param.name == "help")
    ]
    assert silent == []


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if path:
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*path, name))


def _says_default(param: Any) -> bool:
    return "[default: " in (param.help or "") or (
        param.show_default is not False and param.default not in (None, ())
    )


@pytest.mark.parametrize(
    ("command", "into"), [("list", "| head -1"), ("show digits", ">&-"), ("run --help", "| true")]
)
def test_an_output_that_closes_is_no_error(tmp_path: Path, command: str, into: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m flowbench.cli.app {command} {into}'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("given", ["9" * 5000, "\x1b[2J" * 2000])
def test_an_error_quotes_no_more_than_a_terminal_shows(flowbench: Command, given: str) -> None:
    status, _, err = flowbench("run", "--models", "glow", "--budget", given)
    assert status == 1
    assert len(err) < 1600
    assert err.rstrip("\n").isprintable()


@pytest.mark.parametrize(("loaded", "spared"), [("sys", "True"), ("duckdb", "False")])
def test_what_is_loaded_is_not_looked_through_at_the_end(loaded: str, spared: str) -> None:
    # What is registered first is called last.
    told = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000))"
    code = f"{told}; import {loaded}; from flowbench.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == spared
    assert done.stderr == ""  # DuckDB would name what is left


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_output_for_which_there_is_no_room_is_told_in_one_line() -> None:
    command = [sys.executable, "-m", "flowbench.cli.app", "list", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    line = "error: No space left on device; make room and give the same command again\n"
    assert done.stderr == line


def test_a_run_of_which_no_job_could_be_started_says_why(
    flowbench: Command, tmp_path: Path
) -> None:
    asked = run_fakes("--budget", "5steps", "--results", str(tmp_path), "--dry-run")
    _, out, _ = flowbench(*asked)
    job = next(word for word in out.split() if word.startswith("fake-gaussian-fake-images"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / job).symlink_to("/nowhere/at/all")
    status, _, err = flowbench(*asked[:-1], "--quiet")
    assert status == 1
    assert "crashed: fake-gaussian:images on fake-images, seed 0: it could not be started" in err
    assert "no attempts to show" not in err
