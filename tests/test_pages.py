"""The pages about models, boards and bits are true: what they show runs and gives what they say."""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from flowbench.api import Executor, MetricSettings
from flowbench.contract import check_model
from flowbench.leaderboard.board import words
from flowbench.registry import PluginSelection, load_registry
from flowbench.store.records import AttemptStatus
from flowbench.suite.load import load_suite
from flowbench.suite.schema import BoardLayout, Suite
from tests.environments import INSTALL, make_environment, run_in

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PYTHON = re.compile(r"^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\w+\.py)\n")
MODEL = re.compile(r'name="([\w-]+)"')

FILES = {
    match[1]: code
    for code in PYTHON.findall((DOCS / "how-to" / "my-flow.md").read_text())
    if (match := FILE.match(code))
}
LIBRARIES = {
    "my_zuko.py": "zuko",
    "my_nflows.py": "nflows",
    "my_normflows.py": "normflows",
    "my_freia.py": "FrEIA",
}


def test_every_block_of_the_modules_page_is_a_file_that_is_checked() -> None:
    assert len(FILES) == len(PYTHON.findall((DOCS / "how-to" / "my-flow.md").read_text()))
    assert set(FILES) == {"my_density.py", "my_layers.py", *LIBRARIES}


@pytest.fixture
def unloaded() -> Iterator[None]:
    """Other tests may load files of the same names."""
    yield
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize("name", ["my_density.py", "my_layers.py"])
def test_a_module_keeps_the_contract(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name])
    (model,) = MODEL.findall(FILES[name])
    registry = load_registry(PluginSelection(exclude=("flowbench",), files=(tmp_path / name,)))
    report = check_model(registry, model, slow=False)
    assert report.status == "passed", "\n".join(report.lines())


@pytest.mark.slow
@pytest.mark.long
def test_wrapped_libraries_keep_the_contract_and_get_a_row(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "env")
    pins = ("-c", str(ROOT / "constraints.txt"))
    run_in(tmp_path, python, *INSTALL, *pins, *LIBRARIES.values())
    files, models = [], []
    for name in LIBRARIES:
        (tmp_path / name).write_text(FILES[name])
        files += ["--plugin-file", name]
        models += MODEL.findall(FILES[name])
    flowbench = partial(run_in, tmp_path, python, "flowbench.cli.app")
    # Trained, one model of each of the others' libraries is checked by the tests of their package.
    *others, last = models
    report = flowbench("check", *others, *files, "--fast", "--results", "results")
    report += flowbench("check", last, *files, "--results", "results")
    assert report.count("PASSED") == len(LIBRARIES)
    short = ("--budget", "5steps", "--metrics", "nll", "--eval-draws", "1")
    on = ("--models", ",".join(models), "--datasets", "two-moons", "--results", "results")
    flowbench("run", *on, *short, *files)
    attempts = json.loads(flowbench("results", "list", "--json", "--results", "results"))
    found = {(row["model"], row["status"]) for row in attempts}
    assert found == {(model, "ok") for model in models}


def test_the_example_of_the_bits_page_gives_what_it_says() -> None:
    results = doctest.testfile(str(DOCS / "concepts" / "bits.md"), module_relative=False)
    assert results.attempted > 20
    assert not results.failed


WORDS = [words.status(status) for status in (*get_args(AttemptStatus), "failed", "unavailable")]


@pytest.mark.parametrize("word", [word for word in WORDS if word])
def test_every_word_in_place_of_a_number_is_explained(word: str) -> None:
    assert f"| `{word}` |" in (DOCS / "how-to" / "read-a-board.md").read_text()


SUITE = (DOCS / "reference" / "suites.md").read_text()
TABLE = (DOCS / "how-to" / "papers-table.md").read_text()


