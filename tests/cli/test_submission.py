"""From results to a bundle, to a verdict, to a board that says whose word its rows are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from flowbench.leaderboard.board import words
from flowbench.store.records import AttemptRow
from tests.cli.command import Command
from tests.store import attempts as make

DOCS = Path(__file__).parents[2] / "docs" / "how-to"
CODE = """from pathlib import Path
Path("executed").touch()
"""


@pytest.fixture
def bundle(flowbench: Command, tmp_path: Path) -> Path:
    """Three seeds of one row, and one run of a model that nobody else has."""
    quality = make.measured("bpd", 2.0, "bits/dim", role="quality")
    for job in (*(make.job("nice", seed) for seed in range(3)), make.job("mine")):
        extra = {"plugins/my_code.py": CODE.encode()} if job.model == "mine" else {}
        make.write(
            tmp_path / "results",
            make.attempt(job, measurements=(quality,)),
            curves=make.curve(2.0, points=400),
            artifacts=make.grid(),
            extra=extra,
        )
    status, out, err = flowbench("results", "submit", "--by", "A. Lab", "--out", "in/lab")
    assert (status, err) == (0, "")
    assert "in/lab: 4 attempts, 0." in out
    assert "with my_code.py, which others will read: it is code of yours" in " ".join(out.split())
    assert "others will check it so: flowbench results verify in/lab" in " ".join(out.split())
    return tmp_path / "in" / "lab"


@pytest.fixture
def reruns(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands in for training: what was asked to run; `bpd` comes out as `reruns.bpd`."""
    asked: list[Any] = []

    def again(record: AttemptRow, registry: Any, options: Any, *_: Any) -> AttemptRow:
        asked.append((record.job.model, record.job.seed))
        measured = make.measured("bpd", VALUE["bpd"], "bits/dim", role="quality")
        return record.model_copy(update={"measurements": (measured,)})

    monkeypatch.setattr("flowbench.cli.submission._again", again)
    VALUE["bpd"] = 2.01
    return asked


VALUE = {"bpd": 2.01}


def test_a_bundle_is_small_and_holds_no_places(bundle: Path, tmp_path: Path) -> None:
    lines = (bundle / "kept" / "lab.jsonl").read_text().splitlines()
    curves = [len(json.loads(line)["curves"]) for line in lines]
    drawn = [len(json.loads(line)["artifacts"]) for line in lines]
    assert max(curves) <= 120
    assert sorted(drawn) == [0, 0, 1, 1]  # of one run a row
    assert str(tmp_path) not in "".join(lines)


def test_a_row_is_run_again_and_gets_one_line(
    flowbench: Command, bundle: Path, reruns: list[Any]
) -> None:
    status, out, err = flowbench("results", "verify", str(bundle), "--record", "verified")
    assert (status, err) == (0, "")
    assert reruns == [("nice", 0)]
    said = " ".join(out.replace("\N{NO-BREAK SPACE}", " ").split())
    assert "nice:small on digits, 60 s: verified, 1 value of 1 seed again in 1,234 steps" in said
    assert "mine:small on digits, 60 s: not rerun, model 'mine' is not installed here" in said
    assert "the bundle brings my_code.py, which runs with --trust-code alone" in said
    assert "1 verified, 1 not rerun; 2 files as submitted" in said
    assert not Path("executed").exists()


def test_a_false_value_is_contradicted(flowbench: Command, bundle: Path, reruns: list[Any]) -> None:
    VALUE["bpd"] = 2.5
    status, out, _ = flowbench("results", "verify", str(bundle), "--seeds", "2", "--model", "nice")
    assert status == 1
    assert reruns == [("nice", 0), ("nice", 1)]
    assert "contradicted, bpd 2, now 2.5 (±0.05)" in " ".join(out.split())


def test_hashes_alone_can_be_checked(flowbench: Command, bundle: Path, reruns: list[Any]) -> None:
    status, out, _ = flowbench("results", "verify", str(bundle), "--seeds", "0")
    assert (status, reruns) == (0, [])
    assert "2 not rerun; 2 files as submitted" in " ".join(out.split())


