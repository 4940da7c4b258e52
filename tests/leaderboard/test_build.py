from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import pytest
from rich.console import Console

from flowbench.leaderboard import write_boards
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.problems import problems
from flowbench.leaderboard.board.table import Board, Row
from flowbench.leaderboard.build.evidence import Source
from flowbench.leaderboard.build.from_records import _description
from flowbench.leaderboard.publish import board_of_suite, boards_of_records
from flowbench.leaderboard.render import csv, html, latex, markdown, parquet, terminal
from flowbench.store.records import AttemptRow
from flowbench.suite.settings import parse_grid
from tests.leaderboard import mirrored
from tests.store import attempts as make


def board(*records: AttemptRow, log_prob: dict[str, np.ndarray] | None = None) -> Board:
    (only,) = boards_of_records(Source(records=records, log_prob=log_prob or {}))
    return only


def run(model: str, seed: int, bpd: float, **fields: Any) -> AttemptRow:
    protocol = {**make.UNIFORM_BOUND, **fields.pop("protocol", {})}
    job = make.job(model, seed, **fields.pop("job", {}))
    values = (make.measured("bpd", bpd, "bits/dim", n=360, protocol=protocol),)
    return make.attempt(job, **{"measurements": values, **fields})


def rows(found: Board) -> dict[str, Row]:
    return {row.name: row for row in found.rows}


def test_seeds_make_one_row_with_an_interval() -> None:
    found = board(*(run("realnvp", seed, 2.0 + 0.01 * seed) for seed in range(3)))
    (row,) = found.rows
    assert row.cells[0].text == "≤ 2.010 ±.025"
    assert row.cells[0].n == found.columns[0].n == 3
    assert found.facts == ("1 method", "3 runs")


FAMILIES = {"glow": "Flows", "nice": "Flows", "vae": "VAEs", "edm": "Diffusion", "mine": None}


def test_rows_are_grouped_by_family_the_best_first(tmp_path: Path) -> None:
    bits = {"glow": 2.2, "nice": 2.4, "vae": 2.1, "edm": 2.3, "mine": 2.5}
    runs = [run(name, 0, bpd, job={"family": FAMILIES[name]}) for name, bpd in bits.items()]
    found = board(*runs)
    groups = {
        group.name: [row.name.partition(":")[0] for row in group.rows] for group in found.groups
    }
    assert groups == {
        "VAEs": ["vae"], "Flows": ["glow", "nice"], "Diffusion": ["edm"], "Other models": ["mine"]
    }  # fmt: skip
    assert list(groups) == ["VAEs", "Flows", "Diffusion", "Other models"]
    write_boards([found], tmp_path, ("html", "md", "latex", "csv", "parquet"))
    written = [path.read_text() for path in tmp_path.iterdir() if path.suffix != ".parquet"]
    assert len(written) >= 4
    assert all("Flows" in text and "Other models" in text for text in written if "glow" in text)
    page = (tmp_path / "index.html").read_text()
    assert "by group" in page
    assert "Stroke: published" not in page  # none is on it
    printed = io.StringIO()
    Console(file=printed, width=80).print(terminal.render([found]))
    assert "\nFlows" in printed.getvalue()
    assert found.to_frame()["group"].unique().tolist() == list(groups)


def test_a_row_has_the_family_of_any_of_its_runs_and_one_family_makes_no_group() -> None:
    old, new = run("glow", 0, 2.2), run("glow", 1, 2.2, job={"family": "Flows"})
    assert [group.name for group in board(old, run("vae", 0, 2.1)).groups] == [""]
    assert [group.name for group in board(old, new, run("vae", 0, 2.1)).groups] == [""]
    vae = run("vae", 0, 2.1, job={"family": "VAEs"})
    assert [group.name for group in board(old, new, vae).groups] == ["VAEs", "Flows"]


