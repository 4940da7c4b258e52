from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from flowbench.api.audio import MelForm, log_mel, read_wave, write_wave
from flowbench.data.library.folder import folder_converter, folder_spec
from flowbench.data.library.prepare import prepare
from flowbench.data.library.splits import LoadedData, load_prepared
from flowbench.errors import ConfigError, DataError

RATE = 8000


def sound(seed: int, num: int = 700, rate: int = RATE) -> bytes:
    values = np.random.default_rng(seed).uniform(-0.5, 0.5, num + 10 * seed)
    return write_wave(values, rate=rate)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    for number in range(40):
        path = folder / f"{number % 3}" / f"{number:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound(number))
    return folder


def load(name: str, data_dir: Path) -> LoadedData:
    spec = folder_spec(name)
    prepare(spec, folder_converter(name), data_dir)
    return load_prepared(spec, data_dir)


def test_every_tenth_clip_by_sorted_path_is_test(clips: Path, tmp_path: Path) -> None:
    data = load(f"folder-audio:{clips}", tmp_path / "data")
    counts = (data.info.num_train, data.info.num_validation, data.info.num_test)
    assert counts == (33, 3, 4)
    assert (data.info.rate, data.info.event_shape, data.info.ragged) == (RATE, (1, 4096), True)
    tenth = sorted(clips.rglob("*.wav"))[9]
    expected = read_wave(tenth.read_bytes(), "it", rate=RATE)
    expected = expected[: len(expected) // 256 * 256]
    test = data.splits.test
    assert np.array_equal(test.x.example(0)[0], expected)
    assert np.array_equal(test.context["mel"].example(0), log_mel(expected, MelForm.of(RATE)))


def test_another_rate_is_left_out_and_named(clips: Path, tmp_path: Path) -> None:
    (clips / "0" / "03.wav").write_bytes(sound(3, rate=16_000))
    (clips / "1" / "01.wav").write_bytes(sound(1)[:300])
    (clips / "2" / "02.wav").write_bytes(sound(2, num=100))
    (clips / "2" / "song.mp3").write_bytes(b"ID3")
    name = f"folder-audio:{clips}"
    spec = folder_spec(name)
    assert spec.notes.endswith("Not used: 1 files (1 not of the kind .wav).")
    manifest = prepare(spec, folder_converter(name), tmp_path / "data")
    lost = {k: v for split in manifest.splits.values() for k, v in split.unreadable.items()}
    assert lost["0/03.wav"] == (
        "it has 1 channel of 16 bits at 16,000 Hz, expected one of 16 bits at 8,000 Hz; convert "
        "it, e.g. by sox or ffmpeg"
    )
    assert lost["1/01.wav"].startswith("it is cut: ")
    assert lost["2/02.wav"] == "it has 120 values, expected 256 or more"
    assert len(lost) == 3


def test_the_first_whole_clip_says_the_rate_unless_the_name_does(
    clips: Path, tmp_path: Path
) -> None:
    (clips / "0" / "00.wav").write_bytes(b"RIFF")
    assert folder_spec(f"folder-audio:{clips}").rate == RATE
    (clips / "0" / "03.wav").write_bytes(sound(3, rate=48_000))
    spec = folder_spec(f"folder-audio:{clips}")
    # A hop of 1,024, which lengths are multiples of then.
    assert (spec.rate, spec.event_shape, spec.context["mel"].stride) == (48_000, (1, 32_768), 1024)
    assert folder_spec(f"folder-audio:{clips}?rate={RATE}").rate == RATE
    with pytest.raises(
        DataError, match=r"none of 36 train clips can be read; '0/00.wav': it is no comp"
    ):
        load(f"folder-audio:{clips}", tmp_path / "data")


@pytest.mark.parametrize(
    "name",
    ["folder-audio:", "folder-audio:x?size=64", "folder-audio:x?rate=5", "folder-audio:x?rate=a"],
)
def test_malformed_names(name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected folder-audio:PATH or folder-audio:PATH\?rate"):
        folder_spec(name)


def test_bad_folders(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*; give a folder of clips"):
        folder_spec(f"folder-audio:{tmp_path / 'gone'}")
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "a.mp3").write_bytes(b"ID3")
    with pytest.raises(DataError, match=r"holds 0 clips \(\.wav\), too few"):
        folder_spec(f"folder-audio:{tmp_path / 'songs'}")
    for path in clips.rglob("*.wav"):
        path.write_bytes(b"no sound")
    with pytest.raises(DataError, match="no training clip is a WAV file of linear PCM with 8,000"):
        folder_spec(f"folder-audio:{clips}")


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_spectrograms_fit_clips_of_every_rate(rate: int) -> None:
    form = MelForm.of(rate)
    assert form.whole % form.hop == form.segment % form.whole == 0
    assert 2 * form.hop <= form.window
    assert abs(math.log2(form.segment / (rate / 2))) <= 0.5
    assert np.isfinite(log_mel(np.zeros(form.whole, np.float32), form)).all()