def test_code_of_a_bundle_runs_on_a_word_alone(
    flowbench: Command, bundle: Path, reruns: list[Any]
) -> None:
    assert flowbench("results", "merge", str(bundle), "--results", "board")[0] == 0
    assert flowbench("leaderboard", "--results", "board", "--out", "pages")[0] == 0
    assert not Path("executed").exists()
    flowbench("results", "verify", str(bundle), "--trust-code")
    assert Path("executed").exists()


def test_a_bundle_that_was_tampered_with_runs_nothing(
    flowbench: Command, bundle: Path, reruns: list[Any]
) -> None:
    path = bundle / "kept" / "lab.jsonl"
    path.write_text(path.read_text().replace('"value":2.0', '"value":1.0', 1))
    for command in ("verify", "merge"):
        status, out, err = flowbench("results", command, str(bundle))
        assert (status, out, reruns) == (1, "", [])
        assert "is not what was submitted (SHA-256)" in " ".join(err.split())


def test_a_board_says_whose_word_its_rows_are(
    flowbench: Command, bundle: Path, reruns: list[Any]
) -> None:
    flowbench("results", "verify", str(bundle), "--record", "verified")
    status, out, _ = flowbench(
        "results", "merge", str(bundle), "--verified", "verified", "--results", "board"
    )
    assert (status, "4 attempts brought, 0 known" in out) == (0, True)
    formats = [f for name in ("md", "csv", "html") for f in ("--format", name)]
    flowbench("leaderboard", "--results", "board", "--out", "pages", *formats)
    text = next(Path("pages").glob("*.md")).read_text()
    assert r"nice:small \[verified\]" in text
    assert r"mine:small \[self-reported\]" in text
    page = next(Path("pages").glob("*.html")).read_text()
    assert "by A. Lab in lab, sha256" in page
    assert "verified: 1 value of 1 seed again" in page


def test_nothing_to_submit_is_said(flowbench: Command, bundle: Path) -> None:
    status, _, err = flowbench("results", "submit", "--model", "glow", "--out", "more")
    assert (status, "nothing of that kind" in err) == (1, True)
    status, _, err = flowbench("results", "submit", "--out", "in/lab")
    assert (status, "is there already" in err) == (1, True)
    status, _, err = flowbench("results", "verify", str(bundle), "--model", "glow")
    assert (status, "it has mine:small, nice:small" in err) == (1, True)


PAGE = DOCS / "living-board.md"


@pytest.mark.parametrize("command", ["submit", "verify", "merge"])
def test_the_page_and_the_workflow_use_flags_that_there_are(
    flowbench: Command, command: str
) -> None:
    text = PAGE.read_text() + (DOCS / "living-board" / "board.yml").read_text()
    lines = re.findall(rf"flowbench results {command}[^\n`]*", text)
    used = {flag for line in lines for flag in re.findall(r"--[\w-]+", line)}
    _, out, _ = flowbench("results", command, "--help")
    assert used
    assert used <= set(re.findall(r"--[\w-]+", out))


@pytest.mark.parametrize("word", words.STANDINGS)
def test_the_page_explains_each_standing(word: str) -> None:
    assert f"| `{word}` |" in PAGE.read_text()


@pytest.mark.slow
def test_a_real_row_is_verified_by_another_run(flowbench: Command) -> None:
    run = ("--models", "nice", "--datasets", "two-moons", "--budget", "20steps")
    assert flowbench("run", *run, "--eval-draws", "1", "--metrics", "nll,params")[0] == 0
    assert flowbench("results", "submit", "--out", "lab")[0] == 0
    status, out, err = flowbench("results", "verify", "lab", "--tolerance", "1e-6")
    assert status == 0, out + err
    assert "nice:vector on two-moons, 20 steps: verified, 1 value of 1 seed" in " ".join(
        out.replace("\N{NO-BREAK SPACE}", " ").split()
    )
