from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowbench.data.library.folder import folder_converter, folder_spec
from flowbench.data.library.prepare import prepare
from flowbench.data.library.splits import LoadedData, load_prepared
from flowbench.errors import ConfigError, DataError


def save(path: Path, seed: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(40):
        save(tmp_path / "photos" / f"{number % 3}" / f"{number:02}.png", number)
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    return tmp_path / "photos"


def load(name: str, data_dir: Path) -> LoadedData:
    spec = folder_spec(name)
    prepare(spec, folder_converter(name), data_dir)
    return load_prepared(spec, data_dir)


def test_every_tenth_image_by_sorted_path_is_test(photos: Path, tmp_path: Path) -> None:
    data = load(f"folder:{photos}?size=8", tmp_path / "data")
    assert data.info.event_shape == (3, 8, 8)
    assert (data.info.num_train, data.info.num_validation, data.info.num_test) == (33, 3, 4)
    paths = sorted(path for path in photos.rglob("*.png"))
    with Image.open(paths[9]) as image:
        square = image.crop((1, 0, 11, 10)).resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(data.splits.test.x[0], np.asarray(square).transpose(2, 0, 1))


def test_subfolders_may_be_the_splits(tmp_path: Path) -> None:
    counts = {"train": 20, "val": 3, "test": 4, "other": 5}
    for split, num in counts.items():
        for number in range(num):
            save(tmp_path / "p" / split / f"{number}.jpg", len(split) * 100 + number)
    data = load(f"folder:{tmp_path / 'p'}?size=8", tmp_path / "data")
    assert (data.info.num_train, data.info.num_validation, data.info.num_test) == (20, 3, 4)


def test_with_train_and_val_alone_val_is_test(tmp_path: Path) -> None:
    for split, num in {"train": 20, "val": 3}.items():
        for number in range(num):
            save(tmp_path / "p" / split / f"{number}.png", num * 100 + number)
    data = load(f"folder:{tmp_path / 'p'}?size=8", tmp_path / "data")
    assert (data.info.num_train, data.info.num_validation, data.info.num_test) == (18, 2, 3)


def test_the_content_and_not_the_path_makes_the_hash(photos: Path, tmp_path: Path) -> None:
    first = load(f"folder:{photos}?size=8", tmp_path / "data")
    moved = photos.rename(tmp_path / "moved")
    again = load(f"folder:{moved}?size=8", tmp_path / "data")
    assert first.sha256 == again.sha256
    save(moved / "0" / "00.png", 999)
    changed = load(f"folder:{moved}?size=8", tmp_path / "data")
    assert changed.sha256 != first.sha256
    assert load(f"folder:{moved}?size=9", tmp_path / "data").sha256 != changed.sha256


def test_grey_and_transparent_images_become_rgb(photos: Path, tmp_path: Path) -> None:
    save(photos / "0" / "00.png", 1, mode="L")
    save(photos / "0" / "03.png", 2, mode="RGBA")
    assert load(f"folder:{photos}?size=8", tmp_path / "data").info.event_shape == (3, 8, 8)


@pytest.mark.parametrize(
    "name",
    [
        "folder:",
        "folder:x",
        "folder:x?size=0",
        "folder:x?size=a",
        "folder:x?size=8&crop=1",
        "folder:?size=8",
    ],
)
def test_malformed_names(name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected folder:PATH\?size=N"):
        folder_spec(name)


def test_bad_folders(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        folder_spec(f"folder:{tmp_path / 'gone'}?size=8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds 0 images"):
        folder_spec(f"folder:{tmp_path / 'empty'}?size=8")
    with pytest.raises(DataError, match=r"12x10 is smaller than 11x11"):
        load(f"folder:{photos}?size=11", tmp_path / "data")
    assert all(path.suffix == ".lock" for path in (tmp_path / "data").iterdir())


def test_files_that_are_not_used_are_counted_with_why(photos: Path) -> None:
    (photos / "0" / "00.png").write_bytes(b"")
    (photos / "._00.png").write_bytes(b"\0\5\x16\7")
    (photos / "0" / "gone.png").symlink_to(photos / "nowhere.png")
    (photos / "animation.gif").write_bytes(b"GIF89a")
    with open(os.fsencode(photos) + b"/\xff\xfe.png", "wb") as file:  # noqa: PTH123 - bytes
        file.write((photos / "0" / "03.png").read_bytes())
    spec = folder_spec(f"folder:{photos}?size=8")
    assert spec.num_train + spec.num_test == 39
    assert spec.notes.endswith(
        "Not used: 6 files (1 empty, 2 not of the kinds .bmp, .jpeg, .jpg, .png, .webp, 1 of macOS "
        "beside others (._), 1 that cannot be reached (broken links), 1 with a name that is not "
        "UTF-8)."
    )


def test_images_beside_the_folders_of_the_splits_are_counted(tmp_path: Path) -> None:
    for split, num in {"train": 20, "test": 4, "other": 5}.items():
        for number in range(num):
            save(tmp_path / split / f"{number}.png", len(split) * 100 + number)
    notes = folder_spec(f"folder:{tmp_path}?size=8").notes
    assert notes.endswith("Not used: 5 files (5 images outside the folders of the splits).")


def test_nothing_is_said_where_all_is_used(photos: Path) -> None:
    (photos / "notes.txt").unlink()
    assert "Not used" not in folder_spec(f"folder:{photos}?size=8").notes


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    for number in range(60):
        save(tmp_path / "real" / f"cat{number % 3}" / f"{number:02}.png", number)
    links = tmp_path / "links"
    links.mkdir()
    for name in ("cat0", "cat1"):
        (links / name).symlink_to(tmp_path / "real" / name)
    (links / "cat2.png").symlink_to(tmp_path / "real" / "cat2" / "02.png")
    data = load(f"folder:{links}?size=8", tmp_path / "data")
    assert data.info.num_train + data.info.num_validation + data.info.num_test == 41
    (links / "circle").symlink_to(links)
    (links / "cat3").symlink_to(tmp_path / "real" / "cat1")
    spec = folder_spec(f"folder:{links}?size=8")
    assert spec.num_train + spec.num_test == 41
    assert "in a folder that was read already" in spec.notes


@pytest.mark.parametrize("kind", ["16 bit", "CMYK", "palette", "animated"])
def test_images_of_other_kinds_arrive_as_they_look(kind: str, tmp_path: Path) -> None:
    folder, rng = tmp_path / "f", np.random.default_rng(0)
    folder.mkdir()
    expected = []
    for number in range(20):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        file = folder / f"{number:02}.png"
        if kind == "16 bit":
            deep = rng.integers(0, 2**16, (8, 8), dtype=np.uint16)
            Image.fromarray(deep).save(file)
            pixels = np.stack([deep >> 8] * 3, axis=-1).astype(np.uint8)
        elif kind == "CMYK":
            inks = np.concatenate([pixels, np.zeros((8, 8, 1), np.uint8)], axis=-1)
            Image.frombytes("CMYK", (8, 8), inks.tobytes()).save(folder / f"{number:02}.jpg")
            with Image.open(folder / f"{number:02}.jpg") as image:
                pixels = 255 - np.asarray(image)[..., :3]
        elif kind == "palette":
            drawn = Image.fromarray(pixels).quantize(16)
            drawn.save(file)
            pixels = np.asarray(drawn.convert("RGB"))
        else:
            later = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            Image.fromarray(pixels).save(file, save_all=True, append_images=[later])
        expected.append(pixels.transpose(2, 0, 1))
    data = load(f"folder:{folder}?size=8", tmp_path / "data")
    assert np.array_equal(data.splits.test.x, [expected[9], expected[19]])


def _damaged(photos: Path) -> dict[str, str]:
    """Damages images of a folder in many ways; gives which, and what is said of each."""
    whole = (photos / "0" / "00.png").read_bytes()
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(whole)).save(jpeg, "JPEG")
    flipped = bytearray(whole)
    flipped[60] ^= 0xFF
    contents = {
        "0/00.png": (whole[: len(whole) // 2], "truncated"),
        "1/01.png": (b"not an image", "cannot identify image file"),
        "2/02.png": (bytes(flipped), ""),
        "0/03.jpg": (jpeg.getvalue()[:-40], "truncated"),
    }
    for name, (content, _) in contents.items():
        (photos / name).write_bytes(content)
    save(photos / "0" / "06.png", 6, size=(7, 30))
    Image.fromarray(np.ones((12, 12), np.float32)).save(photos / "1" / "07.tiff")
    (photos / "1" / "07.tiff").rename(photos / "1" / "07.png")
    said = {name: why for name, (_, why) in contents.items()}
    return {**said, "0/06.png": "7x30 is smaller than 8x8", "1/07.png": "mode F has no rule"}


def test_damaged_images_are_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    damaged = _damaged(photos)
    name = f"folder:{photos}?size=8"
    spec = folder_spec(name)
    manifest = prepare(spec, folder_converter(name), tmp_path / "data")
    unreadable = {k: v for split in manifest.splits.values() for k, v in split.unreadable.items()}
    assert unreadable.keys() == damaged.keys()
    assert all(why in unreadable[name] for name, why in damaged.items())
    assert manifest.unused == {"not of the kinds .bmp, .jpeg, .jpg, .png, .webp": 1}
    data = load_prepared(spec, tmp_path / "data")
    left = sum(len(split) for split in data.splits.named().values())
    assert left == 41 - len(damaged)  # and one was added


def test_a_split_without_an_image_that_can_be_read_is_refused(photos: Path, tmp_path: Path) -> None:
    for path in photos.rglob("*.png"):
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"none of 36 train images can be read; '0/00.png': cannot"):
        load(f"folder:{photos}?size=8", tmp_path / "data")
    assert all(path.suffix == ".lock" for path in (tmp_path / "data").iterdir())
