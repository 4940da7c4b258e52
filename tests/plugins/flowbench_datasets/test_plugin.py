from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from flowbench.api import API_VERSION, DatasetSpec
from flowbench.data.splits import load_splits, validation_size
from flowbench_datasets import plugin
from flowbench_datasets.plugin import register_datasets

SPECS = {spec.name: spec for spec in register_datasets()}
LOADABLE = [spec for spec in SPECS.values() if spec.load is not None]


@pytest.mark.parametrize("spec", LOADABLE, ids=lambda spec: spec.name)
def test_every_dataset_is_what_its_spec_says(spec: DatasetSpec, tmp_path: Path) -> None:
    module, _, name = (spec.load or "").partition(":")
    loaded = load_splits(spec, getattr(importlib.import_module(module), name), tmp_path)
    assert len(loaded.splits.test) == spec.num_test
    assert loaded.info.num_validation == validation_size(spec) > 0
    assert list(tmp_path.iterdir()) == []


def test_the_datasets_that_need_no_download() -> None:
    assert [spec.name for spec in LOADABLE] == [
        "digits",
        "natural-patches",
        "two-moons",
        "checkerboard",
        "eight-gaussians",
        "pinwheel",
    ]


@pytest.mark.parametrize(
    ("name", "shape", "levels", "train", "validation", "test", "classes"),
    [
        ("mnist", (1, 28, 28), 256, 60_000, None, 10_000, 10),
        ("cifar10", (3, 32, 32), 256, 50_000, None, 10_000, 10),
        ("imagenet32", (3, 32, 32), 256, 1_281_167, None, 50_000, 1000),
        ("imagenet64", (3, 64, 64), 256, 1_281_167, None, 50_000, 1000),
        ("imagenet128", (3, 128, 128), 256, 1_281_167, None, 50_000, 1000),
        ("celeba64", (3, 64, 64), 256, 162_770, 19_867, 19_962, None),
        ("celebahq256", (3, 256, 256), 32, 27_000, None, 3_000, None),
        ("afhq256", (3, 256, 256), 256, 14_630, None, 1_500, 3),
    ],
)
def test_published_facts(name, shape, levels, train, validation, test, classes) -> None:
    spec = SPECS[name]
    assert (spec.event_shape, spec.levels, spec.num_classes) == (shape, levels, classes)
    assert (spec.num_train, spec.num_validation, spec.num_test) == (train, validation, test)
    assert spec.context == ({"label": ()} if classes else {})
    assert spec.load is None
    assert spec.paper is not None
    assert spec.licence
    assert spec.info(validation_size(spec)).num_train > 0


def test_celebas_published_splits_are_all_of_it() -> None:
    spec = SPECS["celeba64"]
    assert spec.num_train + (spec.num_validation or 0) + spec.num_test == 202_599


def test_names_are_unique_and_the_api_is_the_current_one() -> None:
    assert len(SPECS) == len(register_datasets())
    assert plugin.FLOWBENCH_API_VERSION == API_VERSION


def test_listing_is_light() -> None:
    code = (
        "import sys, flowbench_datasets.plugin as p; p.register_datasets();"
        "print([m for m in ('numpy', 'torch', 'pydantic', 'sklearn') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
