"""What papers claim, and how it is tested: claims files, such as ``published/claims.toml``.

A claim is tested by one number, its *effect*: a difference, a ratio, a value or a slope, made of
one value of each of its runs with the same seed. The claim says where the effect lies, its
*region*; whether it lies there is for the seeds to tell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from flowbench.api.frozen import Frozen
from flowbench.api.protocol import MetricSettings, Seed
from flowbench.budget import Budget
from flowbench.errors import SuiteError, UnknownNameError, first_problem, unknown_name
from flowbench.suite.find import read_suite
from flowbench.suite.load import flatten, parse_seeds
from flowbench.suite.published import published_folder, published_tables
from flowbench.suite.schema import MAX_SEEDS, Suite

CLAIMS = "claims.toml"
Direction = Literal["lower", "higher"]
Form = Literal["difference", "ratio"]
_NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?")


class Region(NamedTuple):
    """Where a claim says that its effect lies, ends included."""

    low: float = -math.inf
    high: float = math.inf

    def distance(self, effect: float) -> float:
        """How far an effect is from the nearest end, inside or outside."""
        return min(abs(effect - self.low), abs(effect - self.high))


class Asked(NamedTuple):
    """A value that a test needs: of which run, of which metric, and its name."""

    run: str
    metric: str
    value: str


class ClaimRun(Frozen):
    """A model as tests train it; tests that name it share its runs.

    Attributes:
        label: What the page calls it.
        model: Model and preset, ``name:preset``: it says what is trained on any data set.
        set: Configuration values that are not the preset's, by dotted key.
        budget: Training budget, best in steps: then runs of different machines stand together.
        protocol: How it is evaluated.
        package: What to install for the model, where it is not flowbench's own.
    """

    label: str
    model: str = Field(pattern=r"^[^:\s]+:[^:\s]+$")
    set: Annotated[Mapping[str, Any], BeforeValidator(lambda v: _flat(v))] = Field(
        default_factory=dict
    )
    budget: str
    protocol: MetricSettings = MetricSettings()
    package: str = ""

    @property
    def name(self) -> str:
        """The model without its preset."""
        return self.model.partition(":")[0]

    @model_validator(mode="after")
    def _budget_is_one(self) -> Self:
        Budget.parse(self.budget)
        return self

    def suite(self, dataset: str, seeds: Sequence[int], asked: Iterable[Asked]) -> Suite:
        """The suite that runs it and measures what is asked for."""
        asked = list(asked)
        return Suite(
            name="claims",
            models=(self.model,),
            datasets=(dataset,),
            metrics=tuple(dict.fromkeys(one.metric for one in asked if one.metric)),
            budget=self.budget,
            seeds=tuple(seeds),
            overrides={f"{self.name}.{key}": value for key, value in self.set.items()},
            protocol=self.protocol,
            ladder=any("[" in one.value for one in asked),
        )


def _flat(value: Any) -> Any:
    return dict(flatten(value)) if isinstance(value, Mapping) else value


class PublishedRef(Frozen):
    """A value of the published tables, by where it stands.

    Attributes:
        table: Id of the table.
        row: Its row, from 1.
        metric: Name of the value.
        variant: What sets it apart, where one row has several of the name.
    """

    table: str
    row: int
    metric: str
    variant: str = ""

    def number(self) -> float | None:
        """The printed number; None where words are printed.

        Raises:
            UnknownNameError: There is no such table.
            SuiteError: It has no such value, or several.
        """
        tables = published_tables()
        if self.table not in tables:
            raise UnknownNameError(
                unknown_name("published table", self.table, tables, "flowbench list suites")
            )
        found = [
            value
            for value in tables[self.table].values
            if (value.row_order, value.metric) == (self.row, self.metric)
            and (not self.variant or value.variant == self.variant)
        ]
        if len(found) != 1:
            raise SuiteError(
                f"published value {self.metric!r} of row {self.row} of {self.table!r}: expected "
                f"one, found {len(found)}; name its variant as results.csv has it"
            )
        return float(found[0].value) if _NUMBER.fullmatch(found[0].value) else None


class Test(Frozen):
    """What all tests have.

    Attributes:
        runs: Names of the file's runs, the one that the claim favours first.
        datasets: Where they run; each is a test of its own.
        metric: The metric that measures the value; empty for what every record has, such as
            ``steps``.
        value: Name of the value, where it is not the metric's; one for each run where they differ.
        apart: What alone sets the runs apart, and what went into tuning each.
    """

    __test__ = False  # for pytest

    runs: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(default=("digits",), min_length=1)
    metric: str
    value: str | tuple[str, ...] = ""
    apart: str

    @model_validator(mode="after")
    def _a_value_for_each_run(self) -> Self:
        if not isinstance(self.value, str) and len(self.value) != len(self.runs):
            raise ValueError(f"value has {len(self.value)} names for {len(self.runs)} runs")
        if not self.metric and not self.value:
            raise ValueError("name a metric, or a value that every record has")
        return self

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The values that an effect is made of, in order."""
        return tuple(map(self._asked, self.runs, self._values))

    @property
    def _values(self) -> tuple[str, ...]:
        if isinstance(self.value, str):
            return (self.value or self.metric,) * len(self.runs)
        return self.value

    def _asked(self, run: str, value: str) -> Asked:
        return Asked(run, self.metric, value)

    def spoken_against(self, index: int) -> frozenset[str]:
        """The verdicts that a diverged run speaks against: it would have the worst of all values.

        Args:
            index: Its place among what is `asked` for.
        """
        del index
        return frozenset({"supported"})


