from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from flowbench.api import ContextInput, DatasetSpec, RemoteFile, Split
from flowbench.api.readers import open_archive
from flowbench.api.specs import SplitName
from flowbench.data.library.content import content_hash, example_hashes
from flowbench.data.library.manifest import read_manifest
from flowbench.data.library.prepare import prepare
from flowbench.data.library.prepared import is_ready, open_prepared, verify_prepared
from flowbench.data.library.splits import load_prepared
from flowbench.errors import DataError, DataMissingError
from tests.web import Web

SPEC = DatasetSpec(
    name="fake",
    modality="image",
    event_shape=(1, 2, 4),
    levels=256,
    num_train=200,
    num_test=30,
    context={"label": ContextInput(shape=(), num_classes=5)},
    files=(RemoteFile(name="a.zip"),),
    convert="unused:here",
    summary="random images",
    licence="none",
)


def images(num: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (num, 1, 2, 4), dtype=np.uint8)
    return Split(x=x, context={"label": rng.integers(0, 5, num)})


def archive(**splits: Split) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, split in splits.items():
            content = io.BytesIO()
            np.savez(content, x=split.x, label=split.context["label"])
            target.writestr(f"{name}.npz", content.getvalue())
    return packed.getvalue()


PACKED = archive(train=images(200, 0), test=images(30, 1))


