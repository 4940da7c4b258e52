from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from flowbench.api import DatasetSpec, Limits, MetricSpec, MetricValue, ModelSpec, Paper, RemoteFile
from flowbench.api.specs import is_main_value
from flowbench.errors import ConfigError

PAPER = Paper(title="Glow", year=2018, arxiv="1807.03039")


@pytest.mark.parametrize(
    "spec",
    [
        PAPER,
        RemoteFile(name="train.zip"),
        ModelSpec(
            name="m", model="a:M", config="a:C", modalities=frozenset({"image"}), summary="s"
        ),
        MetricSpec(name="q", compute="a:q", unit="", direction="lower", summary="s"),
    ],
)
def test_specs_do_not_change_and_carry_their_paper(spec: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"
    if hasattr(spec, "paper"):
        assert dataclasses.replace(spec, paper=PAPER).paper.arxiv == "1807.03039"


@pytest.mark.parametrize(("own", "num_train"), [(None, 90), (10, 100)])
def test_a_validation_split_comes_off_the_training_examples_or_is_the_datasets_own(
    own: int | None, num_train: int
) -> None:
    spec = DatasetSpec(
        name="d",
        modality="vector",
        event_shape=(2,),
        levels=None,
        num_train=100,
        num_test=5,
        num_validation=own,
        summary="s",
    )
    info = spec.info(10)
    assert (info.num_train, info.num_validation, info.num_dims) == (num_train, 10, 2)


@pytest.mark.parametrize(
    ("name", "main"),
    [
        ("fd-net", True),
        ("fd-net@1000", True),
        ("fd-net-0a1b2c3d", True),
        ("fd-net-0a1b2c3d@1000", True),
        ("fd-net-64", False),
        ("fd-net_std@1000", False),
        ("fd-network", False),
        ("fd-net@many", False),
    ],
)
def test_a_main_value_may_say_whose_weights_and_how_many_samples(name: str, main: bool) -> None:
    assert is_main_value("fd-net", name) is main


def test_a_metric_without_labels_is_a_quality_with_its_name_in_words() -> None:
    spec = MetricSpec(name="nll_tail", compute="a:q", unit="nats", direction="lower", summary="s")
    assert spec.presentation("nll_tail", "nats") == {
        "label": "nll tail",
        "short": "nll tail",
        "role": "quality",
        "scale": "linear",
        "decimals": None,
    }


def test_a_value_beside_the_main_one_witnesses_and_shares_decimals_of_its_unit() -> None:
    spec = MetricSpec(
        name="fid", compute="a:q", unit="", direction="lower", summary="s",
        label="Fréchet Inception distance", short="FID", scale="log", decimals=2,
    )  # fmt: skip
    assert spec.presentation("fid@5000", "")["label"] == "Fréchet Inception distance@5000"
    beside = spec.presentation("fid_floor", "")
    assert (beside["short"], beside["role"], beside["scale"]) == ("fid floor", "witness", "linear")
    assert beside["decimals"] == 2
    assert spec.presentation("fid_seconds", "s")["decimals"] is None


@pytest.mark.parametrize("wrong", [{"role": "qualty"}, {"scale": "logarithmic"}])
def test_a_role_or_scale_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"metric 'q' has the .* expected"):
        MetricSpec(name="q", compute="a:q", unit="", direction="lower", summary="s", **wrong)


@pytest.mark.parametrize("wrong", ["", " ", 3])
def test_a_family_without_a_name_is_refused(wrong: Any) -> None:
    facts: dict[str, Any] = {"model": "a:M", "config": "a:C", "modalities": frozenset({"image"})}
    with pytest.raises(ConfigError, match=r"family of 'm' is .* expected a heading such as"):
        ModelSpec(name="m", summary="s", family=wrong, **facts)


MASS = Limits(minimum=0.99, maximum=1.01, target=1.0)


@pytest.mark.parametrize(
    ("limits", "value", "stderr", "words"),
    [
        (MASS, 1.0, None, None),
        (MASS, 1.0099, 0.0001, None),
        (MASS, 1.0101, 0.0001, "1.01 is above 1.01"),
        (MASS, 0.95, 0.009, "0.95 is below 0.99"),  # 5.6 errors off 1
        (MASS, 0.95, 0.011, None),  # 4.5
        (MASS, 2.72, None, "2.72 is above 1.01"),
        (MASS, None, None, None),
        (Limits(minimum=1e-6), 1e-7, None, "1e-07 is below 1e-06"),
        (Limits(minimum=1e-6), 1e-6, None, None),
        (Limits(maximum=0.01), 0.02, 0.001, "0.02 is above 0.01"),
        (Limits(maximum=0.01), 0.02, 0.003, None),  # 3.3 errors beyond the limit
        (Limits(maximum=0.01, errors=0), 0.02, 0.003, "0.02 is above 0.01"),
    ],
)
def test_a_value_beyond_its_limits_by_some_errors_refutes(
    limits: Limits, value: float | None, stderr: float | None, words: str | None
) -> None:
    assert limits.refutation(value, stderr) == words


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"target": 1.0},
        {"minimum": 2.0, "maximum": 1.0},
        {"minimum": 2.0, "target": 1.0},
        {"maximum": 1.0, "errors": -1.0},
        {"maximum": 1.0, "errors": float("nan")},
    ],
)
def test_limits_that_say_nothing_or_contradict_themselves_are_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="limits"):
        Limits(**given)


def test_limits_are_of_the_value_that_they_name() -> None:
    spec = MetricSpec(
        name="loops",
        compute="a:q",
        unit="",
        direction="none",
        summary="s",
        short="Loops",
        limits={"loops": Limits(maximum=0), "loops_open": Limits(maximum=2)},
    )

    def refutation(name: str, value: float) -> str | None:
        return spec.refutation(MetricValue(name=name, value=value, unit="", direction="none"))

    assert refutation("loops", 1.0) == "Loops 1 is above 0"
    assert refutation("loops_open", 3.0) == "loops open 3 is above 2"
    assert refutation("loops_open", 1.0) is None
    assert refutation("loops_closed", 9.0) is None
