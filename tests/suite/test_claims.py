from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from flowbench.errors import SuiteError, UnknownNameError
from flowbench.suite.claims import AnyTest, Asked, ClaimsFile, load_claims

MINIMAL = """
seeds = "0-2"
[runs.a]
label = "A"
model = "fake-gaussian:default"
set = { training = { lr = 0.01 } }
budget = "20steps"
[runs.b]
label = "B"
model = "fake-gaussian:averaged"
budget = "20steps"
[[claim]]
id = "a-beats-b"
paper = "A Paper"
place = "Table 1"
says = "A beats B."
[claim.test]
kind = "greater"
runs = ["a", "b"]
datasets = ["fake-images", "fake-vectors"]
metric = "fake_nll"
direction = "lower"
at_least = 0.1
apart = "The preset."
[[claim]]
id = "not-here"
paper = "A Paper"
place = "Table 2"
says = "It flies."
untestable = "wings"
"""


def file_of(text: str, tmp_path: Path) -> ClaimsFile:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    return load_claims(tmp_path / "mine.toml")


def any_test(**fields: Any) -> AnyTest:
    base = {"runs": ["a", "b"], "metric": "m", "apart": "", "direction": "lower"}
    found: AnyTest = TypeAdapter(AnyTest).validate_python(base | fields)
    return found


def test_each_run_is_a_suite_of_its_own_whoever_needs_it(tmp_path: Path) -> None:
    again = MINIMAL.split("[[claim]]")[1].replace("a-beats-b", "again").replace("fake_nll", "other")
    file = file_of(f"{MINIMAL}[[claim]]{again}", tmp_path)
    suites = [suite for _, suite in file.suites(file.claim)]
    assert [(s.datasets, s.models) for s in suites] == [
        (("fake-images",), ("fake-gaussian:default",)),
        (("fake-images",), ("fake-gaussian:averaged",)),
        (("fake-vectors",), ("fake-gaussian:default",)),
        (("fake-vectors",), ("fake-gaussian:averaged",)),
    ]
    assert {s.metrics for s in suites} == {("fake_nll", "other")}
    assert suites[0].overrides == {"fake-gaussian.training.lr": 0.01}
    assert {(s.budget, s.seeds) for s in suites} == {("20steps", (0, 1, 2))}
    assert not file.suites(file.named(["not-here"]))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('runs = ["a", "b"]', 'runs = ["a", "c"]', "unknown run 'c'"),
        ('runs = ["a", "b"]', 'runs = ["a"]', "at least 2 items"),
        ('kind = "greater"', 'kind = "best"', "'greater', 'equivalent', 'bound', 'trend'"),
        ('id = "not-here"', 'id = "a-beats-b"', "two claims have the id 'a-beats-b'"),
        ('untestable = "wings"', "", "either a test, or says what is missing"),
        ('model = "fake-gaussian:averaged"', 'model = "fake-gaussian"', "model"),
        ('budget = "20steps"', 'budget = "soon"', "budget"),
        ('seeds = "0-2"', 'seeds = "two"', "malformed seeds 'two'"),
        ('metric = "fake_nll"', 'metric = ""', "name a metric"),
    ],
)
def test_what_is_no_claims_file_is_told_in_a_line(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(SuiteError) as caught:
        file_of(MINIMAL.replace(old, new), tmp_path)
    assert said in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_of_the_docs_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "claims.md").read_text(encoding="utf-8")
    file = file_of(page.split("```toml\n")[1].split("```")[0], tmp_path)
    assert [claim.id for claim in file.claim] == ["affine-beats-additive"]
    assert len(file.suites(file.claim)) == 4


def test_an_unknown_claim_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'a-beats-b'"):
        file_of(MINIMAL, tmp_path).named(["a-beat-b"])


def test_effects_are_positive_where_the_claim_says(tmp_path: Path) -> None:
    greater = {"kind": "greater", "at_least": 0.5}
    assert any_test(**greater).effect([2.0, 3.0]) == 1.0
    assert any_test(**greater, direction="higher").effect([2.0, 3.0]) == -1.0
    ratio = any_test(kind="greater", at_least=2.0, form="ratio")
    assert ratio.effect([2.0, 6.0]) == pytest.approx(math.log(3.0))
    assert ratio.region == (math.log(2.0), math.inf)
    equal = any_test(kind="equivalent", margin=1.25, form="ratio")
    assert equal.region == pytest.approx((-math.log(1.25), math.log(1.25)))
    bound: dict[str, Any] = {"kind": "bound", "runs": ["a"], "metric": "m", "apart": ""}
    test: AnyTest = TypeAdapter(AnyTest).validate_python(bound | {"at_most": 3.0, "at_least": 1.0})
    assert (test.effect([2.0]), test.region) == (2.0, (1.0, 3.0))