def test_every_mean_over_seeds_has_its_interval_and_n() -> None:
    values = {"fd": (86.59, 76.53), "fid": (12.1, 13.2), "params": (7.0, 7.0)}
    found = board(
        *(
            make.attempt(
                make.job("nice", seed),
                measurements=tuple(
                    make.measured(name, pair[seed], "", direction="lower")
                    for name, pair in values.items()
                ),
            )
            for seed in range(2)
        )
    )
    text = {c.metric: cell.text for c, cell in zip(found.columns, found.cells, strict=False)}
    assert text["fd"] == "81.6 ±63.9"
    assert text["fid"] == "12.6 ±7.0"
    assert {"fd", "fid"} <= {column.metric for column in found.columns if column.n == 2}
    assert "±" not in text["num_parameters"]  # a count


FID = {
    "extractor": "inception-v3-compat",
    "weights_sha256": "67",
    "rounding": "floor",
    "resize": "bilinear",
    "reference": "train",
    "reference_sha256": "cd",
    "num_samples": 50_000,
}


def fid(model: str, value: float, seed: int, **protocol: Any) -> AttemptRow:
    given: dict[str, Any] = {"protocol": FID | protocol, "role": "quality", "scale": "linear"}
    return make.attempt(
        make.job(model, seed), measurements=(make.measured("fid", value, "", **given),)
    )


@pytest.mark.parametrize("fact", FID)
def test_fids_of_another_protocol_are_never_ranked_together(fact: str) -> None:
    runs = [fid(m, v + seed / 9, seed) for m, v in (("a", 3.0), ("b", 9.0)) for seed in range(3)]
    runs += [fid("c", 1.0 + seed / 9, seed, **{fact: 5}) for seed in range(3)]  # the smallest
    found = board(*runs)
    cells = {name: row.cells[0] for name, row in rows(found).items()}
    assert {n: (c.rank, c.best, c.unlike) for n, c in cells.items()} == {
        "a:small": ("1", True, False),
        "b:small": ("2", False, False),
        "c:small": ("–", False, True),
    }
    assert f"{fact} is 5, not {FID[fact]}" in dict(found.notes)[cells["c:small"].note]


def test_seeds_whose_fids_are_of_other_protocols_have_no_mean() -> None:
    found = board(*(fid("a", 3.0, seed, num_samples=10**seed) for seed in range(2, 6)))
    assert next(iter(found.rows)).cells[0].n == 1


@pytest.mark.parametrize("status", ["crashed", "diverged", "oom", "timeout"])
def test_a_board_without_values_is_written_and_says_why(status: str, tmp_path: Path) -> None:
    good = run("glow", 0, 2.0)
    bad = make.attempt(make.job("nice", dataset="other"), status=status, measurements=())
    found = boards_of_records(Source(records=(good, bad)))
    write_boards(found, tmp_path, ("html", "md", "latex", "csv", "parquet"))
    (empty,) = (one for one in found if one.columns[0].dataset == "other")
    for path in (tmp_path / f"{empty.slug}{suffix}" for suffix in (".html", ".md", ".tex")):
        assert f"No run ended well, so there are no values: 1 {status}" in path.read_text()
    assert len(list(tmp_path.glob("*.html"))) == 3


RENDERINGS = {"csv": csv, "html": html, "latex": latex, "markdown": markdown}


def rendered(name: str, found: Board, folder: Path) -> str:
    """A board in one of the renderings, on one line."""
    if name == "terminal":
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(terminal.render([found]))
        text = console.export_text()
    elif name == "parquet":
        (folder / "board.parquet").write_bytes(parquet.render(found))
        text = str(duckdb.read_parquet(str(folder / "board.parquet")).fetchall())
    else:
        text = RENDERINGS[name].render(found)
    return re.sub(r"\s+", " ", text.replace("\\", ""))


@pytest.mark.parametrize("name", ["terminal", "parquet", *RENDERINGS])
def test_too_few_runs_are_said_in_every_rendering(name: str, tmp_path: Path) -> None:
    runs = [run(model, seed, 2.0 + shift + 0.2 * seed) for model, shift in (("a", 0.0), ("b", 0.1))
            for seed in range(2)]  # fmt: skip
    found = board(*runs)
    assert not any(row.cells[0].best for row in found.rows)
    text = rendered(name, found, tmp_path)
    assert "oo few runs to rank" in text
    assert ("n=2" in text) is (name not in ("csv", "parquet"))  # these have a column for it


