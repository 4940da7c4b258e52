from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

import flowbench
from flowbench.errors import FlowbenchError
from flowbench.leaderboard.build.compared import ComparedValue, Comparison, holm
from flowbench.leaderboard.compare import compare_rows
from flowbench.leaderboard.render import comparison
from tests.store import attempts
from tests.store.attempts import NUM_DIMS, attempt, job, log_prob, measured

GLOW, NICE = [2.00, 2.02, 2.01], [2.10, 2.15, 2.11]


def bits(values: Sequence[float]) -> list[list[Any]]:
    return [[measured("bpd", value, "bits/dim", n=360)] for value in values]


def write(
    results: Path,
    model: str,
    runs: Sequence[Sequence[Any]],
    *,
    first_seed: int = 0,
    examples: Sequence[NDArray[np.float64]] = (),
    **fields: Any,
) -> list[str]:
    """One run a seed, with its measurements; gives the ids of the jobs."""
    ids = []
    for place, values in enumerate(runs):
        row = job(model, first_seed + place, **fields)
        kept = examples[place] if examples else None
        attempts.write(results, attempt(row, measurements=tuple(values)), values=kept)
        ids.append(row.job_id)
    return ids


def only(results: Path, a: str = "glow", b: str = "nice") -> Comparison:
    (found,) = compare_rows(results, a, b)
    return found


def value(found: Comparison, name: str = "bpd") -> ComparedValue:
    return next(one for one in found.values if one.metric == name)


# --- pairs ----------------------------------------------------------------------------------------


def test_rows_are_paired_by_the_seeds_that_both_have(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits([*GLOW, 9.0]))  # the other has no fourth seed
    write(tmp_path, "nice", bits(NICE))
    found = value(only(tmp_path))
    expected = stats.ttest_rel(GLOW, NICE)
    low, high = expected.confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx(
        (np.mean(GLOW) - np.mean(NICE), low, high)
    )
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.seeds, found.paired, found.verdict) == ((3, 3), True, "A")


def test_seeds_of_their_own_are_compared_as_on_a_board(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits(GLOW))
    write(tmp_path, "nice", bits([*NICE, 2.3]), first_seed=10)
    found = value(only(tmp_path))
    expected = stats.ttest_ind(GLOW, [*NICE, 2.3], equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.low == pytest.approx(expected.confidence_interval(0.95).low)
    assert (found.seeds, found.paired) == ((3, 4), False)


def test_test_examples_pair_within_the_seeds(tmp_path: Path) -> None:
    hard = np.random.default_rng(0).normal(0.0, 30.0, 360)  # what all runs find hard cancels

    def runs(values: Sequence[float], start: int) -> list[NDArray[np.float64]]:
        own = [log_prob(value, start + i) for i, value in enumerate(values)]
        return [one + hard - hard.mean() for one in own]

    a, b = runs(GLOW, 0), runs(NICE, 10)
    write(tmp_path, "glow", bits(GLOW), examples=a)
    write(tmp_path, "nice", bits(NICE), examples=b)
    compared = only(tmp_path)
    found = value(compared)
    gaps = (np.mean(b, axis=0) - np.mean(a, axis=0)) / (NUM_DIMS * math.log(2))
    interval = stats.ttest_1samp(gaps, 0.0).confidence_interval(0.95)
    assert found.examples == 360
    assert found.examples_half_width == pytest.approx((interval.high - interval.low) / 2)
    assert "(paired by 360)" in shown(compared)


def test_one_seed_has_an_interval_over_examples_and_decides_nothing(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits(GLOW[:1]), examples=[log_prob(GLOW[0])])
    write(tmp_path, "nice", bits([3.0]), examples=[log_prob(3.0, seed=1)])
    compared = only(tmp_path)
    found = value(compared)
    assert found.high is not None
    assert found.high < 0  # by these examples there is no doubt, and by seeds there is no word
    assert (found.verdict, found.seeds, found.examples) == ("one seed", None, 360)
    text = shown(compared)
    assert "nothing is known of the randomness of training" in text
    assert "over 360 test examples" in text


def test_records_without_examples_are_paired_by_seed_and_say_so(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits(GLOW))
    write(tmp_path, "nice", bits(NICE))
    compared = only(tmp_path)
    assert value(compared).examples is None
    assert "test examples were not kept one by one" in shown(compared)


# --- scales and roles -----------------------------------------------------------------------------


def timed(values: Sequence[float], **fields: Any) -> list[list[Any]]:
    shape: dict[str, Any] = {"role": "cost", "scale": "log", "split": None} | fields
    return [[measured("latency", value, "ms", **shape)] for value in values]


def test_times_are_compared_as_a_ratio(tmp_path: Path) -> None:
    a, b = [1.0, 1.1, 1.05], [4.0, 4.3, 4.4]
    write(tmp_path, "glow", timed(a))
    write(tmp_path, "nice", timed(b))
    found = value(only(tmp_path), "latency")
    low, high = stats.ttest_rel(np.log(a), np.log(b)).confidence_interval(0.95)
    assert (found.form, found.verdict) == ("A / B", "A")
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))


