"""Specs of the datasets of speech, and of tones in its place."""

from __future__ import annotations

from flowbench.api import ContextInput, DatasetSpec, Paper, RemoteFile

_RENDER = "flowbench.api.audio:render"

LJSPEECH = DatasetSpec(
    name="ljspeech",
    modality="audio",
    event_shape=(1, 16_000),
    levels=None,
    ragged=True,
    rate=22_050,
    total_length=1_899_000_000,  # 23 h 55 min
    num_train=11_790,
    num_test=1_310,
    context={"mel": ContextInput(shape=(80, 63), stride=256)},
    convert="flowbench_datasets.speech:convert_ljspeech",
    render=_RENDER,
    files=(
        RemoteFile(
            name="LJSpeech-1.1.tar.bz2",
            url="https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",
            sha256="be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",
        ),
    ),
    summary="24 hours of one reader at 22.05 kHz, given its log-mel spectrogram",
    licence="public domain",
    notes=(
        "13,100 clips scaled to [-1, 1), without dequantization, cut at their ends to a multiple "
        "of 256 values: a density of real numbers, which has no bits per dimension. The first "
        "1,310 clips by name are the test split, as in NanoFlow; none of them is trained on, "
        "unlike in its released code. Spectrograms as WaveGlow takes them: 80 bands to 8 kHz, "
        "windows of 1,024, 256 apart."
    ),
    paper=Paper(
        title="The LJ Speech Dataset",
        authors="Ito and Johnson",
        year=2017,
        url="https://keithito.com/LJ-Speech-Dataset",
    ),
)

PROMPTS = DatasetSpec(
    name="prompts",
    modality="audio",
    event_shape=(1, 4_096),
    levels=None,
    ragged=True,
    rate=8_000,
    total_length=12_200_000,
    num_train=511,
    num_test=57,
    context={"mel": ContextInput(shape=(80, 64), stride=64)},
    convert="flowbench_datasets.speech:convert_prompts",
    render=_RENDER,
    files=(RemoteFile(name="en_US_f_Allison.zip"),),
    how_to=(
        "install Debian's asterisk-core-sounds-en-wav, whose clips lie in "
        "/usr/share/asterisk/sounds/en_US_f_Allison"
    ),
    summary="25 minutes of one professional speaker at 8 kHz, given its log-mel spectrogram",
    licence="CC BY-SA 3.0 (Allison Smith, Digium)",
    notes=(
        "The 568 English prompts of the telephone exchange Asterisk, not LJ Speech: real speech "
        "for a run without a hub. Scaled to [-1, 1), without dequantization, cut at their ends to "
        "a multiple of 256 values; 7 % of the values are exactly 0, which a density of real "
        "numbers can make much of. Every tenth clip by name is a test clip. Spectrograms of 80 "
        "bands to 4 kHz, windows of 512, 64 apart."
    ),
)

TONES = DatasetSpec(
    name="tones",
    modality="audio",
    event_shape=(1, 2_048),
    levels=None,
    ragged=True,
    rate=8_000,
    num_train=200,
    num_validation=20,
    num_test=20,
    context={"mel": ContextInput(shape=(80, 32), stride=64)},
    load="flowbench_datasets.speech:load_tones",
    render=_RENDER,
    summary="Harmonic tones with formants at 8 kHz, given their log-mel spectrogram",
    licence="generated, no licence needed",
    notes=(
        "Tones that glide, coloured by three resonances, in Gaussian noise of standard deviation "
        "0.002; drawn from a pinned seed. Not speech: for tests, and for a first run that "
        "downloads nothing."
    ),
)

SPEECH = (TONES, PROMPTS, LJSPEECH)
