from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from flowbench.api import ContextInput, DatasetSpec, RemoteFile
from flowbench.api.audio import WHOLE, MelForm, log_mel, read_wave, render, write_wave
from flowbench.api.metrics import Samples
from flowbench.data.library.prepare import prepare
from flowbench.data.library.prepared import open_prepared
from flowbench.data.library.splits import load_prepared
from flowbench.errors import DataError
from flowbench_datasets.speech import convert_prompts, load_tones
from flowbench_datasets.speech_specs import LJSPEECH, PROMPTS, TONES

RATE = 8000
FORM = MelForm.of(RATE)
# The same form with as many clips as a test can write.
SMALL = DatasetSpec(
    name="few-prompts",
    modality="audio",
    event_shape=(1, 512),
    levels=None,
    ragged=True,
    rate=RATE,
    num_train=18,
    num_test=2,
    context={"mel": ContextInput(shape=(80, 8), stride=64)},
    convert="flowbench_datasets.speech:convert_prompts",
    files=(RemoteFile(name="en_US_f_Allison.zip"),),
    summary="",
)


def wave(seed: int) -> np.ndarray:
    length = 600 + 37 * seed
    return np.asarray(0.3 * np.sin(np.arange(length) * (0.05 + 0.01 * seed)), dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clips = tmp_path / "given" / "en_US_f_Allison" / "digits"
    clips.mkdir(parents=True)
    for seed in range(20):
        (clips / f"{seed:02d}.wav").write_bytes(write_wave(wave(seed), rate=RATE))
    (clips / "notes.txt").write_text("no clip")
    return tmp_path / "given"


def test_clips_are_prepared_whole_with_their_spectrograms(folder: Path, tmp_path: Path) -> None:
    manifest = prepare(SMALL, convert_prompts, tmp_path / "data", given=folder)
    assert {name: split.count for name, split in manifest.splits.items()} == {
        "train": 17,
        "validation": 1,
        "test": 2,
    }
    data = load_prepared(SMALL, tmp_path / "data")
    test = data.splits.test
    assert data.info.ragged
    assert data.info.rate == RATE
    for position, seed in enumerate((0, 10)):
        expected = wave(seed)[: len(wave(seed)) // WHOLE * WHOLE]
        clip = test.x.example(position)[0]
        assert np.abs(clip - expected).max() <= 0.5 / 32768
        assert np.array_equal(test.context["mel"].example(position), log_mel(clip, FORM))
    # What was held out was moved whole, and nothing is in two splits or in none.
    found = sorted(
        int(length) for split in data.splits.named().values() for length in split.x.lengths
    )
    assert found == sorted(len(wave(seed)) // WHOLE * WHOLE for seed in range(20))
    whole = [
        split.x.example(i)[0] for split in data.splits.named().values() for i in range(len(split))
    ]
    pitches = {tuple(np.round(x[1:3], 3)) for x in whole}
    assert len(pitches) == 20
    assert open_prepared(SMALL, tmp_path / "data")[0].sha256 == data.sha256


def test_an_archive_gives_what_its_folder_does(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "en_US_f_Allison.zip", "w") as archive:
        for path in sorted((folder / "en_US_f_Allison").rglob("*.wav")):
            archive.write(path, path.relative_to(folder))
    pieces = [dict(convert_prompts({"x": folder / name})) for name in
              ("en_US_f_Allison", "en_US_f_Allison.zip")]  # fmt: skip
    for split in ("train", "test"):
        one, other = (piece[split] for piece in pieces)
        assert np.array_equal(one.x.values, other.x.values)
        assert np.array_equal(one.context["mel"].values, other.context["mel"].values)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"RIFF", "03.wav is no complete WAV file"),
        (write_wave(wave(3), rate=16_000), r"03.wav has 1 channel of 16 bits at 16,000 Hz"),
        (write_wave(wave(3), rate=RATE)[:500], "03.wav is cut: "),
        (write_wave(wave(3)[:100], rate=RATE), "03.wav has 100 values, expected 256 or more"),
    ],
)
def test_a_clip_of_another_form_is_named(
    folder: Path, tmp_path: Path, content: bytes, reason: str
) -> None:
    (folder / "en_US_f_Allison" / "digits" / "03.wav").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        prepare(SMALL, convert_prompts, tmp_path / "data", given=folder)


@pytest.mark.slow
@pytest.mark.long
def test_a_spectrogram_is_the_librarys() -> None:
    librosa = pytest.importorskip("librosa")
    x = np.random.default_rng(0).normal(size=WHOLE * 8).astype(np.float32)
    expected = librosa.feature.melspectrogram(
        y=x, sr=RATE, n_fft=512, hop_length=64, power=1.0, n_mels=80, fmax=4000, pad_mode="reflect"
    )
    assert np.abs(log_mel(x, FORM) - np.log(np.maximum(expected, 1e-5))[:, :-1]).max() < 1e-5
    assert MelForm.of(22_050) == MelForm(rate=22_050, window=1024, hop=256)


def test_facts_agree_with_the_form_of_their_spectrograms() -> None:
    for spec in (LJSPEECH, PROMPTS, TONES):
        given = spec.context["mel"]
        assert spec.rate is not None
        assert given.stride == MelForm.of(spec.rate).hop
        assert given.shape == (80, -(-spec.event_shape[-1] // given.stride))


@pytest.mark.slow
def test_tones_are_the_same_each_time_and_are_shown_with_what_they_were_given() -> None:
    splits = load_tones(Path("unused"))
    assert np.array_equal(splits.test.x.values, load_tones(Path("unused")).test.x.values)
    assert np.abs(splits.train.x.values).max() < 1
    assert min(splits.train.x.lengths) > TONES.event_shape[-1]
    x = np.stack([splits.test.x.example(i, 0, 2048) for i in range(3)])
    mel = np.stack([splits.test.context["mel"].example(i, 0, 32) for i in range(3)])
    samples = Samples(
        x=x, context={"mel": mel}, num_clipped=0, num_nonfinite=0, temperature=1.0, seed=0,
        sources=np.arange(3),
    )  # fmt: skip
    shown = render(samples, TONES.info(20))
    assert [a.name for a in shown] == [f"Sample {n + 1}, given test clip {n}" for n in range(3)]
    assert np.abs(read_wave(shown[0].content, "it", rate=RATE) - x[0, 0]).max() <= 0.5 / 32768
    assert all(a.thumbnail is not None and a.thumbnail.startswith(b"\x89PNG") for a in shown)
