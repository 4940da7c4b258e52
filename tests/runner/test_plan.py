from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbench.api import ModelConfig, SampleSettings, Training
from flowbench.errors import DataError, SuiteError, UnknownNameError
from flowbench.registry import Registry
from flowbench.runner.attempt import canonical_json
from flowbench.runner.plan import asked_config, job_id, plan
from flowbench.suite.schema import Suite

HERE = Path()


def suite(**changes: Any) -> Suite:
    base: dict[str, Any] = {
        "models": ("fake-gaussian",),
        "datasets": ("fake-images",),
        "budget": "5steps",
    }
    return Suite(**{**base, **changes})


def ids(registry: Registry, **changes: Any) -> set[str]:
    return {job.row.job_id for job in plan(suite(**changes), registry, HERE)[0]}


def test_jobs_are_models_by_datasets_by_seeds(fake_registry: Registry) -> None:
    jobs, _ = plan(
        suite(
            models=("fake-gaussian", "fake-gan"),
            datasets=("fake-images", "fake-vectors"),
            seeds=(0, 1),
        ),
        fake_registry,
        HERE,
    )
    assert len({job.row.job_id for job in jobs}) == 8
    assert [job.row.model for job in jobs[:2]] == ["fake-gaussian", "fake-gan"]


def test_grids_multiply_and_a_setting_twice_is_one_job(fake_registry: Registry) -> None:
    grid = {"fake-gaussian.width": (4, 5, 4), "fake-gaussian.training.lr": (0.1, 0.2)}
    jobs, _ = plan(suite(grid=grid, seeds=(0, 1)), fake_registry, HERE)
    assert [job.row.settings for job in jobs] == 2 * [
        "training.lr=0.1 width=4",
        "training.lr=0.2 width=4",
        "training.lr=0.1 width=5",
        "training.lr=0.2 width=5",
    ]
    assert len({job.row.job_id for job in jobs}) == 8
    assert jobs[0].label.startswith("fake-gaussian:images training.lr=0.1 width=4 on fake-images")
    with pytest.raises(SuiteError, match=r"'nobody\.width' names none of the models that run"):
        plan(suite(grid={"nobody.width": (1, 2)}), fake_registry, HERE)


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": "6steps"},
        {"seeds": (1,)},
        {"datasets": ("fake-vectors",)},
        {"models": ("fake-gaussian:averaged",)},
        {"overrides": {"fake-gaussian.width": 5}},
        {"protocol": {"eval_draws": 3}},
    ],
)
def test_whatever_is_asked_differently_is_another_job(
    fake_registry: Registry, changes: dict[str, Any]
) -> None:
    assert not ids(fake_registry) & ids(fake_registry, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"models": ("fake-gaussian:images",)},
        {"budget": "5 STEPS"},
        {"metrics": ("fake_nll",)},
        {"overrides": {"fake-gaussian.width": 4}},
        {"name": "other", "title": "T"},
        {"ladder": True},
    ],
)
def test_the_same_request_in_other_words_is_the_same_job(
    fake_registry: Registry, changes: dict[str, Any]
) -> None:
    assert ids(fake_registry) == ids(fake_registry, **changes)


def test_a_model_that_knows_no_such_sampling_option_is_skipped(fake_registry: Registry) -> None:
    protocol = {"sample": {"options": {"guidance": 2}}}
    (job,), _ = plan(suite(protocol=protocol), fake_registry, HERE)
    assert job.unsupported == "unknown sampling option 'guidance'; this model knows: temperature"
    assert job.row.protocol["sample"]["options"] == {"guidance": 2}
    assert not ids(fake_registry) & ids(fake_registry, protocol=protocol)