def submitted(record: AttemptRow, standing: str) -> AttemptRow:
    said = {"submission": {"standing": standing, "name": "lab", "bundle": "ab" * 32, "by": "A"}}
    return record.model_copy(update={"provenance": said})


@pytest.mark.parametrize("name", ["terminal", "parquet", *RENDERINGS])
def test_whose_word_a_row_is_is_said_in_every_rendering(name: str, tmp_path: Path) -> None:
    records = [submitted(r, "verified") for r in mirrored.records()[:1]]
    suite, source = mirrored.suite("denseflow-1"), Source(records=records)
    text = rendered(name, board_of_suite(suite, source), tmp_path)
    assert "verified" in text
    assert "published" in text
    own = Source(records=[*mirrored.records()[:1]])
    assert "verified" not in rendered(name, board_of_suite(suite, own), tmp_path)
    said = submitted(run("b", 0, 2.0), "self-reported")
    found = board(said, run("mine", 0, 2.1))
    assert "reported" in rendered(name, found, tmp_path)  # LaTeX writes the hyphen its own way
    assert rows(found)["mine:small"].badges == ()


def test_rows_of_a_paper_alone_say_so_where_others_have_sent_results() -> None:
    records = [submitted(r, "verified") for r in mirrored.records()[:1]]
    suite = mirrored.suite("denseflow-1")
    badges = [row.badges for row in board_of_suite(suite, Source(records=records)).rows]
    assert badges.count(("verified",)) == 1
    assert badges.count(("published",)) == len(badges) - 1
    assert not any(row.badges for row in board_of_suite(suite, Source()).rows)


WITNESS = {"role": "witness", "label": "Mass", "short": "Mass"}


def witnessed(model: str, seed: int, bpd: float, refutes: str | None) -> AttemptRow:
    good = run(model, seed, bpd)
    mass = make.measured("mass", 1.0, "", direction="none", refutes=refutes, **WITNESS)
    return good.model_copy(update={"measurements": (*good.measurements, mass)})


@pytest.mark.parametrize("name", ["terminal", "parquet", *RENDERINGS])
def test_a_refuted_row_says_by_what_in_every_rendering(name: str, tmp_path: Path) -> None:
    wrong = [
        witnessed("wrong", 0, 1.0, None),
        witnessed("wrong", 3, 1.1, "Mass 2.72 is above 1.01"),
    ]
    found = board(*wrong, witnessed("right", 0, 2.0, None), witnessed("right", 1, 2.1, None))
    text = rendered(name, found, tmp_path)
    assert "Struck: mass 2.72 is above 1.01 (seed 3)." in text
    assert "refuted ×" in text.replace("ensuremath{times}", "×")


@pytest.mark.parametrize("seeds", [1, 2])
def test_any_refuted_seed_strikes_the_row(seeds: int) -> None:
    reasons = ["Mass 2.72 is above 1.01", "Loops 3 is above 0"][:seeds]
    wrong = [witnessed("wrong", seed, 1.0, reason) for seed, reason in enumerate(reasons)]
    right = [witnessed("right", seed, 2.0, None) for seed in range(2)]
    found = board(*wrong, witnessed("wrong", 7, 1.1, None), *right)
    row = rows(found)["wrong:small"]
    assert row.badges == ("refuted ×",)
    first = row.cells[0]
    assert (first.struck, first.rank, first.best) == (True, "–", False)
    more = ", and 1 more" if seeds == 2 else ""
    assert dict(found.notes)[first.note].startswith(
        f"Struck: mass 2.72 is above 1.01 (seed 0{more})."
    )
    assert all(cell.struck for cell in row.cells if cell.value)
    assert rows(found)["right:small"].cells[0].rank == "1"
    assert not rows(found)["right:small"].cells[0].struck
    assert f"{found.slug} / wrong:small: refuted ×" in problems(found)


def test_the_absence_of_a_witness_says_nothing() -> None:
    found = board(*(run("glow", seed, 2.0) for seed in range(2)))
    assert not any(cell.struck for cell in found.cells)