def _block(page: str, kind: str, place: int = 0) -> str:
    found: list[str] = re.findall(rf"^```{kind}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    return found[place]


def test_the_suite_of_the_reference_says_what_its_comments_say(tmp_path: Path) -> None:
    (tmp_path / "flows.toml").write_text(_block(SUITE, "toml"))
    suite = load_suite(tmp_path / "flows.toml")
    assert suite.seeds == (0, 1, 2)
    assert suite.overrides == {"glow.training.lr": 2e-3}
    assert suite.protocol_on("two-moons").num_samples == 1000
    assert suite.protocol_on("digits").eval_draws == 32
    assert suite.executor is not None
    assert suite.executor.name == "slurm"


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    (tmp_path / "couplings.toml").write_text(_block(TABLE, "toml"))
    return tmp_path / "couplings.toml"


def test_the_suite_of_the_table_says_what_its_comments_say(suite_file: Path) -> None:
    suite = load_suite(suite_file)
    assert suite.seeds == (0, 1, 2)
    assert suite.overrides == {"realnvp.training.lr": 2e-3}
    assert suite.protocol_on("two-moons").num_samples == 500
    assert suite.protocol_on("pinwheel").num_samples == 1000


def test_every_key_of_a_suite_is_on_the_page() -> None:
    table = SUITE[SUITE.index("| Key | Is | Default |") :]
    keys = set(Suite.model_fields) - {
        "overrides",
        "protocols",
    }  # written [set], [protocols.DATASET]
    shown = {
        f"[{key}]" if key in ("protocol", "executor", "board", "packages", "grid", "sweep") else key
        for key in keys
    }
    assert all(f"| `{key}` |" in table for key in shown | {"[set]", "[protocols.DATASET]"})
    inner = set(MetricSettings.model_fields) | set(BoardLayout.model_fields)
    assert all(f"`{key}`" in table for key in inner)


@pytest.mark.slow
@pytest.mark.long
def test_the_commands_of_the_table_run(suite_file: Path) -> None:
    """All of them in order, with a few steps and one seed in place of a minute and three."""
    blocks = re.findall(r"^```sh\n(.*?)^```", TABLE, flags=re.DOTALL | re.MULTILINE)
    text = suite_file.read_text().replace('"60s"', '"5steps"').replace('"0-2"', '"0"')
    suite_file.write_text(text)
    program = f'flowbench() {{ "{sys.executable}" -m flowbench.cli.app "$@"; }}\n'
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWBENCH_")}
    done = subprocess.run(
        ["bash", "-ec", program + "".join(blocks)],
        cwd=suite_file.parent,
        capture_output=True,
        text=True,
        env=env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = (suite_file.parent / "boards" / "couplings.tex").read_text()
    heading = next(line for line in table.splitlines() if "Two moons" in line)
    assert re.findall("Two moons|Pinwheel|Size", heading) == ["Two moons", "Pinwheel", "Size"]
    assert (suite_file.parent / "boards" / "index.html").is_file()
    assert "A less B on two-moons" in done.stdout
    assert (suite_file.parent / "kept" / "kept" / "couplings.jsonl").is_file()
    assert len(list((suite_file.parent / "results" / "runs").iterdir())) == 4
    assert (suite_file.parent / "boards" / "denseflow-1.md").is_file()


def _code(page: str) -> list[str]:
    return re.findall(r"^```python\b[^\n]*\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.long
def test_the_code_of_pages_about_python_runs(tmp_path: Path) -> None:
    """In their order as one script, with a few steps and one seed in place of 20 s and three."""
    *of_python, tracker = _code((DOCS / "how-to" / "python.md").read_text())
    assert "mlflow" in tracker  # run by runner/test_tracking.py
    (of_results,) = _code((DOCS / "concepts" / "results.md").read_text())
    (of_readme,) = _code((ROOT / "README.md").read_text())
    script = "\n".join([*of_python, of_readme, of_results])
    for given, instead, times in (
        ('budget="20s"', 'budget="20steps", metrics=["nll"]', 3),
        ("range(3)", "range(1)", 1),
        ('"glow-digits-s0-…"', "done.jobs[0]", 1),
        ('"a job id of `flowbench results list`"', "done.jobs[1]", 1),
    ):
        assert script.count(given) == times, given
        script = script.replace(given, instead)
    (tmp_path / "page.py").write_text(f"{script}\nprint(sorted(set(flowbench.results().model)))\n")
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWBENCH_")}
    command = [sys.executable, "page.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "['my-flow', 'nice', 'realnvp']"


def test_the_executor_of_the_cluster_page_is_one(tmp_path: Path) -> None:
    """With the four methods that the page names, which depend on the cluster."""
    (code,) = _code((DOCS / "how-to" / "my-cluster.md").read_text())
    file = tmp_path / "my_pods.py"
    methods = "submit = status = cancel = log = lambda self, *_: []"
    file.write_text(f"{code}\n\nclass Pods(Executor):\n    {methods}\n")
    try:
        registry = load_registry(PluginSelection(exclude=("flowbench",), files=(file,)))
        entry = registry.executor("pods")
        assert issubclass(entry.resolve(entry.spec.executor), Executor)
    finally:
        sys.modules.pop(file.stem, None)


def test_the_test_of_the_contracts_page_is_that_of_the_guide() -> None:
    """Which contract/test_guide.py runs."""
    (code,) = _code((DOCS / "reference" / "contract.md").read_text())
    assert code in _code((DOCS / "how-to" / "plugin.md").read_text())
