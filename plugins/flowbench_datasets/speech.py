"""Clips of speech and of tones, with the log-mel spectrograms that vocoders are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataSplits, Ragged, Split
from flowbench.api.audio import WHOLE, MelForm, read_clip, with_mel
from flowbench.api.readers import open_archive
from flowbench.api.specs import SplitName

LJSPEECH_RATE, LJSPEECH_TEST = 22_050, 1_310
PROMPTS_RATE, PROMPTS_TEST_EVERY = 8_000, 10
PIECE = 100  # clips that are converted at a time
TONES_RATE, TONES_SEED = 8_000, 20_210
NUM_TONES = {"train": 200, "validation": 20, "test": 20}
HELD = 64  # values for which the colour of a tone stays as it is


def convert_ljspeech(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split[Ragged]]]:
    """LJ Speech: the first 1,310 clips by name to test, the rest to train.

    Args:
        files: Path of the archive, or of the folder that it was extracted to.

    Yields:
        Clips with their spectrograms.

    Raises:
        DataError: A clip is missing or damaged.
    """
    with open_archive(files["LJSpeech-1.1.tar.bz2"]) as archive:
        names = [name for name in archive.names if name.endswith(".wav")]
        test, train = names[:LJSPEECH_TEST], names[LJSPEECH_TEST:]
        form = MelForm.of(LJSPEECH_RATE)
        splits: tuple[tuple[SplitName, list[str]], ...] = (("test", test), ("train", train))
        for split, chosen in splits:
            for start in range(0, len(chosen), PIECE):
                some = chosen[start : start + PIECE]
                yield split, clips((archive.read(n) for n in some), some, form)


def convert_prompts(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split[Ragged]]]:
    """Telephone prompts: every tenth clip by name to test, the others to train.

    Args:
        files: Path of the folder of clips.

    Yields:
        Clips with their spectrograms.

    Raises:
        DataError: A clip is missing or damaged.
    """
    (path,) = files.values()
    with open_archive(path) as archive:
        names = [name for name in archive.names if name.endswith(".wav")]
        form = MelForm.of(PROMPTS_RATE)
        chosen: dict[SplitName, list[str]] = {
            "test": names[::PROMPTS_TEST_EVERY],
            "train": [n for i, n in enumerate(names) if i % PROMPTS_TEST_EVERY],
        }
        for split, some in chosen.items():
            yield split, clips((archive.read(name) for name in some), some, form)


def clips(contents: Iterable[bytes], names: Iterable[str], form: MelForm) -> Split[Ragged]:
    """WAV files as examples, with their spectrograms.

    Args:
        contents: The files' bytes.
        names: What messages call them.

    Raises:
        DataError: One is damaged, of another form, or shorter than any segment.
    """
    pairs = zip(contents, names, strict=True)
    return with_mel([read_clip(content, name, form) for content, name in pairs], form)


def load_tones(data_dir: Path) -> DataSplits:
    """Harmonic tones with the formants of vowels in a little noise, always the same.

    Args:
        data_dir: Not used; nothing is downloaded.

    Returns:
        The splits.
    """
    del data_dir
    rng, form = np.random.default_rng(TONES_SEED), MelForm.of(TONES_RATE)
    train, validation, test = (
        with_mel([_tone(rng) for _ in range(num)], form) for num in NUM_TONES.values()
    )
    return DataSplits(train=train, validation=validation, test=test)


def _tone(rng: np.random.Generator) -> NDArray[np.float32]:
    """A tone of half a second to a second, whose pitch glides."""
    length = WHOLE * int(rng.integers(16, 33))
    time = np.arange(length) / TONES_RATE
    pitch = rng.uniform(80, 300) * 2 ** (rng.uniform(-0.5, 0.5) * time + 0.02 * np.sin(30 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / TONES_RATE + rng.uniform(0, 2 * np.pi)
    # Resonances of a vocal tract, about where those of vowels lie.
    formants = rng.uniform([250, 800, 2000], [850, 2300, 3200])
    x = np.zeros(length)
    for harmonic in range(1, int(TONES_RATE / 2 / pitch.max()) + 1):
        near = np.exp(-(((harmonic * pitch[::HELD, None] - formants) / 200) ** 2)).sum(axis=1)
        x += np.repeat(0.05 + near, HELD) / harmonic * np.sin(harmonic * phase)
    rise = np.minimum(1, np.minimum(time, time[::-1]) / 0.05)
    loud = rng.uniform(0.1, 0.5) * rise / max(np.abs(x).max(), 1e-9)
    return np.asarray(loud * x + 2e-3 * rng.standard_normal(length), dtype=np.float32)
