from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from flowbench.api import DatasetSpec, MetricSpec, ModelSpec, Paper, RemoteFile
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