class _Compared(Test):
    """A test of two runs: the first is better, or both are equal."""

    runs: tuple[str, ...] = Field(min_length=2, max_length=2)
    direction: Direction
    form: Form = "difference"

    def effect(self, values: Sequence[float]) -> float:
        """By how much the first is better; of a ratio its logarithm."""
        first, second = map(math.log, values) if self.form == "ratio" else values
        return second - first if self.direction == "lower" else first - second

    def _on_scale(self, margin: float) -> float:
        return math.log(margin) if self.form == "ratio" else margin


class Greater(_Compared):
    """The first run is better than the second, by at least what matters.

    Attributes:
        direction: Which way is better.
        form: What is compared, ``ratio`` for times, rates and sizes.
        at_least: The smallest effect that matters; of a ratio a factor. A negative one, or one
            below 1, says *not worse by more*.
    """

    kind: Literal["greater"]
    at_least: float

    @property
    def region(self) -> Region:
        """From the smallest effect that matters."""
        return Region(low=self._on_scale(self.at_least))

    def spoken_against(self, index: int) -> frozenset[str]:
        """Of the first run a divergence speaks against the claim, of the second for it."""
        return frozenset({"contradicted" if index else "supported"})


class Equivalent(_Compared):
    """Both runs are equal, but for a margin.

    Attributes:
        margin: The largest difference, either way, that does not matter; of a ratio a factor.
    """

    kind: Literal["equivalent"]
    direction: Direction = "lower"
    margin: float = Field(gt=0)

    @property
    def region(self) -> Region:
        """Both sides of 0."""
        margin = self._on_scale(self.margin)
        return Region(-margin, margin)


class Bound(Test):
    """A value stays within a limit.

    Attributes:
        at_most: Its upper limit.
        at_least: Its lower limit.
        form: ``ratio`` where seeds differ by factors: means are geometric then.
    """

    kind: Literal["bound"]
    runs: tuple[str, ...] = Field(min_length=1, max_length=1)
    at_most: float | None = None
    at_least: float | None = None
    form: Form = "difference"

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.at_most is None and self.at_least is None:
            raise ValueError("a bound needs at_most or at_least")
        return self

    def effect(self, values: Sequence[float]) -> float:
        """The value."""
        return math.log(values[0]) if self.form == "ratio" else values[0]

    @property
    def region(self) -> Region:
        """Within the limits."""
        low = -math.inf if self.at_least is None else self.effect([self.at_least])
        return Region(low, math.inf if self.at_most is None else self.effect([self.at_most]))