def test_columns_are_likelihoods_then_costs() -> None:
    found = board(make.attempt(measurements=make.measurements(2.0)))
    assert [c.metric for c in found.columns] == [
        "bpd", "params", "device_hours", "sampling_latency", "sampling_throughput", "steps",
    ]  # fmt: skip
    assert [c.direction for c in found.columns] == [
        "lower", "none", "none", "lower", "higher", "none",
    ]  # fmt: skip


def test_runs_of_so_many_steps_say_how_fast_they_were() -> None:
    asked: dict[str, Any] = {"job": {"budget": "500steps"}, "steps": 500}
    found = board(run("a", 0, 2.0, charged_s=25.0, **asked), run("b", 0, 2.1, **asked))
    assert found.columns[-1].metric == "steps_per_s"
    assert rows(found)["a:small"].cells[-1].text == "20.0"


def test_a_metric_of_a_plugin_gets_a_column_while_there_is_room() -> None:
    values = (make.measured("bpd", 2.0, "bits/dim"), make.measured("fid", 12.3, ""))
    found = board(make.attempt(measurements=values))
    assert [c.metric for c in found.columns] == ["bpd", "fid", "num_parameters", "steps"]


def test_a_row_with_one_run_says_so() -> None:
    (row,) = board(run("realnvp", 0, 2.0)).rows
    assert row.cells[0].text == "≤ 2.000 n=1"


def test_single_runs_tie_by_test_sampling_and_say_so() -> None:
    a, b = run("a", 0, 2.0), run("b", 0, 2.0)
    log_prob = {a.attempt_id: make.log_prob(2.0, 1), b.attempt_id: make.log_prob(2.0, 2)}
    bpd = {k: -v.mean() / (make.NUM_DIMS * np.log(2)) for k, v in log_prob.items()}
    a, b = (
        r.model_copy(
            update={
                "measurements": (
                    r.measurements[0].model_copy(update={"value": bpd[r.attempt_id] + shift}),
                )
            }
        )
        for r, shift in ((a, 0.0), (b, 0.0))
    )
    found = board(a, b, log_prob=log_prob)
    assert all(row.cells[0].best for row in found.rows)
    assert any("test sampling only" in text for _, text in found.notes)


def test_a_failed_row_says_so_once() -> None:
    found = board(run("realnvp", 0, 2.0), make.failed(make.job("glow"), "oom"))
    cells = rows(found)["glow:small"].cells
    assert [cell.text for cell in cells] == ["× out of memory", *("" for _ in cells[1:])]
    assert rows(found)["glow:small"].details[0].failures[0].reason
    assert found.facts == ("2 methods", "2 runs", "1 failed")


def test_a_board_of_failures_is_a_board() -> None:
    found = board(
        make.failed(make.job("glow"), "crashed").model_copy(update={"num_parameters": None})
    )
    assert [cell.text for cell in next(found.rows).cells] == ["× crashed"]


def test_a_run_that_failed_beside_others_is_noted() -> None:
    found = board(run("glow", 0, 2.0), run("glow", 1, 2.1), make.failed(make.job("glow", 2)))
    (row,) = found.rows
    assert dict(found.notes)[row.cells[0].note] == "Mean of 2 of 3 runs; 1 diverged."


def test_a_run_that_never_had_a_device_stays_with_its_fellows() -> None:
    lost = make.failed(make.job("glow", 1)).model_copy(update={"device_name": None})
    assert len(list(board(run("glow", 0, 2.0), lost).rows)) == 1


@pytest.mark.parametrize(("budget", "num_rows"), [("60s", 2), ("5000steps", 1)])
def test_hardware_parts_rows_only_where_the_budget_is_time(budget: str, num_rows: int) -> None:
    found = board(
        run("glow", 0, 2.0, job={"budget": budget}),
        run("glow", 1, 2.0, job={"budget": budget}, device_name="H100", device_kind="cuda"),
    )
    assert len(list(found.rows)) == num_rows


