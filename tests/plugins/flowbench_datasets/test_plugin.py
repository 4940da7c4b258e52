from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from string import hexdigits

import pytest

from flowbench.api import API_VERSION, DatasetSpec
from flowbench.data.library.splits import load_splits, validation_size
from flowbench_datasets import plugin
from flowbench_datasets.plugin import register_datasets

SPECS = {spec.name: spec for spec in register_datasets()}
LOADABLE = [spec for spec in SPECS.values() if spec.load is not None]
PREPARED = [spec for spec in SPECS.values() if spec.convert is not None]


@pytest.mark.parametrize("spec", LOADABLE, ids=lambda spec: spec.name)
def test_every_dataset_is_what_its_spec_says(spec: DatasetSpec, tmp_path: Path) -> None:
    module, _, name = (spec.load or "").partition(":")
    loaded = load_splits(spec, getattr(importlib.import_module(module), name), tmp_path)
    assert len(loaded.splits.test) == spec.num_test
    assert loaded.info.num_validation == validation_size(spec) > 0
    assert list(tmp_path.iterdir()) == []


def test_the_datasets_that_need_no_download() -> None:
    planar = {"two-moons", "checkerboard", "eight-gaussians", "pinwheel"}
    shipped = {"digits", "natural-patches", "breast-cancer"}
    assert planar | shipped <= {spec.name for spec in LOADABLE}


@pytest.mark.parametrize(
    ("name", "shape", "levels", "train", "validation", "test", "classes"),
    [
        ("mnist", (1, 28, 28), 256, 60_000, None, 10_000, 10),
        ("fashion-mnist", (1, 28, 28), 256, 60_000, None, 10_000, 10),
        ("cifar10", (3, 32, 32), 256, 50_000, None, 10_000, 10),
        ("svhn", (3, 32, 32), 256, 73_257, None, 26_032, 10),
        ("imagenet32", (3, 32, 32), 256, 1_281_167, None, 50_000, 1000),
        ("imagenet64", (3, 64, 64), 256, 1_281_167, None, 50_000, 1000),
        ("imagenet128", (3, 128, 128), 256, 1_281_167, None, 50_000, 1000),
        ("imagenet32-pixelrnn", (3, 32, 32), 256, 1_281_149, None, 49_999, None),
        ("imagenet64-pixelrnn", (3, 64, 64), 256, 1_281_149, None, 49_999, None),
        ("celeba64-crop148-8bit", (3, 64, 64), 256, 162_770, 19_867, 19_962, None),
        ("celeba64-crop148-5bit", (3, 64, 64), 32, 162_770, 19_867, 19_962, None),
        ("celebahq256", (3, 256, 256), 32, 27_000, None, 3_000, None),
        ("afhq256", (3, 256, 256), 256, 14_630, None, 1_500, 3),
        ("power", (6,), None, 1_659_917, 184_435, 204_928, None),
        ("gas", (8,), None, 852_174, 94_685, 105_206, None),
        ("hepmass", (21,), None, 315_123, 35_013, 174_987, None),
        ("miniboone", (43,), None, 29_556, 3_284, 3_648, None),
        ("bsds300", (63,), None, 1_000_000, 50_000, 250_000, None),
    ],
)
def test_published_facts(
    name: str,
    shape: tuple[int, ...],
    levels: int | None,
    train: int,
    validation: int | None,
    test: int,
    classes: int | None,
) -> None:
    spec = SPECS[name]
    assert (spec.event_shape, spec.levels, spec.num_classes) == (shape, levels, classes)
    assert (spec.num_train, spec.num_validation, spec.num_test) == (train, validation, test)
    assert spec.num_classes == classes
    assert spec.load is None
    module, _, function = (spec.convert or "").partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert spec.paper is not None
    assert spec.licence
    assert spec.info(validation_size(spec)).num_train > 0


@pytest.mark.parametrize("spec", PREPARED, ids=lambda spec: spec.name)
def test_every_file_can_be_told_or_fetched(spec: DatasetSpec) -> None:
    assert spec.files
    for file in spec.files:
        assert file.url is None or file.url.startswith(("https://", "http://"))
        assert file.url is not None or spec.how_to
        for digest, length in ((file.sha256, 64), (file.md5, 32), (file.content_sha256, 64)):
            assert digest is None or (len(digest) == length and set(digest) <= set(hexdigits))
    by_collection = {(s.collection or s.name): s.files for s in PREPARED}
    assert spec.files == by_collection[spec.collection or spec.name]


def test_files_without_any_published_hash_are_few() -> None:
    unknown = {f.name for s in PREPARED for f in s.files if not (f.sha256 or f.md5)}
    prompts = "en_US_f_Allison.zip"  # a folder of a Debian package
    assert unknown == {"train.zip", "val.zip", "validation.zip", "afhq.zip", prompts}


def test_celebas_published_splits_are_all_of_it() -> None:
    spec = SPECS["celeba64-crop148-8bit"]
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