class Trend(Test):
    """A value rises or falls along a setting.

    The effect is the change from the smallest setting to the largest on the least-squares line.

    Attributes:
        direction: ``lower``: it falls, ``higher``: it rises.
        at: The setting of each run, on the scale on which the line is drawn.
        along: Instead of settings, another value of the same runs.
        along_metric: The metric that measures that value, if it is not called the same.
        less: Runs whose values are taken off, one for each.
        at_least: The smallest change that matters.
    """

    kind: Literal["trend"]
    runs: tuple[str, ...] = Field(min_length=3)
    direction: Direction
    at: tuple[float, ...] = ()
    along: str = ""
    along_metric: str = ""
    less: tuple[str, ...] = ()
    at_least: float
    form: Literal["difference"] = "difference"

    @model_validator(mode="after")
    def _is_a_line(self) -> Self:
        if bool(self.at) == bool(self.along):
            raise ValueError("a trend needs either at, the setting of each run, or along, a value")
        if self.at and (len(self.at) != len(self.runs) or len(set(self.at)) < len(self.at)):
            raise ValueError(f"at has {len(set(self.at))} settings for {len(self.runs)} runs")
        if self.less and len(self.less) != len(self.runs):
            raise ValueError(f"less has {len(self.less)} runs for {len(self.runs)}")
        return self

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The values, what is taken off them, and what they go along."""
        less = map(self._asked, self.less, self._values)
        metric = self.along_metric or self.along
        along = (Asked(run, metric, self.along) for run in self.runs if self.along)
        return (*super().asked, *less, *along)

    def effect(self, values: Sequence[float]) -> float:
        """The change over the whole range, positive where the claim says that it goes."""
        num = len(self.runs)
        y = list(values[:num])
        rest = values[num:]
        # Published values may be differences themselves, and have no second value to go along: of
        # those their order is all that is known.
        if self.less and rest:
            y = [value - less for value, less in zip(y, rest, strict=False)]
            rest = rest[num:]
        x = self.at or rest or tuple(range(num))
        middle, level = fmean(x), fmean(y)
        squares = sum((one - middle) ** 2 for one in x)
        if squares == 0:
            return 0.0
        slope = sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True)) / squares
        change = slope * (max(x) - min(x))
        return change if self.direction == "higher" else -change

    @property
    def region(self) -> Region:
        """From the smallest change that matters."""
        return Region(low=self.at_least)

    def spoken_against(self, index: int) -> frozenset[str]:
        """Any place of a line may bend it either way."""
        del index
        return frozenset({"supported", "contradicted"})


AnyTest = Annotated[Greater | Equivalent | Bound | Trend, Field(discriminator="kind")]


class Claim(Frozen):
    """What a paper says.

    Attributes:
        id: Lower-case id.
        paper: Id of a published paper, or its short name.
        place: Where it says so.
        says: The claim, in our words.
        published: The printed values behind it: one for each run, in their order; or the one that
            states the effect.
        note: How the test relates to what the paper did.
        test: How it is tested here; None where it cannot be.
        untestable: What is missing.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    paper: str
    place: str
    says: str
    published: tuple[PublishedRef, ...] = ()
    note: str = ""
    test: AnyTest | None = None
    untestable: str = ""

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        if (self.test is None) == (not self.untestable):
            raise ValueError("a claim has either a test, or says what is missing as untestable")
        return self

    def published_effect(self) -> float | None:
        """The effect by the printed values, as the test takes it; None where they state none."""
        numbers = [ref.number() for ref in self.published]
        printed = [number for number in numbers if number is not None]
        if self.test is None or not printed or len(printed) < len(numbers):
            return None
        if len(printed) == len(self.test.runs):
            return self.test.effect(printed)
        is_stated = len(printed) == 1 and self.test.form == "difference"
        return printed[0] if is_stated else None