def test_other_hardware_is_not_ranked_and_named() -> None:
    found = board(
        run("a", 0, 2.0), run("b", 0, 2.1), run("c", 0, 1.0, device_name="H100", device_kind="cuda")
    )
    cell = rows(found)["c:small"].cells[0]
    assert (cell.unlike, cell.best, cell.rank) == (True, False, "–")
    assert "hardware is H100, not Xeon, 2\u00a0threads" in dict(found.notes)[cell.note]
    assert rows(found)["c:small"].sub.endswith("H100")


@pytest.mark.parametrize("apart", [{"measure": "continuous"}, {"given": "label"}])
def test_unlike_likelihoods_are_not_ranked_together(apart: dict[str, str]) -> None:
    found = board(run("a", 0, 2.0), run("b", 0, 2.1), run("c", 0, 1.0, protocol=apart))
    assert rows(found)["c:small"].cells[0].unlike


def test_exact_values_and_bounds_share_a_ranking() -> None:
    exact = {"estimate": "exact", "dequantization": "none", "draws": 1}
    runs = [(run("a", seed, 2.0), run("b", seed, 1.9, protocol=exact)) for seed in range(2)]
    found = board(*(one for pair in runs for one in pair))
    assert [(r.name, r.cells[0].rank, r.cells[0].sign) for r in found.rows] == [
        ("b:small", "1", "="),
        ("a:small", "2", "≤"),
    ]


def test_other_data_and_other_draws_are_rows_of_their_own() -> None:
    found = board(
        run("a", 0, 2.0),
        run("a", 1, 2.0, job={"dataset_sha256": "e" * 64}),
        run("a", 2, 2.0, job={"protocol": {"eval_draws": 1000}}),
    )
    assert len(list(found.rows)) == 3
    assert sum(row.cells[0].unlike for row in found.rows) == 2


def test_each_data_set_and_budget_has_a_board() -> None:
    found = boards_of_records(
        Source(
            records=[
                run("a", 0, 2.0),
                run("a", 0, 2.0, job={"budget": "120s"}),
                run("a", 0, 2.0, job={"dataset": "natural-patches"}),
            ]
        )
    )
    assert [b.slug for b in found] == ["digits-120s", "digits-60s", "natural-patches-60s"]


def test_details_reproduce_the_row() -> None:
    found = board(
        *(run("glow", s, 2.0, job={"preset": "x y", "overrides": {"width": 32}}) for s in range(3))
    )
    details = next(found.rows).details[0]
    assert details.command == (
        "flowbench run --models 'glow:x y' --datasets digits --budget 60s --seeds 0-2 "
        "--set glow.width=32 --eval-draws 16"
    )
    assert ("training.clip_norm", "null", False) in details.config


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_a_row_says_in_what_it_was_trained_unless_that_is_float32(precision: str) -> None:
    found = board(run("a", 0, 2.0, job={"config": {"training": {"precision": precision}}}))
    told = f"trained in {precision}" in next(found.rows).sub
    assert told == (precision != "float32")


def test_mixed_code_is_badged() -> None:
    found = board(run("a", 0, 2.0), run("a", 1, 2.0, code_sha256="e" * 64))
    assert next(found.rows).badges == ("mixed code",)


@pytest.mark.parametrize(
    ("protocol", "flags"),
    [
        ({"eval_draws": 200}, "--eval-draws 200"),
        ({"num_samples": 256, "sample": {"temperature": 1.0, "options": {}}}, ""),
        ({"num_samples": 50_000}, "--num-samples 50000"),
        ({"sample": {"temperature": 0.8, "options": {}}}, "--sample temperature=0.8"),
        (
            {"sample": {"temperature": 1.0, "options": {"guidance": 2.0, "denoise": True}}},
            "--sample guidance=2.0 --sample denoise=true",
        ),
        (
            {"sample": {"temperature": 0.8, "options": {"sizes": [1, 2], "mode": "on"}}},
            "--sample temperature=0.8 --sample 'sizes=[1, 2]' --sample mode=on",
        ),
    ],
)
def test_the_command_says_how_a_row_was_measured(protocol: dict[str, Any], flags: str) -> None:
    found = board(run("glow", 0, 2.0, job={"protocol": protocol}))
    said = next(found.rows).details[0].command.partition("--seeds 0")[2]
    assert said.strip() == flags


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        (["flowbench", "run", "--metrics", "bpd,fid"], "--metrics bpd,fid"),
        (["flowbench", "run", "--metrics=fid"], "--metrics fid"),
        (["flowbench", "run", "digits"], ""),
        (["flowbench", "run", "--plugin-file", "local/mine.py"], "--plugin-file mine.py"),
        (
            ["flowbench", "run", "--plugin-file=/x/my flow.py", "--metrics", "bpd"],
            "--metrics bpd --plugin-file 'my flow.py'",
        ),
    ],
)
def test_the_command_measures_what_was_asked_for(given: list[str], flags: str) -> None:
    found = board(run("glow", 0, 2.0, provenance={"command": given}))
    assert next(found.rows).details[0].command.partition("--eval-draws 16")[2].strip() == flags


