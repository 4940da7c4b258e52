from __future__ import annotations

import pytest

from flowbench.suite.find import find_suite
from flowbench.suite.load import load_suite
from flowbench.suite.schema import Suite


def test_a_board_with_rows_names_what_runs() -> None:
    suite = load_suite(find_suite("denseflow-1"))
    assert suite.datasets == ("cifar10", "imagenet32", "imagenet64", "celeba64-crop148-8bit")
    assert suite.models_on("cifar10") == (
        "vae:iaf",
        "ddpm:cifar10",
        "vdm:cifar10",
        "iddpm:cifar10",
        "pixelcnnpp:cifar10",
        "realnvp:cifar10",
        "glow:512ch",
        "residual-flow:cifar10",
        "idensenet:cifar10",
        "flowpp:cifar10",
        "anf:cifar10",
        "vflow:cifar10",
        "mar-scf:c256",
        "macow:cifar10-vdq",
        "survae:no-pool",
        "denseflow:74-10",
    )
    assert suite.models_on("celeba64-crop148-8bit") == (
        "realnvp:celeba64",
        "denseflow:74-10-celeba64",
    )
    assert suite.models_on("digits") == ()


def test_a_row_may_name_a_model_for_each_column() -> None:
    suite = load_suite(find_suite("nanoflow-3"))
    assert suite.datasets == ("ljspeech",)
    assert suite.models == suite.models_on("ljspeech")
    assert suite.models[:3] == ("waveflow:64ch-g4", "waveflow:64ch-g8", "waveflow:64ch-g16")
    assert len(suite.models) == 10


def test_a_board_may_have_its_own_protocol_on_a_data_set() -> None:
    suite = load_suite(find_suite("denseflow-1"))
    assert suite.protocol_on("cifar10").eval_draws == 1000
    assert suite.protocol_on("celeba64-crop148-8bit").eval_draws == 200


def test_other_suites_run_every_model_on_every_data_set() -> None:
    suite = Suite(models=("a", "b:c"), datasets=("x", "y"))
    assert suite.models_on("x") == suite.models_on("y") == ("a", "b:c")


@pytest.mark.parametrize("empty", [{"models": ()}, {"models": ("a",), "datasets": ()}])
def test_a_suite_without_a_published_table_must_run_something(empty: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least one model and one dataset"):
        Suite.model_validate(empty)


def test_every_combination_of_a_grid_is_set_in_turn() -> None:
    grid = {"a.width": (1, 2), "a.depth": (3, 4), "b.width": (5, 6)}
    suite = Suite(models=("a", "b"), overrides={"a.lr": 0.1, "ab.c": 0}, grid=grid)
    found = [(one["width"], one["depth"], one["lr"]) for one in suite.settings_of("a")]
    assert found == [(1, 3, 0.1), (1, 4, 0.1), (2, 3, 0.1), (2, 4, 0.1)]
    assert suite.settings_of("b") == [{"width": 5}, {"width": 6}]
    assert suite.settings_of("c") == [{}]


def test_a_grid_has_no_room_on_a_board_that_is_laid_out() -> None:
    data = load_suite(find_suite("denseflow-1")).model_dump()
    with pytest.raises(ValueError, match=r"several values of glow\.lr make several rows"):
        Suite.model_validate({**data, "grid": {"glow.lr": [1, 2]}})