class ClaimsFile(Frozen):
    """A claims file.

    Attributes:
        title: What the page is called.
        seeds: One run of each for every seed; verdicts are over these and no others.
        runs: What tests train, by name.
        claim: The claims, in order.
    """

    title: str = "What papers claim, tested small"
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2, 3, 4), min_length=1, max_length=MAX_SEEDS)
    runs: Mapping[str, ClaimRun] = Field(default_factory=dict)
    claim: tuple[Claim, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        ids = [claim.id for claim in self.claim]
        if twice := next((one for one in ids if ids.count(one) > 1), None):
            raise ValueError(f"two claims have the id {twice!r}")
        for claim, test in self.tests:
            for asked in test.asked:
                if asked.run not in self.runs:
                    raise ValueError(
                        f"claim {claim.id!r}: "
                        + unknown_name("run", asked.run, self.runs, "the table runs of the file")
                    )
        return self

    @property
    def tests(self) -> list[tuple[Claim, AnyTest]]:
        """The claims that can be tested, with their tests."""
        return [(claim, claim.test) for claim in self.claim if claim.test is not None]

    def named(self, ids: Sequence[str]) -> list[Claim]:
        """The claims of these ids, all without any.

        Raises:
            UnknownNameError: There is no such claim.
        """
        known = {claim.id: claim for claim in self.claim}
        for name in ids:
            if name not in known:
                raise UnknownNameError(unknown_name("claim", name, known, "flowbench claims"))
        return [known[name] for name in dict.fromkeys(ids)] if ids else list(self.claim)

    def changed(
        self,
        *,
        dataset: str | None = None,
        budget: str | None = None,
        seeds: Sequence[int] | None = None,
    ) -> ClaimsFile:
        """The same claims, tested on other data, under another budget or over other seeds.

        Args:
            dataset: In place of each test's own.
            budget: In place of each run's own, but for tests that compare budgets.
            seeds: In place of the file's.

        Raises:
            SuiteError: The budget is none.
        """
        data = self.model_dump()
        if seeds is not None:
            data["seeds"] = tuple(seeds)
        if dataset is not None:
            for claim in data["claim"]:
                if claim["test"] is not None:
                    claim["test"]["datasets"] = (dataset,)
        if budget is not None:
            for name in self.runs.keys() - self._compared_for_budgets():
                data["runs"][name]["budget"] = budget
        try:
            return type(self).model_validate(data)
        except ValidationError as exc:
            raise SuiteError(f"the claims, as changed: {first_problem(exc)}") from exc

    def _compared_for_budgets(self) -> set[str]:
        """Runs of tests whose runs have several budgets."""
        groups = ({asked.run for asked in test.asked} for _, test in self.tests)
        return {
            run
            for group in groups
            if len({str(Budget.parse(self.runs[one].budget)) for one in group}) > 1
            for run in group
        }

    def suites(self, claims: Iterable[Claim]) -> list[tuple[ClaimRun, Suite]]:
        """What has to be run for claims: each run on each data set once, whoever needs it."""
        needed: dict[tuple[str, str], list[Asked]] = {}
        for claim in claims:
            for dataset in claim.test.datasets if claim.test else ():
                for asked in claim.test.asked if claim.test else ():
                    needed.setdefault((dataset, asked.run), []).append(asked)
        return [
            (self.runs[run], self.runs[run].suite(dataset, self.seeds, asked))
            for (dataset, run), asked in needed.items()
        ]


def load_claims(path: Path | None = None) -> ClaimsFile:
    """Reads a claims file.

    Args:
        path: A TOML file; None for the claims that ship with flowbench.

    Raises:
        SuiteError: It cannot be read, is not TOML, or has a key or value that is not valid.
    """
    path = path or published_folder() / CLAIMS
    data = read_suite(path)
    source = f"claims file {str(path)!r}"
    if isinstance(data.get("seeds"), str):
        try:
            data["seeds"] = parse_seeds(data["seeds"])
        except SuiteError as exc:
            raise SuiteError(f"{source}: {exc}") from exc
    try:
        return ClaimsFile.model_validate(data)
    except ValidationError as exc:
        raise SuiteError(f"{source}: {first_problem(exc)}") from exc
    except SuiteError as exc:  # of a budget, which is parsed elsewhere
        raise SuiteError(f"{source}: {exc}") from exc
