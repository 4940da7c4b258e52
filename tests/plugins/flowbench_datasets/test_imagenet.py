from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowbench.errors import DataError
from flowbench_datasets.imagenet import convert_arrays, convert_original, convert_pngs32
from tests.plugins.flowbench_datasets.collect import collect


def npz(x: np.ndarray, labels: np.ndarray) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, data=x, labels=labels, mean=x.mean(0))
    return packed.getvalue()


def rows(number: int, num: int = 3, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (num, 3 * size**2), dtype=np.uint8), rng.integers(1, 1001, num)


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def png(seed: int, size: tuple[int, int] = (32, 32), kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, kind)
    return packed.getvalue()


def test_npz_batches_come_by_number(tmp_path: Path) -> None:
    order = [10, 2, 1, 3]
    train = {f"train_data_batch_{n}.npz": npz(*rows(n)) for n in order}
    files = {
        "Imagenet32_train_npz.zip": write_zip(tmp_path / "Imagenet32_train_npz.zip", train),
        "Imagenet32_val_npz.zip": write_zip(
            tmp_path / "Imagenet32_val_npz.zip", {"val_data.npz": npz(*rows(99))}
        ),
    }
    splits = collect(convert_arrays(files))
    expected = [rows(n) for n in (1, 2, 3, 10)]
    assert np.array_equal(
        splits["train"].x.reshape(12, -1), np.concatenate([x for x, _ in expected])
    )
    labels = np.concatenate([y for _, y in expected]) - 1
    assert splits["train"].context["label"].tolist() == labels.tolist()
    assert splits["test"].x.shape == (3, 3, 32, 32)


def test_the_two_parts_of_imagenet64_are_one_train_split(tmp_path: Path) -> None:
    members = {
        "Imagenet64_train_part1_npz.zip": {"train_data_batch_1.npz": npz(*rows(1, size=64))},
        "Imagenet64_train_part2_npz.zip": {"train_data_batch_6.npz": npz(*rows(6, size=64))},
        "Imagenet64_val_npz.zip": {"val_data.npz": npz(*rows(9, size=64))},
    }
    files = {name: write_zip(tmp_path / name, held) for name, held in members.items()}
    splits = collect(convert_arrays(files))
    assert splits["train"].x.shape == (6, 3, 64, 64)
    assert np.array_equal(splits["train"].x[3:].reshape(3, -1), rows(6, size=64)[0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html>", "no batch of ImageNet"),
        (npz(rows(1)[0], np.array([{}, {}, {}], dtype=object)), "no batch of ImageNet"),
        (npz(rows(1)[0][:, :-1], rows(1)[1]), "expected N rows of 3 S S bytes"),
        (npz(rows(1)[0].astype(float), rows(1)[1]), "expected N rows of 3 S S bytes"),
    ],
)
def test_other_npz_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = write_zip(tmp_path / "Imagenet32_train_npz.zip", {"train_data_batch_1.npz": data})
    with pytest.raises(DataError, match=message):
        collect(convert_arrays({path.name: path}))


def test_pngs_come_sorted_by_name(tmp_path: Path) -> None:
    for split, numbers in (("train", [3, 1, 2]), ("valid", [4])):
        with tarfile.open(tmp_path / f"{split}_32x32.tar", "w") as archive:
            for number in numbers:
                data = png(number)
                member = tarfile.TarInfo(f"{split}_32x32/{number:07}.png")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    files = {path.name: path for path in tmp_path.iterdir()}
    splits = collect(convert_pngs32(files))
    for position, number in enumerate((1, 2, 3)):
        expected = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        assert np.array_equal(splits["train"].x[position], expected.transpose(2, 0, 1))
    assert len(splits["test"]) == 1


def test_pngs_of_another_size_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "train_32x32"
    folder.mkdir()
    (folder / "1.png").write_bytes(png(1, (32, 31)))
    with pytest.raises(DataError, match=r"'1.png' in .* is 32x31, expected 32x32"):
        collect(convert_pngs32({"train_32x32.tar": folder, "valid_32x32.tar": folder}))


def test_original_images_are_labelled_by_their_folder(tmp_path: Path) -> None:
    for split, classes in (("train", ["n02", "n01", "n01"]), ("val", ["n02"])):
        for number, name in enumerate(classes):
            path = tmp_path / split / name / f"{number}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number, (140, 150), "JPEG"))
    files = {"train.zip": tmp_path / "train", "val.zip": tmp_path / "val"}
    splits = collect(convert_original(files))
    assert splits["train"].x.shape == (3, 3, 128, 128)
    assert splits["train"].context["label"].tolist() == [0, 0, 1]
    assert splits["test"].context["label"].tolist() == [1]
    (tmp_path / "val" / "n02").rename(tmp_path / "val" / "n03")
    with pytest.raises(DataError, match="'n03', which is no class of train"):
        collect(convert_original(files))


def damaged(data: bytes, position: int) -> bytes:
    return data[:position] + bytes((data[position] ^ 0x55,)) + data[position + 1 :]


def batches(tmp_path: Path, train: bytes) -> dict[str, Path]:
    members = {"train_data_batch_1.npz": train}
    return {
        "Imagenet32_train_npz.zip": write_zip(tmp_path / "Imagenet32_train_npz.zip", members),
        "Imagenet32_val_npz.zip": write_zip(tmp_path / "Imagenet32_val_npz.zip", {}),
    }


@pytest.mark.parametrize(
    "train",
    [
        b"",
        b"PK",
        npz(*rows(0))[:-30],
        npz(np.zeros(7, np.uint8), np.zeros(7)),
        npz(np.zeros((7, 3, 2), np.uint8), np.zeros(7)),
        npz(np.zeros((7, 12)), np.zeros(7)),
        npz(np.zeros((7, 12), np.uint8), np.array(0)),
        npz(np.zeros((7, 12), np.uint8), np.array(["a"] * 7)),
    ],
    ids=["empty", "start", "cut", "1-D", "3-D", "floats", "one label", "words"],
)
def test_a_damaged_batch_is_named(tmp_path: Path, train: bytes) -> None:
    with pytest.raises(DataError, match=r"'train_data_batch_1.npz' in .*train_npz.zip") as told:
        collect(convert_arrays(batches(tmp_path, train)))
    assert "\n" not in str(told.value)


def test_whatever_bit_is_flipped_the_batch_is_named(tmp_path: Path) -> None:
    whole = npz(*rows(0, size=2))
    for position in range(0, len(whole), 5):
        try:
            collect(convert_arrays(batches(tmp_path, damaged(whole, position))))
        except DataError as told:
            assert "'train_data_batch_1.npz'" in str(told)  # noqa: PT017 - some bits bear nothing