@pytest.mark.parametrize(
    ("training", "num", "why"),
    [
        ({}, 2, None),
        ({"batch_size": 18}, 4, "a batch of 18 has no equal share for each of 4 devices"),
        ({"accumulate": 8}, 4, "a batch of 16, in 8 parts has no equal share for each of 4"),
        ({"compile": True}, 2, "--devices-per-job is 2: training.compile is for one device"),
        ({"groups.all.every": 2}, 2, "--devices-per-job is 2: training.groups is for one device"),
        ({"compile": True, "batch_size": 17}, 1, None),
    ],
)
def test_what_several_devices_cannot_train_is_skipped(
    fake_registry: Registry, training: dict[str, Any], num: int, why: str | None
) -> None:
    overrides = {f"fake-gaussian.training.{key}": value for key, value in training.items()}
    asked = suite(devices_per_job=num, overrides=overrides)
    for job in plan(asked, fake_registry, HERE)[0]:
        assert (job.unsupported or "").startswith(why or "")
        assert bool(job.unsupported) == bool(why)


def test_examples_that_a_loss_couples_stay_on_one_device(fake_registry: Registry) -> None:
    (job,), _ = plan(suite(models=("fake-coupled",), devices_per_job=2), fake_registry, HERE)
    assert job.unsupported == "--devices-per-job is 2, but its loss pairs the examples of a batch"


def test_a_job_says_its_family_which_is_no_part_of_it(fake_registry: Registry) -> None:
    entry = fake_registry.models["fake-gaussian"]
    flow = replace(entry, spec=replace(entry.spec, family="Flows"))
    named = replace(fake_registry, models={**fake_registry.models, "fake-gaussian": flow})
    (job,), _ = plan(suite(), named, HERE)
    assert job.row.family == "Flows"
    assert {job.row.job_id} == ids(fake_registry)


def test_the_number_of_devices_is_no_part_of_a_job(fake_registry: Registry) -> None:
    ids = [
        [job.row.job_id for job in plan(suite(devices_per_job=num), fake_registry, HERE)[0]]
        for num in (1, 2)
    ]
    assert ids[0] == ids[1]


def test_a_job_named_twice_runs_once(fake_registry: Registry) -> None:
    assert len(ids(fake_registry, models=("fake-gaussian", "fake-gaussian:images"))) == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"models": ("fake-gausian",)}, UnknownNameError, "did you mean 'fake-gaussian'"),
        ({"datasets": ("fake-image",)}, UnknownNameError, "did you mean 'fake-images'"),
        ({"metrics": ("fake_nl",)}, UnknownNameError, "did you mean 'fake_nll'"),
        ({"budget": "5"}, SuiteError, "malformed budget"),
        ({"overrides": {"glow.width": 5}}, SuiteError, "names none of the models that run"),
        ({"overrides": {"fake-gaussian": 5}}, SuiteError, "write model.key=value"),
    ],
)
def test_nothing_is_planned_when_anything_is_wrong(
    fake_registry: Registry, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan(suite(**changes), fake_registry, HERE)


def test_a_dataset_that_cannot_be_read_says_so(fake_registry: Registry) -> None:
    entry = fake_registry.dataset("fake-images")
    unread = replace(entry, spec=replace(entry.spec, load=None))
    registry = replace(fake_registry, datasets={"fake-images": unread})
    with pytest.raises(DataError, match="cannot be loaded yet"):
        plan(suite(), registry, HERE)


def test_datasets_that_are_not_prepared_are_set_apart(
    fake_registry: Registry, tmp_path: Path
) -> None:
    entry = fake_registry.dataset("fake-images")
    remote = replace(entry, spec=replace(entry.spec, name="far", convert="tests.fakes:convert"))
    registry = replace(fake_registry, datasets={**fake_registry.datasets, "far": remote})
    asked = suite(datasets=("far", "fake-images"), seeds=(0, 1))
    jobs, missing = plan(asked, registry, tmp_path)
    assert [job.row.dataset for job in jobs] == ["fake-images", "fake-images"]
    (one,) = missing
    assert (one.dataset, one.models, one.num_seeds) == ("far", ("fake-gaussian",), 2)
    assert "flowbench data prepare far" in str(one.error)


def test_a_board_says_what_runs_on_each_dataset(fake_registry: Registry) -> None:
    rows = {
        "A": {"fake-images": "fake-gaussian"},
        "B": {"fake-images": "fake-gan", "fake-vectors": "fake-gaussian"},
    }
    asked = suite(
        models=("fake-gaussian", "fake-gan"),
        datasets=("fake-images", "fake-vectors"),
        board={"published": "denseflow-1", "rows": rows},
        protocols={"fake-vectors": {"eval_draws": 3}},
    )
    jobs = [job.row for job in plan(asked, fake_registry, HERE)[0]]
    assert [(job.dataset, job.model, job.protocol["eval_draws"]) for job in jobs] == [
        ("fake-images", "fake-gaussian", 16),
        ("fake-images", "fake-gan", 16),
        ("fake-vectors", "fake-gaussian", 3),
    ]


keys = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5)