def convert(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    names: tuple[SplitName, ...] = ("train", "validation", "test")
    with open_archive(files["a.zip"]) as source:
        for split in names:
            if f"{split}.npz" in source.names:
                content = np.load(io.BytesIO(source.read(f"{split}.npz")))
                for start in range(0, len(content["x"]), 64):  # piece by piece
                    rows = slice(start, start + 64)
                    yield (
                        split,
                        Split(x=content["x"][rows], context={"label": content["label"][rows]}),
                    )


def given(folder: Path, packed: bytes = PACKED) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.zip").write_bytes(packed)
    return folder


def visible(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if not p.name.endswith(".lock")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the dataset in it."""
    prepare(SPEC, convert, tmp_path / "data", given=given(tmp_path / "given"))
    return tmp_path / "data"


def test_what_was_published_is_prepared(data: Path) -> None:
    loaded = load_prepared(SPEC, data)
    train, validation, test = (loaded.splits[n] for n in ("train", "validation", "test"))
    assert [len(s) for s in (train, validation, test)] == [180, 20, 30]
    assert np.array_equal(test.x, images(30, 1).x)
    assert np.array_equal(test.context["label"], images(30, 1).context["label"])
    published = images(200, 0)
    labels = published.context["label"]
    rows = {x.tobytes(): int(y) for x, y in zip(published.x, labels, strict=True)}
    both = [
        (x.tobytes(), int(y))
        for s in (train, validation)
        for x, y in zip(s.x, s.context["label"], strict=True)
    ]
    assert len({x for x, _ in both}) == 200
    assert all(rows[x] == y for x, y in both)
    sizes = (loaded.info.num_train, loaded.info.num_validation, loaded.info.num_test)
    assert sizes == (180, 20, 30)


def test_the_split_is_the_one_that_loading_would_make(data: Path) -> None:
    from flowbench.api import DataSplits
    from flowbench.data.library.splits import load_splits

    plain = dataclasses.replace(SPEC, convert=None)
    published = DataSplits(train=images(200, 0), test=images(30, 1))
    expected = load_splits(plain, lambda _: published, data).splits
    splits = load_prepared(SPEC, data).splits
    for name in ("train", "validation", "test"):
        assert np.array_equal(splits[name].x, expected[name].x)
        assert np.array_equal(splits[name].context["label"], expected[name].context["label"])


def test_splits_are_mapped_and_not_read(data: Path) -> None:
    for split in (load_prepared(SPEC, data).splits[n] for n in ("train", "validation", "test")):
        assert isinstance(split.x, np.memmap)
        assert isinstance(split.context["label"], np.memmap)
        assert not split.x.flags.writeable


def test_the_manifest_says_what_there_is(data: Path) -> None:
    manifest = json.loads((data / "fake" / "manifest.json").read_text())
    assert manifest["splits"]["train"]["count"] == 180
    assert manifest["splits"]["train"]["published"] == 200
    assert manifest["splits"]["test"] == {
        "count": 30,
        "published": 30,
        "in_other_splits": 0,
        "unreadable": {},
        "context": ["label"],
    }
    assert (manifest["event_shape"], manifest["dtype"]) == ([1, 2, 4], "uint8")
    assert manifest["sha256"] == content_hash(open_prepared(SPEC, data)[1])
    sha256 = hashlib.sha256(PACKED).hexdigest()
    assert manifest["sources"] == [{"name": "a.zip", "sha256": sha256, "published": False}]
    assert visible(data) == {"fake"}


def test_preparing_again_does_nothing(data: Path) -> None:
    before = (data / "fake" / "manifest.json").stat().st_mtime_ns

    def never(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
        raise AssertionError

    prepare(SPEC, never, data, offline=True)
    assert (data / "fake" / "manifest.json").stat().st_mtime_ns == before


def test_a_published_file_is_downloaded_checked_and_converted(web: Web, tmp_path: Path) -> None:
    web.files["a.zip"] = PACKED
    file = RemoteFile(name="a.zip", url=web.url("a.zip"), sha256=hashlib.sha256(PACKED).hexdigest())
    spec = dataclasses.replace(SPEC, files=(file,))
    web.cut_after = {"a.zip": 2000}
    again = f"run flowbench data prepare fake --data-dir {tmp_path} to go on"
    with pytest.raises(DataError, match=rf"cut after .*{re.escape(again)}"):
        prepare(spec, convert, tmp_path)
    assert visible(tmp_path) == {"downloads"}
    web.cut_after = {}
    manifest = prepare(spec, convert, tmp_path)
    assert manifest.sources[0].published
    assert is_ready(spec, tmp_path)


def test_another_file_than_published_is_refused(tmp_path: Path) -> None:
    file = RemoteFile(name="a.zip", sha256="0" * 64)
    spec = dataclasses.replace(SPEC, files=(file,))
    with pytest.raises(DataError, match=r"the published a.zip has 0000000000000000"):
        prepare(spec, convert, tmp_path / "data", given=given(tmp_path / "given"))
    assert visible(tmp_path / "data") == set()


def test_test_examples_stay_and_their_copies_leave_train(tmp_path: Path) -> None:
    train, test = images(200, 0), images(30, 1)
    train.x[[7, 50]] = test.x[3]
    packed = archive(train=train, test=test)
    manifest = prepare(SPEC, convert, tmp_path / "data", given=given(tmp_path / "given", packed))
    splits = load_prepared(SPEC, tmp_path / "data").splits
    assert manifest.splits["train"].in_other_splits == 2
    assert (len(splits.train), len(splits["validation"]), len(splits.test)) == (178, 20, 30)
    assert np.array_equal(splits.test.x, test.x)
    hashes = [set(example_hashes(splits[n].x).tolist()) for n in ("train", "validation", "test")]
    assert not hashes[0] & hashes[2]
    assert not hashes[1] & hashes[2]
    assert not hashes[0] & hashes[1]


def test_a_published_validation_split_yields_to_test_alone(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, num_validation=25)
    train, validation, test = images(200, 0), images(25, 2), images(30, 1)
    validation.x[4] = test.x[0]
    train.x[[9, 10, 11]] = validation.x[5]
    packed = archive(train=train, validation=validation, test=test)
    manifest = prepare(spec, convert, tmp_path / "data", given=given(tmp_path / "given", packed))
    removed = {name: split.in_other_splits for name, split in manifest.splits.items()}
    assert removed == {"train": 3, "validation": 1, "test": 0}
    counts = {name: split.count for name, split in manifest.splits.items()}
    assert counts == {"train": 197, "validation": 24, "test": 30}
    info = load_prepared(spec, tmp_path / "data").info
    assert (info.num_train, info.num_validation) == (197, 24)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (archive(train=images(199, 0), test=images(30, 1)), "train split: 199 .* expected 200"),
        (archive(train=images(200, 0)), "hold no test examples"),
        (PACKED[:-40], "not a complete archive"),
        (b"<html>", "not a complete archive"),
    ],
)
def test_nothing_half_written_stays(tmp_path: Path, packed: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(SPEC, convert, tmp_path / "data", given=given(tmp_path / "given", packed))
    assert visible(tmp_path / "data") == set()


def test_what_a_dead_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "data" / ".fake.1.part").mkdir(parents=True)
    (tmp_path / "data" / ".fake.1.part" / "train_x.npy").write_bytes(b"x")
    prepare(SPEC, convert, tmp_path / "data", given=given(tmp_path / "given"))
    assert visible(tmp_path / "data") == {"fake"}


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "data" / "fake").mkdir(parents=True)
    (tmp_path / "data" / "fake" / "thesis.tex").write_text("do not lose")
    with pytest.raises(DataError, match="is not a prepared dataset"):
        prepare(SPEC, convert, tmp_path / "data", given=given(tmp_path / "given"))
    assert (tmp_path / "data" / "fake" / "thesis.tex").read_text() == "do not lose"


def test_two_processes_prepare_it_once(web: Web, tmp_path: Path) -> None:
    web.files["a.zip"] = PACKED
    spec = dataclasses.replace(SPEC, files=(RemoteFile(name="a.zip", url=web.url("a.zip")),))
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=prepare, args=(spec, convert, tmp_path)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert web.asked == [("a.zip", None)]
    verify_prepared(spec, tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, how_to="log in at example.org")
    command = f"flowbench data prepare fake --from FOLDER --data-dir {tmp_path / 'data'}"
    message = (
        r"a.zip \(or its content as folder a/\) .*log in at example.org; then run: "
        f"{re.escape(command)}$"
    )
    for where in (None, tmp_path):
        with pytest.raises(DataMissingError, match=message):
            prepare(spec, convert, tmp_path / "data", given=where)
    with pytest.raises(DataError, match=r"--from .*nowhere does not exist; .* holds a.zip"):
        prepare(spec, convert, tmp_path / "data", given=tmp_path / "nowhere")


def test_with_from_nothing_is_downloaded(web: Web, tmp_path: Path) -> None:
    web.files["a.zip"] = PACKED
    spec = dataclasses.replace(SPEC, files=(RemoteFile(name="a.zip", url=web.url("a.zip")),))
    (tmp_path / "a").write_text("a file, and no folder of its content")
    with pytest.raises(DataMissingError, match=r"a.zip .* is not in .*; leave --from out to"):
        prepare(spec, convert, tmp_path / "data", given=tmp_path)
    assert web.asked == []


@pytest.mark.parametrize("where", ["given/a.zip", "given"])
def test_a_file_may_be_given_itself_or_in_a_folder(tmp_path: Path, where: str) -> None:
    given(tmp_path / "given")
    manifest = prepare(SPEC, convert, tmp_path / "data", given=tmp_path / where)
    assert manifest.sources[0].sha256 is not None


@pytest.mark.parametrize("folder", [None, "a-1.0"])  # as it unpacks: by its name, or by another
@pytest.mark.parametrize("where", ["given", "given/a", "given/a-1.0", "."])
def test_what_was_extracted_may_be_given_by_itself_or_by_what_it_lies_in(
    tmp_path: Path, where: str, folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a file beside it, as labels often are."""
    there = Path(where).name if where.startswith("given/") else folder or "a"
    with zipfile.ZipFile(io.BytesIO(PACKED)) as packed:
        packed.extractall(tmp_path / "given" / there)
    (tmp_path / "given" / "labels.txt").write_text("beside it")
    files = (RemoteFile(name="a.zip", folder=folder), RemoteFile(name="labels.txt"))
    spec = dataclasses.replace(SPEC, files=files)
    asked = tmp_path / where
    if where == ".":
        monkeypatch.chdir(tmp_path / "given" / there)
        asked = Path()
    if there == "a-1.0" and folder is None:  # no name that it is known by
        with pytest.raises(
            DataMissingError, match=r"content as folder a/\), labels.txt are not in"
        ):
            prepare(spec, convert, tmp_path / "data", given=asked)
        return
    manifest = prepare(spec, convert, tmp_path / "data", given=asked)
    assert [source.sha256 is None for source in manifest.sources] == [True, False]


def test_an_unprepared_dataset_says_how_to_prepare_it(tmp_path: Path) -> None:
    assert not is_ready(SPEC, tmp_path)
    command = f"flowbench data prepare fake --from FOLDER --data-dir {tmp_path}"
    with pytest.raises(DataMissingError) as caught:
        load_prepared(SPEC, tmp_path)
    assert f"'fake' is not prepared; run: {command}" in str(caught.value)


def test_a_changed_file_is_noticed_at_once_and_by_verify(data: Path) -> None:
    path = data / "fake" / "train_x.npy"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"content hash .* it was prepared with"):
        verify_prepared(SPEC, data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 5_000_000_000))
    with pytest.raises(DataError, match=r"train_x.npy has changed .* flowbench data verify fake"):
        load_prepared(SPEC, data)
    path.unlink()
    with pytest.raises(DataError, match=r"train_x.npy is missing"):
        load_prepared(SPEC, data)


