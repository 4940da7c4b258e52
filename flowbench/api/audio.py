"""Waveforms for plugins of audio: WAV files, and the log-mel spectrograms that vocoders are given.

References:
    Prenger et al. (2019), WaveGlow, https://arxiv.org/abs/1811.00002, section 3.2, whose released
    code makes the spectrograms of WaveFlow and NanoFlow too.
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from flowbench.api.readers.archives import DAMAGE
from flowbench.errors import DataError

MEL = "mel"
"""Name of the context input that holds an example's log-mel spectrogram."""

BANDS = 80
TOP_HZ = 8000  # of the highest band, where the rate goes so far
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
        raise DataError(f"{name} is no complete WAV file of linear PCM ({exc})") from exc
    if form != (1, 16, rate):
        raise DataError(
            f"{name} has {form[0]} channels of {form[1]} bits at {form[2]:,} Hz, expected one of "
            f"16 bits at {rate:,} Hz; convert it, e.g. by sox or ffmpeg"
        )
    if len(values) != 2 * promised:
        raise DataError(f"{name} is cut: {len(values) // 2:,} of {promised:,} values")
    return (np.frombuffer(values, dtype="<i2") / _FULL_SCALE).astype(np.float32)


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