@given(keys)
def test_job_id_does_not_depend_on_key_order(config: dict[str, Any]) -> None:
    asked = {"model": "m", "dataset": "d", "seed": 0, "config": config}
    shuffled = {"config": dict(reversed(config.items())), "seed": 0, "dataset": "d", "model": "m"}
    assert job_id(asked) == job_id(shuffled)
    assert canonical_json(asked) == canonical_json(shuffled)


def test_job_id_is_a_safe_folder_name() -> None:
    name = job_id({"model": "m", "dataset": "folder:../../etc?size=64", "seed": 0})
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert "/" not in name


def test_a_setting_that_came_later_changes_no_id_at_its_default() -> None:
    assert "accumulate" not in asked_config(ModelConfig())["training"]
    in_parts = ModelConfig(training=Training(accumulate=2))
    assert asked_config(in_parts)["training"]["accumulate"] == 2


def test_a_ladder_is_climbed_by_the_metrics_that_have_one(fake_registry: Registry) -> None:
    def climbing(**changes: Any) -> list[frozenset[str]]:
        models = ("fake-gaussian", "fake-latent")
        metrics = ("fake_nll", "fake_spread")
        jobs, _ = plan(suite(models=models, metrics=metrics, **changes), fake_registry, HERE)
        return [job.ladder for job in jobs]

    assert climbing() == [frozenset(), frozenset()]
    assert climbing(ladder=True) == [{"fake_spread"}, frozenset()]


def test_a_rung_that_a_model_cannot_take_is_told_before_anything_trains(
    fake_registry: Registry, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = (SampleSettings(options={"stepps": 2}),)
    monkeypatch.setattr(fakes.GaussianConfig, "sampling_ladder", lambda *_: wrong)
    (job,), _ = plan(suite(), fake_registry, HERE)
    assert job.unsupported == "unknown sampling option 'stepps'; this model knows: temperature"


def test_models_of_a_package_that_is_not_installed_are_left_out_by_name(
    fake_registry: Registry,
) -> None:
    asked = suite(
        models=("fake-gaussian", "elsewhere:small", "other"),
        seeds=(0, 1),
        packages={"their-flows": ("elsewhere", "fake-gaussian"), "more": ("other",)},
    )
    jobs, missing = plan(asked, fake_registry, HERE)
    # Those that are registered run, whoever brings them.
    assert [job.row.model for job in jobs] == ["fake-gaussian"] * 2
    assert [(m.models, m.num_seeds) for m in missing] == [
        (("elsewhere:small",), 2),
        (("other",), 2),
    ]
    assert str(missing[0].error) == (
        "on fake-images they need the package their-flows, which is not installed here; "
        "pip install their-flows (in a clone ./plugins/their-flows)"
    )


def test_a_model_that_no_package_brings_is_still_unknown(fake_registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'nowhere'"):
        plan(suite(models=("nowhere",), packages={"more": ("other",)}), fake_registry, HERE)