def test_a_copied_folder_is_good_again_once_verified(data: Path) -> None:
    path = data / "fake" / "test_x.npy"
    os.utime(path, (1, 1))
    with pytest.raises(DataError, match="flowbench data verify fake"):
        load_prepared(SPEC, data)
    verify_prepared(SPEC, data)
    load_prepared(SPEC, data)


def test_a_damaged_manifest_is_told(data: Path) -> None:
    (data / "fake" / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(DataError, match=r"manifest.json is damaged"):
        load_prepared(SPEC, data)
    assert not is_ready(SPEC, data)


def test_another_format_is_prepared_anew(data: Path, tmp_path: Path) -> None:
    path = data / "fake" / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 0'))
    assert read_manifest(data / "fake") is None
    prepare(SPEC, convert, data, given=tmp_path / "given")
    load_prepared(SPEC, data)


def test_what_was_prepared_for_another_spec_is_refused(data: Path) -> None:
    with pytest.raises(DataError, match="counts"):
        load_prepared(dataclasses.replace(SPEC, num_train=100), data)
    with pytest.raises(DataError, match="its spec pins 0000000000000000"):
        load_prepared(dataclasses.replace(SPEC, sha256="0" * 64), data)


def test_too_little_room_is_told_before_any_work(tmp_path: Path) -> None:
    huge = dataclasses.replace(SPEC, num_train=10**15)
    with pytest.raises(DataError, match=r"takes .* TB once prepared, .* free"):
        prepare(huge, convert, tmp_path / "data", given=given(tmp_path / "given"))
