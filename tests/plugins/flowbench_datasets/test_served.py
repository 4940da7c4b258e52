"""Every real format, in small: from a web server that may fail, to a prepared store."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowbench.api import DatasetSpec, RemoteFile
from flowbench.data.library.manifest import Manifest
from flowbench.data.library.prepare import prepare
from flowbench.data.library.prepared import is_ready, verify_prepared
from flowbench.data.library.splits import load_prepared
from flowbench.errors import DataError
from flowbench_datasets.facts import CELEBA64, CELEBA64_5BIT, CIFAR10, IMAGENET, MNIST, SVHN
from flowbench_datasets.tabular_specs import TABULAR
from tests.plugins.flowbench_datasets import (
    test_celeba,
    test_cifar,
    test_idx,
    test_imagenet,
    test_svhn,
    test_tabular,
)
from tests.web import Web, serve

Files = dict[str, bytes]
Small = tuple[DatasetSpec, Files]


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as web:
        yield web


def contents(paths: dict[str, Path]) -> Files:
    return {name: path.read_bytes() for name, path in paths.items()}


def mnist(folder: Path) -> Small:
    files = contents(test_idx.write(folder, 30, 7))
    return dataclasses.replace(MNIST, num_train=30, num_test=7), files


def cifar10(folder: Path) -> Small:
    files = contents(test_cifar.archive(folder))
    return dataclasses.replace(CIFAR10, num_train=25, num_test=5), files


def svhn(folder: Path) -> Small:
    files = contents(test_svhn.write(folder, 12))
    return dataclasses.replace(SVHN, num_train=12, num_test=12), files


def imagenet32(folder: Path) -> Small:
    batches = {f"train_data_batch_{n}.npz": n for n in range(1, 11)}
    archives = {
        "Imagenet32_train_npz.zip": batches,
        "Imagenet32_val_npz.zip": {"val_data.npz": 99},
    }
    files = {}
    for name, members in archives.items():
        packed = {
            member: test_imagenet.npz(*test_imagenet.rows(number))
            for member, number in members.items()
        }
        files[name] = test_imagenet.write_zip(folder / name, packed).read_bytes()
    return dataclasses.replace(IMAGENET[0], num_train=30, num_test=3), files


def celeba64(folder: Path) -> Small:
    paths = test_celeba.write(folder)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in paths["img_align_celeba.zip"].iterdir():
            archive.write(path, f"img_align_celeba/{path.name}")
    partition = paths["list_eval_partition.txt"].read_bytes()
    files = {"img_align_celeba.zip": packed.getvalue(), "list_eval_partition.txt": partition}
    return dataclasses.replace(CELEBA64, num_train=2, num_validation=1, num_test=1), files


def celeba64_5bit(folder: Path) -> Small:
    small, files = celeba64(folder)
    facts: dict[str, Any] = {
        "name": CELEBA64_5BIT.name,
        "levels": 32,
        "convert": CELEBA64_5BIT.convert,
    }
    return dataclasses.replace(small, **facts), files


def tabular(name: str, folder: Path, member: str, data: bytes, counts: list[int]) -> Small:
    spec = next(spec for spec in TABULAR if spec.name == name)
    files = contents(test_tabular.archive(folder, {member: data}))
    sizes: dict[str, Any] = dict(
        zip(("num_train", "num_validation", "num_test"), counts, strict=True)
    )
    return dataclasses.replace(spec, **sizes), files


def miniboone(folder: Path) -> Small:
    rows = test_tabular.npy(np.random.default_rng(0).normal(size=(1000, 43)))
    return tabular("miniboone", folder, "miniboone/data.npy", rows, [810, 90, 100])


def bsds300(folder: Path) -> Small:
    h5py = pytest.importorskip("h5py")
    rng, counts = np.random.default_rng(0), {"train": 9, "validation": 4, "test": 5}
    with h5py.File(folder / "a.hdf5", "w") as content:
        for split, num in counts.items():
            content[split] = rng.normal(size=(num, 63))
    data = (folder / "a.hdf5").read_bytes()
    return tabular("bsds300", folder, "BSDS300/BSDS300.hdf5", data, list(counts.values()))


ARCHIVED = (cifar10, imagenet32, celeba64, miniboone, bsds300)
SMALL = (mnist, svhn, celeba64_5bit, *ARCHIVED)
every_format = pytest.mark.parametrize("small", SMALL, ids=lambda small: small.__name__)


def served(web: Web, small: Callable[[Path], Small], folder: Path) -> DatasetSpec:
    """The dataset with small files, which the server has under the published names."""
    folder.mkdir()
    spec, files = small(folder)
    assert set(files) == {file.name for file in spec.files}
    web.files = files
    return addressed(web, spec)


def addressed(web: Web, spec: DatasetSpec) -> DatasetSpec:
    remote = tuple(
        RemoteFile(name=name, url=web.url(name), sha256=hashlib.sha256(data).hexdigest())
        for name, data in web.files.items()
    )
    return dataclasses.replace(spec, files=remote)


def prepared(spec: DatasetSpec, data_dir: Path) -> Manifest:
    module, _, function = (spec.convert or "").partition(":")
    return prepare(spec, getattr(importlib.import_module(module), function), data_dir)


def refused(spec: DatasetSpec, data_dir: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        prepared(spec, data_dir)
    assert "\n" not in str(caught.value)
    assert not is_ready(spec, data_dir)
    left = [path for path in data_dir.iterdir() if path.suffix != ".lock"]
    assert [path.name for path in left] == ["downloads"]


def downloaded(spec: DatasetSpec, data_dir: Path) -> set[str]:
    folder = data_dir / "downloads" / (spec.collection or spec.name)
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


@every_format
def test_a_real_format_goes_from_the_server_to_the_store(
    web: Web, tmp_path: Path, small: Callable[[Path], Small]
) -> None:
    spec = served(web, small, tmp_path / "made")
    manifest = prepared(spec, tmp_path / "data")
    assert all(source.published for source in manifest.sources)
    assert manifest.splits["train"].published == spec.num_train
    data = load_prepared(spec, tmp_path / "data")
    assert len(data.splits.test) == spec.num_test
    assert data.splits.test.x.shape[1:] == spec.event_shape
    assert verify_prepared(spec, tmp_path / "data").sha256 == data.sha256


@every_format
def test_a_cut_connection_is_told_and_the_next_call_goes_on(
    web: Web, tmp_path: Path, small: Callable[[Path], Small]
) -> None:
    spec = served(web, small, tmp_path / "made")
    first = spec.files[0].name
    kept = len(web.files[first]) // 2
    web.cut_after = {first: kept}
    refused(spec, tmp_path / "data", f"the connection was cut after .* of {re.escape(first)}")
    assert downloaded(spec, tmp_path / "data") == {f"{first}.part", f"{first}.part.etag"}
    web.cut_after = {}
    prepared(spec, tmp_path / "data")
    assert (first, f"bytes={kept}-") in web.asked


@every_format
def test_other_bytes_than_published_are_refused(
    web: Web, tmp_path: Path, small: Callable[[Path], Small]
) -> None:
    spec = served(web, small, tmp_path / "made")
    last = spec.files[-1].name
    web.files[last] = web.files[last][:-1] + bytes([web.files[last][-1] ^ 1])
    refused(spec, tmp_path / "data", f"SHA-256 .* the published {re.escape(last)} has")
    assert last not in downloaded(spec, tmp_path / "data")
    assert f"{last}.part" not in downloaded(spec, tmp_path / "data")


@every_format
def test_a_page_in_place_of_the_file_is_refused(
    web: Web, tmp_path: Path, small: Callable[[Path], Small]
) -> None:
    spec = served(web, small, tmp_path / "made")
    web.pages.add(spec.files[0].name)
    refused(spec, tmp_path / "data", "gave a web page instead of")
    assert downloaded(spec, tmp_path / "data") == set()


def with_member(packed: bytes, name: str) -> bytes:
    """The archive and one file more, whatever its name."""
    if zipfile.is_zipfile(io.BytesIO(packed)):
        target = io.BytesIO(packed)
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(name, b"evil")
        return target.getvalue()
    target = io.BytesIO(gzip.decompress(packed))
    with tarfile.open(fileobj=target, mode="a") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(b"evil")
        archive.addfile(member, io.BytesIO(b"evil"))
    return gzip.compress(target.getvalue())


@pytest.mark.parametrize("small", ARCHIVED, ids=lambda small: small.__name__)
def test_an_archive_that_climbs_out_of_its_folder_is_refused(
    web: Web, tmp_path: Path, small: Callable[[Path], Small]
) -> None:
    spec = served(web, small, tmp_path / "made")
    first = spec.files[0].name
    web.files[first] = with_member(web.files[first], "../../../evil.npy")
    refused(addressed(web, spec), tmp_path / "data", "a path outside it")
    assert not list(tmp_path.rglob("evil*"))