@pytest.mark.parametrize(
    "value", ["64", "true", "null", '"x"', "[1]", "NaN", "plain", "a b", "", "a,b"]
)
def test_text_in_an_override_comes_back_as_text(value: str) -> None:
    found = board(run("glow", 0, 2.0, job={"overrides": {"note": value}}))
    parts = shlex.split(next(found.rows).details[0].command)
    given = parts[parts.index("--set") + 1]
    assert parse_grid([given], "--set") == {"glow.note": [value]}


def test_a_row_says_how_its_samples_were_drawn_and_likelihoods_do_not_mind() -> None:
    sample = {"temperature": 1.0, "options": {"solver": "heun", "steps": 8}}
    fd: dict[str, Any] = {"role": "quality", "protocol": {"sample": sample}}
    usual = fd | {"protocol": {"sample": {"temperature": 1.0, "options": {}}}}
    bpd = make.measured("bpd", 2.0, "bits/dim", protocol=make.UNIFORM_BOUND)
    found = board(
        run("glow", 0, 2.0, measurements=(bpd, make.measured("fd", 3.0, "", **usual))),
        run(
            "glow", 0, 2.0, job={"protocol": {**make.job().protocol, "sample": sample}},
            measurements=(bpd, make.measured("fd", 2.0, "", **fd)),
        ),
    )  # fmt: skip
    plain, drawn = sorted(found.rows, key=lambda row: "sampled" in row.sub)
    assert drawn.sub.startswith("sampled by solver=heun,steps=8")
    assert "sampled" not in plain.sub
    of_bpd, of_fd = drawn.cells[:2]
    assert not of_bpd.unlike
    assert of_fd.unlike
    notes = [note for _, note in found.notes]
    assert "Not ranked with the others: sample is solver=heun,steps=8, not as usual." in notes


def test_the_code_of_a_row_can_be_found() -> None:
    git = {"commit": "0123456789abcdef", "dirty": True}
    found = board(run("glow", 0, 2.0, provenance={"git": git}))
    said = dict(next(found.rows).details[0].facts)["Code"]
    assert said == "sha256 cccccccccccc, commit 0123456789ab, with changes"


@pytest.mark.parametrize(
    ("trained", "said"),
    [(None, "123,456"), (123_456, "123,456"), (200_000, "123,456 (200,000 in training)")],
)
def test_a_row_says_what_training_alone_needs(trained: int | None, said: str) -> None:
    found = board(run("glow", 0, 2.0, num_parameters_training=trained))
    assert dict(next(found.rows).details[0].facts)["Parameters"] == said


@pytest.mark.parametrize("status", ["passed", "failed"])
@pytest.mark.parametrize(
    ("ran", "suffix", "bars"),
    [
        ("cc", "", True),
        ("ee", " (other code)", False),
        ("ce", " (perhaps other code)", True),
        ((None, None), " (perhaps other code)", True),  # recorded before the hash was
    ],
)
def test_a_check_of_other_code_is_said_to_be_so_and_does_not_bar(
    status: Literal["passed", "failed"], ran: tuple[str | None, ...], suffix: str, bars: bool
) -> None:
    code = [None if letter is None else letter * 64 for letter in ran]
    records = [run("glow", s, 2.0, model_code_sha256=sha) for s, sha in enumerate(code)]
    checks = {"glow": mirrored.check("glow", status)}
    (found,) = boards_of_records(Source(records=records, checks=checks))
    (row,) = found.rows
    outcome = {"passed": "1 check passed", "failed": "failed: ladj"}[status]
    assert row.contract == outcome + suffix
    assert ("contract ×" in row.badges) == (bars and status == "failed")
    assert row.cells[0].struck == (bars and status == "failed")