def test_a_trend_is_the_change_over_the_whole_range() -> None:
    trend: dict[str, Any] = {"kind": "trend", "runs": ["a", "b", "c"], "at_least": 0.1}
    falls = any_test(**trend, at=[1, 2, 5])
    assert falls.effect([7.0, 6.0, 3.0]) == pytest.approx(4.0)
    assert any_test(**trend, at=[1, 2, 5], direction="higher").effect([7, 6, 3]) == pytest.approx(
        -4.0
    )
    gap = any_test(**trend, at=[1, 2, 3], less=["d", "e", "f"], direction="higher")
    assert gap.asked[3:] == (Asked("d", "m", "m"), Asked("e", "m", "m"), Asked("f", "m", "m"))
    assert gap.effect([5.0, 6.0, 8.0, 4.0, 4.0, 5.0]) == pytest.approx(2.0)
    assert gap.effect([1.0, 2.0, 3.0]) == pytest.approx(2.0)  # a paper may print the gap itself
    along = any_test(**trend, along="bpd", direction="higher")
    assert along.asked[3:] == (
        Asked("a", "bpd", "bpd"),
        Asked("b", "bpd", "bpd"),
        Asked("c", "bpd", "bpd"),
    )
    assert along.effect([10.0, 20.0, 30.0, 3.0, 2.0, 1.0]) == pytest.approx(-20.0)
    assert along.effect([10.0, 20.0, 30.0, 1.0, 1.0, 1.0]) == 0.0


def test_a_budget_is_changed_but_where_budgets_are_compared(tmp_path: Path) -> None:
    text = MINIMAL + MINIMAL[MINIMAL.index("[runs.b]") : MINIMAL.index("[[claim]]")].replace(
        "runs.b", "runs.longer"
    ).replace("20steps", "40steps")
    trend = (
        '[[claim]]\nid = "grows"\npaper = "A Paper"\nplace = ""\nsays = ""\n[claim.test]\n'
        'kind = "trend"\nruns = ["b", "longer", "a"]\nat = [1, 2, 3]\nmetric = "m"\n'
        'direction = "higher"\nat_least = 0\napart = ""\n'
    )
    changed = file_of(text, tmp_path).changed(budget="5steps", dataset="digits", seeds=[7])
    assert {run.budget for run in changed.runs.values()} == {"5steps"}
    assert changed.claim[0].test is not None
    assert (changed.claim[0].test.datasets, changed.seeds) == (("digits",), (7,))
    kept = file_of(text + trend, tmp_path).changed(budget="5steps")
    assert [run.budget for run in kept.runs.values()] == ["20steps", "20steps", "40steps"]
    with pytest.raises(SuiteError, match="budget"):
        file_of(text, tmp_path).changed(budget="never")


def test_the_published_effect_comes_of_the_published_values() -> None:
    effects = {claim.id: claim.published_effect() for claim in load_claims().claim}
    assert effects["denseflow-noise"] == pytest.approx(0.01)
    assert effects["nanoflow-gap"] == pytest.approx(0.0444 - 0.0272)
    assert effects["overview-1x1"] == 0.5
    assert effects["denseflow-one-pass"] is None


def test_a_published_value_that_is_not_there_is_told(tmp_path: Path) -> None:
    for ref, said in (
        ('{ table = "denseflow-5", row = 1, metric = "bpd" }', "unknown published table"),
        ('{ table = "denseflow-4", row = 9, metric = "bpd" }', "found 0"),
        ('{ table = "nanoflow-3", row = 1, metric = "ll_nats_per_dim" }', "found 5"),
    ):
        file = file_of(MINIMAL.replace('says = "A', f'published = [{ref}]\nsays = "A'), tmp_path)
        with pytest.raises((SuiteError, UnknownNameError), match=said):
            file.claim[0].published_effect()
