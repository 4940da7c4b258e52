from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from flowbench.api import Samples
from flowbench.errors import DataError
from flowbench_datasets.specs import PYTHON_TOPICS
from flowbench_datasets.text import WINDOW, convert_text8, load_topics, normalised, render
from tests.plugins.flowbench_datasets.collect import collect

ALPHABET = " abcdefghijklmnopqrstuvwxyz"


def archive(folder: Path, text: bytes) -> dict[str, Path]:
    path = folder / "text8.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("text8", text)
    return {path.name: path}


def text(num: int) -> bytes:
    places = np.random.default_rng(0).integers(0, 27, num)
    return "".join(ALPHABET[place] for place in places).encode()


def test_text8_is_cut_at_nine_tenths_and_read_back(tmp_path: Path) -> None:
    content = text(40 * WINDOW + 100)
    splits = collect(convert_text8(archive(tmp_path, content)))
    assert {name: split.x.shape for name, split in splits.items()} == {
        "train": (36, 1, WINDOW),
        "validation": (2, 1, WINDOW),
        "test": (2, 1, WINDOW),
    }
    part = len(content) // 20
    starts = {"train": 0, "validation": len(content) - 2 * part, "test": len(content) - part}
    for name, split in splits.items():
        assert split.x.dtype == np.uint8
        back = "".join(ALPHABET[token] for token in split.x.flatten()).encode()
        assert back == content[starts[name] : starts[name] + len(back)]


@pytest.mark.parametrize("strange", [b"A", b"`", b"{", b"\n", b"0", b"\xff", b"\x00"])
def test_other_characters_are_told_with_their_place(tmp_path: Path, strange: bytes) -> None:
    content = text(300) + strange + text(300)
    with pytest.raises(DataError, match=f"has the byte {strange[0]} at 300, expected a space"):
        collect(convert_text8(archive(tmp_path, content)))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    files = archive(tmp_path, text(5000))
    whole = files["text8.zip"].read_bytes()
    files["text8.zip"].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"text8\.zip"):
        collect(convert_text8(files))


def test_text_is_normalised_as_text8_was() -> None:
    assert normalised("  In 3.11, é — NONE\n\tare `left`. ") == "in three one one none are left"


def test_no_paragraph_of_the_topics_is_in_two_splits() -> None:
    splits = load_topics(Path())
    words = "the python language"
    read = "".join(ALPHABET[token] for token in splits.train.x.flatten())
    assert words.split()[1] in read
    lines = [bytes(window) for split in (splits.train, splits.test) for window in split.x[:, 0]]
    assert len(set(lines)) == len(lines)


def test_samples_are_shown_as_text() -> None:
    x = load_topics(Path()).test.x[:3]
    samples = Samples(x=x, context={}, num_clipped=0, num_nonfinite=0, temperature=1.0, seed=0)
    (artifact,) = render(samples, PYTHON_TOPICS.info(num_validation=100))
    assert artifact.media_type == "text/plain"
    lines = artifact.content.decode().split("\n\n")
    assert [[ALPHABET.index(c) for c in line] for line in lines] == x[:, 0].tolist()


def test_an_interpreter_without_its_topics_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="comes without") as caught:
        load_topics(Path())
    assert "\n" not in str(caught.value)
