from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flowbench.leaderboard.build.claimed import JudgedTest, expected_false, judge_claims
from flowbench.leaderboard.build.evidence import Source
from flowbench.leaderboard.render import claims as rendering
from tests.leaderboard.claimed import GOOD, GREATER, file_of, records
from tests.store.attempts import attempt, job


def judged(values: Mapping[str, Sequence[float | str]], test: Any = GREATER) -> JudgedTest:
    (found,) = judge_claims(file_of(test), Source(records=records(values)))
    return found


def test_runs_are_paired_by_seed_and_judged() -> None:
    found = judged(GOOD)
    assert (found.verdict, found.survives, found.remarks) == ("supported", True, ())
    assert found.judgement.effect == pytest.approx(0.2)
    assert found.claimed == "≥ +0.050"
    assert found.measured.startswith("+0.200 bits/dim [+0.1")
    assert {name: len(method.records) for name, method in found.methods.items()} == {
        "glow": 3,
        "nice": 3,
    }


def test_records_of_other_budgets_seeds_and_settings_are_not_meant() -> None:
    mine = records(GOOD)
    strangers = [
        attempt(job(model, seed, budget=budget, overrides=overrides, preset=preset))
        for model in GOOD
        for seed, budget, overrides, preset in (
            (0, "60s", {}, "small"),
            (3, "50steps", {}, "small"),
            (0, "50steps", {"width": 3}, "small"),
            (0, "50steps", {}, "tiny"),
        )
    ]
    (found,) = judge_claims(file_of(GREATER), Source(records=[*mine, *strangers]))
    assert (found.judgement.n, found.verdict) == (3, "supported")


@pytest.mark.parametrize(("lost", "verdict"), [("glow", "undecided"), ("nice", "supported")])
def test_a_diverged_run_is_a_finding(lost: str, verdict: str) -> None:
    values: dict[str, list[float | str]] = {
        name: [*some[:2], "diverged"] for name, some in GOOD.items() if name == lost
    }
    found = judged({**GOOD, **values})
    assert found.verdict == verdict
    assert found.judgement.n == 2
    assert found.remarks == (f"{lost.title()} diverged with seed 2: worse than any value.",)


def test_a_run_that_is_lost_otherwise_leaves_its_pair_out() -> None:
    found = judged({**GOOD, "glow": [2.0, 2.01, "oom"]})
    assert (found.judgement.n, found.verdict) == (2, "supported")
    assert found.remarks == ("Glow has no result with seed 2: out of memory.",)
    found = judged({**GOOD, "nice": [2.2, 2.19]})
    assert found.remarks == ("Nice was not run with seed 2.",)
    found = judged({"glow": GOOD["glow"]})
    assert (found.verdict, found.judgement.n) == ("not run", 0)


def test_a_value_without_a_logarithm_is_told() -> None:
    test = {**GREATER, "form": "ratio", "at_least": 1.05}
    found = judged({**GOOD, "glow": [2.0, 2.01, 0.0]}, test)
    assert found.judgement.n == 2
    assert found.remarks == ("Glow has no bpd with 1 seed: no logarithm.",)


def test_a_small_limit_is_not_shown_as_nothing() -> None:
    bound = {"kind": "bound", "runs": ["glow"], "metric": "bpd", "at_most": 1e-5, "apart": ""}
    assert judged(GOOD, bound).claimed == "≤ 1.0×10⁻⁵"
    assert judged({"glow": [1e-6, 2e-6, 1e-6]}, bound).verdict == "supported"


def test_a_struck_run_gets_no_verdict() -> None:
    rows = records(GOOD)
    m = rows[0].measurements[0].model_copy(update={"refutes": "The density integrates to 2"})
    rows[0] = rows[0].model_copy(update={"measurements": (m,)})
    (found,) = judge_claims(file_of(GREATER), Source(records=rows))
    assert found.verdict == "undecided"
    assert found.remarks[0].startswith("Glow: Struck: the density integrates to 2")


def test_values_of_one_name_that_were_measured_otherwise_get_no_verdict() -> None:
    rows = [
        *records({"glow": GOOD["glow"]}, protocol={"reference_sha256": "aa"}),
        *records({"nice": GOOD["nice"]}, protocol={"reference_sha256": "bb"}),
    ]
    (found,) = judge_claims(file_of(GREATER), Source(records=rows))
    assert found.verdict == "undecided"
    (why,) = found.remarks
    assert why == "Glow and Nice: bpd was not measured alike, reference_sha256 is bb, not aa."


def test_a_cost_is_judged_on_one_machine_alone() -> None:
    test = {**GREATER, "metric": "sampling_latency", "form": "ratio", "at_least": 1.05}
    costs = {"name": "sampling_latency"}
    rows = [
        record.model_copy(
            update={
                "measurements": (
                    record.measurements[0].model_copy(update={"role": "cost", "unit": "s"}),
                )
            }
        )
        for record in records(GOOD, **costs)
    ]
    (found,) = judge_claims(file_of(test), Source(records=rows))
    assert (found.verdict, found.measured[:5], found.claimed) == ("supported", "×1.10", "≥ ×1.05")
    rows[0] = rows[0].model_copy(update={"device_name": "Epyc"})
    (found,) = judge_claims(file_of(test), Source(records=rows))
    assert found.verdict == "undecided"
    assert "rerun on one" in found.remarks[0]


def test_holm_is_over_all_tests_of_the_file_those_not_run_too() -> None:
    near = {"glow": [2.0, 2.06, 1.94], "nice": [2.3, 2.3, 2.3]}
    alone = judge_claims(file_of(GREATER), Source(records=records(near)))
    missing = {**GREATER, "runs": ["maf", "nice"]}
    among = judge_claims(file_of(GREATER, *[missing] * 9), Source(records=records(near)))
    assert alone[0].p_adjusted == alone[0].judgement.p_value
    assert alone[0].survives
    assert among[0].verdict == "supported"
    assert not among[0].survives
    assert among[0].p_adjusted == pytest.approx(10 * (alone[0].p_adjusted or 0))
    assert (expected_false(among), expected_false(alone)) == (0.05, 0.05)


def test_counts_are_left_to_no_chance_and_no_correction() -> None:
    exact = {"glow": [100.0] * 3, "nice": [200.0] * 3}
    test = {**GREATER, "form": "ratio", "at_least": 1.5}
    found = judge_claims(file_of(test, test), Source(records=records(exact)))
    assert [(one.verdict, one.survives, one.p_adjusted) for one in found] == [
        ("supported", True, None)
    ] * 2
    assert expected_false(found) == 0.0


def test_verdicts_are_read_in_eighty_columns() -> None:
    file = file_of(GREATER, {**GREATER, "runs": ["maf", "nice"]})
    found = judge_claims(file, Source(records=records({**GOOD, "glow": [2.0, 2.2, 1.9]})))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(rendering.render(file.claim, found))
    text = console.export_text()
    assert "c0: It is so." in text
    assert "digits: undecided, +0.167 bits/dim" in " ".join(text.split())
    assert "more seeds may decide" in " ".join(text.split())
    assert "digits: not run" in text
    assert "At most" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_record_is_in_the_units_of_the_metric(tmp_path: Path) -> None:
    record = judged(GOOD).record()
    assert record["effect"] == pytest.approx(0.2)
    assert (record["claimed_low"], record["claimed_high"]) == (0.05, None)
    assert (record["verdict"], record["survives_holm"], record["seeds"]) == ("supported", True, 3)