def test_the_contract_is_said_in_words() -> None:
    passed = mirrored.check("glow", "passed")
    assert words.contract(passed) == "1 check passed"
    outcomes = ["passed"] * 3 + ["skipped"] * 2
    some = passed.model_copy(update={"checks": tuple({"status": one} for one in outcomes)})
    assert words.contract(some) == "3 checks passed, 2 skipped"
    assert words.contract(mirrored.check("glow")) == "failed: ladj"
    assert words.contract(None) == "not checked here (flowbench check)"


def test_as_many_runs_everywhere_are_said_once_in_the_heading() -> None:
    found = board(*(run(m, seed, 2.0 + 0.01 * seed) for m in ("glow", "maf") for seed in range(3)))
    assert found.columns[0].under == "bits/dim, test, n=3"
    assert [row.cells[0].interval for row in found.rows] == ["±.025", "±.025"]
    text = markdown.render(found)
    assert text.count("n=3") == 1
    assert csv.render(found).count(",3,") >= 2  # the number itself stays in every line


@pytest.mark.parametrize("seeds", [(3, 2), (1, 1), (3, 1)])
def test_other_numbers_of_runs_stand_in_their_cells(seeds: tuple[int, int]) -> None:
    asked = zip(("glow", "maf"), seeds, strict=True)
    found = board(*(run(m, seed, 2.0 + 0.01 * seed) for m, n in asked for seed in range(n)))
    assert found.columns[0].under == "bits/dim, test"
    said = [row.cells[0].interval.split(", ")[-1] for row in found.rows]
    assert sorted(said) == sorted(f"n={n}" for n in seeds)


def test_equal_values_have_no_spread() -> None:
    found = board(*(run("glow", seed, 2.0) for seed in range(3)))
    assert next(found.rows).cells[0].interval == "±0"


LIKELIHOOD = {
    "measure": "discrete", "dequantization": "uniform", "noise": "weights", "bound": True,
    "tolerance": None, "draws": 16, "given": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ("16 draws averaged as weights", "yes, from below", "none, no solver", "nothing")),
        (
            {"noise": "none", "bound": False, "tolerance": 1e-5, "draws": 1, "given": ["label"]},
            ("none", "no", "1e-05, of its solver", "label"),
        ),
        (
            {"noise": "estimates", "bound": False, "draws": 4},
            ("4 draws averaged as estimates", "no", "none, no solver", "nothing"),
        ),
    ],
)
def test_a_likelihood_says_each_of_its_facts(given: dict[str, Any], said: tuple[str, ...]) -> None:
    found = board(run("glow", 0, 2.0, likelihood={**LIKELIHOOD, **given}))
    facts = dict(next(found.rows).details[0].facts)
    assert tuple(facts[name] for name in ("Noise", "Bound", "Tolerance", "Given")) == said
    assert facts["Measure"] == "discrete, dequantization uniform"
    page = html.render(found)
    assert all(f"<dt>{name}</dt>" in page for name in ("Measure", "Noise", "Bound", "Tolerance"))


@pytest.mark.parametrize(
    ("facts", "said", "volume"),
    [
        (
            {"modality": "manifold", "event_shape": [4], "manifold": "m:ROTATIONS"},
            "rotations",
            True,
        ),
        ({"modality": "vector", "event_shape": [4], "manifold": None}, "4-D", False),
    ],
    ids=lambda value: "",
)
def test_densities_on_a_manifold_are_said_to_be_of_its_volume(
    facts: dict[str, Any], said: str, volume: bool
) -> None:
    text = _description([make.attempt(data={"num_test": 5, **facts})])
    assert f"digits ({said})" in text
    assert (f"with respect to the volume of the {said}." in text) == volume