def test_a_time_of_nothing_has_no_logarithm(tmp_path: Path) -> None:
    write(tmp_path, "glow", timed([0.0, 0.1]))
    write(tmp_path, "nice", timed([4.0, 4.3]))
    assert value(only(tmp_path), "latency").form == "A - B"


def test_counts_are_no_contest_and_no_test(tmp_path: Path) -> None:
    for model, values, size in (("glow", GLOW, 5), ("nice", NICE, 2)):
        count = measured("params", size, "", role="count")
        write(tmp_path, model, [[*one, count] for one in bits(values)])
    found = value(only(tmp_path), "params")
    assert (found.value, found.low, found.p_value, found.verdict) == (3.0, None, None, "")


def test_what_is_not_alike_is_not_compared(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits(GLOW))
    given = [[measured("bpd", v, "bits/dim", protocol={"given": "label"})] for v in NICE]
    write(tmp_path, "nice", given)
    compared = only(tmp_path)
    found = value(compared)
    assert (found.value, found.p_value, found.verdict) == (None, None, "not alike")
    assert "given: – and label" in shown(compared)


# --- tests and verdicts ---------------------------------------------------------------------------


def test_p_values_are_adjusted_over_all_that_are_tested(tmp_path: Path) -> None:
    def runs(bpd: Sequence[float], ms: Sequence[float]) -> list[list[Any]]:
        return [[*x, *y] for x, y in zip(bits(bpd), timed(ms), strict=True)]

    write(tmp_path, "glow", runs(GLOW, [1.0, 1.1, 1.05]))
    write(tmp_path, "nice", runs(NICE, [1.2, 1.0, 1.3]))
    found = only(tmp_path)
    tested = [v for v in found.values if v.p_value is not None]
    assert [v.metric for v in tested] == ["bpd", "latency"]
    assert [v.p_adjusted for v in tested] == pytest.approx(holm([v.p_value or 0.0 for v in tested]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_what_its_definition_says(p_values: list[float]) -> None:
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    steps = np.minimum(1.0, np.array(p_values)[order] * factors)
    expected = np.empty(len(p_values))
    expected[order] = np.maximum.accumulate(steps)
    assert holm(p_values) == pytest.approx(expected.tolist())


def test_what_is_close_is_equal(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits([2.000, 2.001, 2.003]))
    write(tmp_path, "nice", bits([2.001, 2.003, 2.002]))
    assert value(only(tmp_path)).verdict == "equal"


@pytest.mark.slow
def test_what_is_open_says_how_many_seeds_would_settle_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(2.0, 0.2, 4), rng.normal(2.1, 0.2, 4)
    write(tmp_path, "glow", bits(a.tolist()))
    write(tmp_path, "nice", bits(b.tolist()))
    compared = only(tmp_path)
    found = value(compared)
    assert found.verdict == "open"
    needed, gaps = found.seeds_needed, a - b
    assert needed is not None
    assert needed > 4
    spread, mean = float(gaps.std(ddof=1)), abs(float(gaps.mean()))

    def power(n: int) -> float:
        """The exact power of the t-test, by its noncentral distribution."""
        bound = stats.t.ppf(0.975, n - 1)
        return float(stats.nct.sf(bound, n - 1, mean / spread * math.sqrt(n)))

    def half_width(n: int) -> float:
        return float(stats.t.ppf(0.975, n - 1)) * spread / math.sqrt(n)

    assert power(needed) > 0.78 or half_width(needed) <= 0.05
    assert power(needed - 2) < 0.82
    assert half_width(needed - 1) > 0.05
    assert f"~{needed} seeds" in shown(compared)


def test_no_number_of_seeds_that_nobody_will_run(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits([2.0, 90.0, 1.0]))
    write(tmp_path, "nice", bits([60.0, 3.0, 29.0]))
    compared = only(tmp_path)
    found = value(compared)
    assert (found.verdict, found.seeds_needed) == ("open", None)
    assert ">1,000 seeds" in shown(compared)


def test_against_a_row_that_a_board_strikes_nothing_is_decided(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits(GLOW))
    mass = measured("mass", 2.72, "", "none", role="witness", refutes="Mass 2.72 is above 1.01")
    write(tmp_path, "nice", [[*one, mass] for one in bits(NICE)])
    compared = only(tmp_path)
    assert (value(compared).verdict, value(compared).seeds_needed) == ("struck", None)
    text = shown(compared)
    assert "B  nice:small, seeds 0 1 2 [refuted ×]" in text
    assert "B is not to be trusted, so nothing is decided. Struck: mass 2.72" in " ".join(
        text.split()
    )


def test_values_that_repeat_exactly_leave_nothing_to_test(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits([2.0, 2.0]))
    write(tmp_path, "nice", bits([2.5, 2.5]))
    found = value(only(tmp_path))
    assert (found.p_value, found.low, found.high, found.verdict) == (None, -0.5, -0.5, "A")


# --- which rows -----------------------------------------------------------------------------------


def test_a_job_stands_for_its_row(tmp_path: Path) -> None:
    ids = write(tmp_path, "glow", bits(GLOW))
    write(tmp_path, "nice", bits(NICE))
    found = only(tmp_path, ids[1][:8], "nice:small")
    assert (found.a.job_ids, found.a.name) == (dict(enumerate(ids)), "glow:small")


def test_each_dataset_in_common_is_compared(tmp_path: Path) -> None:
    for dataset in ("digits", "patches"):
        write(tmp_path, "glow", bits(GLOW), dataset=dataset)
        write(tmp_path, "nice", bits(NICE), dataset=dataset)
    write(tmp_path, "nice", bits(NICE), dataset="moons")
    assert [one.dataset for one in compare_rows(tmp_path, "glow", "nice")] == ["digits", "patches"]
    assert [one.dataset for one in compare_rows(tmp_path, "glow", "nice", "patches")] == ["patches"]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that differ from ``glow`` in one thing each."""
    results = tmp_path_factory.mktemp("several")
    write(results, "glow", bits(GLOW))
    write(results, "nice", bits(NICE))
    write(results, "maf", bits(NICE), dataset="moons")
    write(results, "short", bits(NICE), budget="20s")
    write(results, "draws", bits(NICE), protocol={"eval_draws": 4})
    other: dict[str, Any] = {"device_name": "EPYC", "measurements": tuple(bits(NICE)[0])}
    attempts.write(results, attempt(job("other"), **other))
    attempts.write(results, attempts.failed(job("broken")))
    attempts.write(results, attempt(job("timed"), measurements=tuple(timed([2.0])[0])))
    for model in ("ar", "arf"):
        row = job(model).model_copy(update={"job_id": f"x-{model}"})
        attempts.write(results, attempt(row))
    return results


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("glw", "nice"), "unknown row 'glw'; did you mean 'glow'?"),
        (("glow", "glow"), "both are the same, glow:small"),
        (("", "nice"), "unknown row ''"),
        (("glow", "nice", "digit"), "unknown dataset 'digit'; did you mean 'digits'?"),
        (("glow", "maf"), "no results on one dataset: the first has some on digits, the second on"),
        (("glow", "nice", "moons"), "no results both on moons"),
        (("glow", "short"), "not run alike on digits: budget is 60\xa0s and 20\xa0s"),
        (("glow", "draws"), "not run alike on digits: eval_draws is 16 and 4"),
        (("glow", "other"), "not run alike on digits: hardware is Xeon, 2\xa0threads and EPYC"),
        (("glow", "broken"), "no run of broken:small on digits ended well: diverged"),
        (("glow", "timed"), "nothing was measured of both glow:small and timed:small"),
        (
            ("x-", "glow"),
            "'x-' begins jobs of 2 rows: ar:small on digits, arf:small on digits; name",
        ),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(
    several: Path, rows: tuple[str, ...], message: str
) -> None:
    with pytest.raises(FlowbenchError) as caught:
        compare_rows(several, *rows)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- what is shown --------------------------------------------------------------------------------


def shown(found: Comparison, width: int = 80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(comparison.render([found]))
    return capture.get()


def test_the_table_fits_80_columns_and_names_what_went_wrong(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits(GLOW), preset="a-preset-with-a-long-name")
    write(tmp_path, "nice", bits(NICE), overrides={"width": 64})
    attempts.write(tmp_path, attempts.failed(job("nice", 3, overrides={"width": 64})))
    lines = shown(only(tmp_path)).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("A less B on digits, 60")
    assert lines[2] == "B  nice:small width=64, seeds 0 1 2, seed 3 diverged"
    bits_per_dim = next(line for line in lines if line.startswith("Bits"))
    assert bits_per_dim.split() == "Bits per dim 2.010 2.120 −0.110 ±.043 0.008 A better".split()


def test_headings_stay_whole_however_wide_an_interval_is(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits(GLOW))
    write(tmp_path, "nice", bits(NICE))
    found = only(tmp_path)
    facts: dict[str, Any] = {"label": "Throughput of samples", "unit": "samples/s"}
    facts |= {"form": "A / B", "value": 0.00123, "low": 0.000123, "high": 1.23e-9}
    facts |= {"mean_a": 7.6e8, "mean_b": 4.9e10}
    values = (*found.values, replace(found.values[0], **facts))
    lines = shown(replace(found, values=values)).splitlines()
    assert max(map(len, lines)) <= 80
    (headings,) = (line for line in lines if line.startswith("Value"))
    assert headings.split() == "Value A B A − B p (Holm) Verdict".split()
    assert "[0.000123, 1.23e-09]" in "\n".join(lines)


def test_the_same_in_python(tmp_path: Path) -> None:
    write(tmp_path, "glow", bits(GLOW))
    write(tmp_path, "nice", bits(NICE))
    frame = flowbench.compare("glow", "nice", results=tmp_path).set_index("metric")
    assert frame.loc["bpd", ["dataset", "a", "b", "verdict"]].tolist() == [
        "digits", "glow:small", "nice:small", "A",
    ]  # fmt: skip
    assert frame.loc["bpd", "value"] == pytest.approx(np.mean(GLOW) - np.mean(NICE))
