"""Waveforms for plugins of audio: WAV files, and the log-mel spectrograms that vocoders are given.

References:
    Prenger et al. (2019), WaveGlow, https://arxiv.org/abs/1811.00002, section 3.2, whose released
    code makes the spectrograms of WaveFlow and NanoFlow too.
"""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import Artifact, Ragged, Split
from flowbench.api.readers.archives import DAMAGE
from flowbench.errors import DataError, reason_of

if TYPE_CHECKING:
    from flowbench.api.metrics import Samples
    from flowbench.api.specs import DatasetInfo

MEL = "mel"
"""Name of the context input that holds an example's log-mel spectrogram."""

BANDS = 80
TOP_HZ = 8000  # of the highest band, where the rate goes so far
WHOLE = 256
"""Lengths are cut to a multiple of it: any number of rows that papers fold waveforms into, and the
hops of most spectrograms, then divide them."""

SHOWN = 8  # samples that are kept to be heard
GAP = 2  # rows between the given and the generated spectrogram
SMALLEST = 1e-5  # magnitude: a silent band has a logarithm
_FULL_SCALE = 32768.0
_DAMAGE: tuple[type[Exception], ...] = (*DAMAGE, wave.Error)


def read_wave(content: bytes, name: str, *, rate: int) -> NDArray[np.float32]:
    """Reads a WAV file of one channel in 16 bits, scaled to [-1, 1).

    Args:
        content: The file's bytes.
        name: What messages call it.
        rate: Values a second that it must have: nothing is resampled.

    Returns:
        Values, shape (T,).

    Raises:
        DataError: It is damaged, or of another form.

    Example:
        >>> clip = write_wave(np.array([0.0, 0.5, -1.0], np.float32), rate=8000)
        >>> read_wave(clip, "clip.wav", rate=8000)
        array([ 0. ,  0.5, -1. ], dtype=float32)
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            form = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            promised, values = file.getnframes(), file.readframes(file.getnframes())
    except _DAMAGE as exc:
        raise DataError(f"{name} is no complete WAV file of linear PCM ({reason_of(exc)})") from exc
    if form != (1, 16, rate):
        channels = f"{form[0]} channel" + "s" * (form[0] != 1)
        raise DataError(
            f"{name} has {channels} of {form[1]} bits at {form[2]:,} Hz, expected one of "
            f"16 bits at {rate:,} Hz; convert it, e.g. by sox or ffmpeg"
        )
    if len(values) != 2 * promised:
        raise DataError(f"{name} is cut: {len(values) // 2:,} of {promised:,} values")
    return (np.frombuffer(values, dtype="<i2") / _FULL_SCALE).astype(np.float32)


def rate_of(path: Path) -> int | None:
    """Values a second of a WAV file; None if it is none."""
    try:
        with wave.open(str(path)) as file:
            return int(file.getframerate())
    except _DAMAGE:
        return None


def read_clip(content: bytes, name: str, form: MelForm) -> NDArray[np.float32]:
    """Reads a WAV file as an example, cut at its end to a whole number of frames.

    Args:
        content: The file's bytes.
        name: What messages call it.
        form: How its spectrogram is taken.

    Returns:
        Values, shape (T,), T a multiple of `MelForm.whole`.

    Raises:
        DataError: It is damaged, of another form, or shorter than that.
    """
    x = read_wave(content, name, rate=form.rate)
    if len(x) < form.whole:
        raise DataError(f"{name} has {len(x)} values, expected {form.whole} or more")
    return x[: len(x) // form.whole * form.whole]


def write_wave(values: NDArray[np.floating], *, rate: int) -> bytes:
    """Writes values in [-1, 1] as a WAV file of one channel in 16 bits; those beyond are clipped.

    Args:
        values: Shape (T,).
        rate: Values a second.

    Returns:
        The file's bytes.
    """
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0)
    levels = np.clip(np.rint(finite * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2")
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(levels.tobytes())
    return stream.getvalue()


@dataclass(frozen=True)
class MelForm:
    """How a log-mel spectrogram is taken.

    Attributes:
        rate: Values of the waveform a second.
        window: Values of a Fourier transform, with a Hann window as long.
        hop: Values from one to the next.
    """

    rate: int
    window: int
    hop: int

    @classmethod
    def of(cls, rate: int) -> MelForm:
        """As published at 22.05 kHz: windows of 1,024, 256 apart; as long in time at other rates.

        The window is rounded to a power of two and the hop to one of four, which two equal steps
        of up-sampling then reach.

        Example:
            >>> MelForm.of(22_050), MelForm.of(8_000)
            (MelForm(rate=22050, window=1024, hop=256), MelForm(rate=8000, window=512, hop=64))
        """
        share = np.log2(rate / 22_050)
        return cls(rate, int(2 ** round(10 + share)), int(4 ** round((8 + share) / 2)))

    @property
    def whole(self) -> int:
        """What lengths of clips are cut to a multiple of."""
        return max(WHOLE, self.hop)

    @property
    def segment(self) -> int:
        """Length of a segment, where no paper says one: about half a second, a power of two."""
        return int(2 ** round(math.log2(self.rate / 2)))


def log_mel(x: NDArray[np.float32], form: MelForm) -> NDArray[np.float32]:
    """Logarithm of the magnitudes in mel bands, centred on every hop-th value.

    Args:
        x: Waveform in [-1, 1], shape (T,), T a multiple of the hop.

    Returns:
        Shape (80, T / hop), floored at ln 1e-5.

    Raises:
        DataError: librosa, which makes the bands, is not installed.
    """
    half = form.window // 2
    padded = np.pad(x.astype(np.float64), half, mode="reflect" if len(x) > half else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, form.window)[: len(x) : form.hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(form.window) / form.window)  # periodic
    magnitudes = np.abs(np.fft.rfft(frames * hann, axis=1))
    return np.log(np.maximum(_bands(form) @ magnitudes.T, SMALLEST)).astype(np.float32)


@cache
def _bands(form: MelForm) -> NDArray[np.float64]:
    """Weights of the bands, shape (80, window / 2 + 1): Slaney's scale and norm, as published.

    Raises:
        DataError: librosa is not installed.
    """
    try:
        from librosa.filters import mel
    except ImportError as exc:
        raise DataError("spectrograms need librosa; pip install 'flowbench[audio]'") from exc
    top = min(TOP_HZ, form.rate / 2)
    found = mel(sr=form.rate, n_fft=form.window, n_mels=BANDS, fmin=0.0, fmax=top)
    return np.asarray(found, dtype=np.float64)


def with_mel(waves: Sequence[NDArray[np.float32]], form: MelForm) -> Split[Ragged]:
    """Waveforms as examples, with their spectrograms as context.

    Args:
        waves: Each of shape (T,), T a multiple of the hop.
    """
    mels = [log_mel(x, form) for x in waves]
    return Split(
        x=Ragged(values=np.concatenate(waves)[None], lengths=np.array([len(x) for x in waves])),
        context={
            MEL: Ragged(
                values=np.concatenate(mels, axis=1), lengths=np.array([m.shape[1] for m in mels])
            )
        },
    )


def render(samples: Samples, info: DatasetInfo) -> list[Artifact]:
    """Samples to be listened to, each with its spectrogram below the one that it was given.

    Args:
        samples: Waveforms, shape (N, 1, T).
        info: Facts of the dataset.

    Returns:
        The first few as WAV files.
    """
    rate = info.rate or 1
    form = MelForm.of(rate)
    shown = []
    for index, x in enumerate(samples.x[:SHOWN, 0].astype(np.float32)):
        pictures = [samples.context[MEL][index]] if MEL in samples.context else []
        whole = len(x) // form.hop * form.hop
        pictures.append(log_mel(x[:whole], form))
        of = "" if samples.sources is None else f", given test clip {samples.sources[index]}"
        shown.append(
            Artifact(
                name=f"Sample {index + 1}{of}",
                media_type="audio/wav",
                content=write_wave(x, rate=rate),
                thumbnail=_picture(pictures),
            )
        )
    return shown


def _picture(spectrograms: list[NDArray[np.float32]]) -> bytes:
    """Spectrograms below one another, loud bands dark, low ones at the bottom."""
    from PIL import Image

    width = min(s.shape[1] for s in spectrograms)
    low, high = np.log(SMALLEST), max(float(s.max()) for s in spectrograms)
    rows = []
    for spectrogram in spectrograms:
        share = (spectrogram[::-1, :width] - low) / max(high - low, 1e-9)
        rows += [np.full((GAP, width), 255, np.uint8), (255 * (1 - share)).astype(np.uint8)]
    stream = io.BytesIO()
    picture = Image.fromarray(np.concatenate(rows[1:]))
    picture.resize((4 * picture.width, picture.height)).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
