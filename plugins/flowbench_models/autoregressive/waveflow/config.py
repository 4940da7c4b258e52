"""Configurations of WaveFlow and of NanoFlow on waveforms, and their presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from flowbench.api import (
    DatasetInfo,
    LastK,
    Likelihood,
    ModelConfig,
    NoLikelihood,
    Phase,
    Preprocessing,
    Preset,
    Standardise,
    Training,
)
from flowbench.api.units import LN2
from flowbench_models.defaults import small_training

MEL = "mel"
"""Name of the context input that a waveform is conditioned on where the data have it."""

LARGEST_TOY = 1024
"""Length of a waveform, or of a segment, below which it takes the smallest preset."""

HALVED_EVERY = 200_000
"""Steps after which released training halves its learning rate."""

TABLE_2_STEPS, TABLE_3_STEPS = 1_200_000, 500_000
TABLE_3_ROWS = (4, 8, 16, 32, 64)
TABLE_3_ROWS_OF_OTHERS = 16


def _training(steps: int, batch_size: int) -> Training:
    drops = tuple(at / steps for at in range(HALVED_EVERY, steps, HALVED_EVERY))
    return Training(
        batch_size=batch_size,
        lr=1e-3,
        # Of a gradient of nats a value, where ours is one of bits.
        clip_norm=5.0 / LN2,
        phases=(Phase(schedule="step", drops=drops, drop_ratio=0.5, warmup=0.0),),
        average=LastK(count=10, every=5000),
        select="last",
        window=16_000,
    )


TABLE_2 = _training(TABLE_2_STEPS, batch_size=8)
TABLE_3 = _training(TABLE_3_STEPS, batch_size=2)

ALL_ROWS = (
    "all rows are transformed, as in the code that NanoFlow's paper used; that of WaveFlow's own "
    "leaves the first row as it is"
)
GATES = (
    "gates are exponentials, as the paper has it; released code multiplies by them directly, which "
    "is the same at the start"
)
COUNT_OF_TABLE_3 = "the paper prints 5.96 M parameters in its table 3, and 5.925 M in table 2"


def _preset(summary: str, *assumptions: str, training: Training = TABLE_2, **values: Any) -> Preset:
    steps = TABLE_2_STEPS if training is TABLE_2 else TABLE_3_STEPS
    return Preset(
        summary=f"{summary}; --budget {steps}steps",
        source="paper",
        values={**values, "training": training},
        assumptions=(ALL_ROWS, *assumptions),
    )


SMALL: Mapping[str, Any] = {
    "flows": 4,
    "rows": 8,
    "channels": 32,
    "layers": 3,
    "preprocessing": Preprocessing(bijections=(Standardise(per="all"),)),
    "training": small_training(batch_size=2, weight_decay=0.0),
}
TOY: Mapping[str, Any] = {
    **SMALL,
    "flows": 2,
    "rows": 2,
    "channels": 8,
    "layers": 2,
    "training": small_training(batch_size=4, weight_decay=0.0),
}
TOY_SUMMARY = "two flows of two rows with 8 channels, for waveforms of a few values"


class WaveFlowConfig(ModelConfig):
    """Configuration of WaveFlow.

    Attributes:
        flows: Flows one after the other, each of which has a network of its own.
        rows: Rows that a waveform is folded into, column by column (G, the paper's h): a flow goes
            row by row, and sampling takes as many passes. It divides the number of values.
        channels: Hidden channels of the networks.
        layers: Layers of each network; layer i sees columns 2^i apart.
        law: What happens to each value, an affine map or a rational-quadratic spline.
        bins: Bins of a spline.
        bound: Half-width of the interval outside of which a spline is the identity.
    """

    flows: int = Field(default=8, ge=1)
    rows: int = Field(default=16, ge=1)
    channels: int = Field(default=64, ge=1)
    layers: int = Field(default=8, ge=1)
    law: Literal["affine", "rqs"] = "affine"
    bins: int = Field(default=32, ge=2)
    bound: float = Field(default=5.0, gt=0)

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            summary="four flows of 8 rows with 32 channels, for minutes on speech at 8 kHz",
            values=SMALL,
            tuning_trials=4,
        ),
        "toy": Preset(summary=TOY_SUMMARY, values=TOY),
        "128ch": _preset("22,335,714 parameters", channels=128),
        "64ch": _preset("5,925,090 parameters", channels=64),
        "rqs": _preset("22,432,434 parameters, splines", channels=128, law="rqs"),
        **{
            f"64ch-g{rows}": _preset(
                f"5,925,090 parameters, {rows} rows, as in table 3 of NanoFlow's paper",
                COUNT_OF_TABLE_3,
                channels=64,
                rows=rows,
                training=TABLE_3,
            )
            for rows in TABLE_3_ROWS
        },
    }

    def likelihood(self, data: DatasetInfo) -> Likelihood | NoLikelihood:
        """As for any exact flow, given the mel spectrogram where the data have one."""
        kind = super().likelihood(data)
        if isinstance(kind, NoLikelihood) or MEL not in data.context:
            return kind
        return kind.model_copy(update={"given": (MEL,)})

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``tiny``; ``toy`` for fewer than 1024 values."""
        return "tiny" if data.event_shape[-1] >= LARGEST_TOY else "toy"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """A waveform of one channel, whose length the rows divide."""
        if data.event_shape[0] != 1:
            return f"waveforms of one channel are modelled, {data.name} has {data.event_shape[0]}"
        mel = data.context.get(MEL)
        if mel is not None and (len(mel.shape) != 2 or mel.stride is None):
            return (
                f"the context {MEL} of {data.name} has the shape {mel.shape} and stride "
                f"{mel.stride}; expected (bands, frames), and the values that a frame stands for"
            )
        own = data.event_shape[-1]
        length = (self.training.window or own) if data.ragged else own
        # Other clips of such data are as long as they are; that is seen when they come.
        return rows_problem(self.rows, length)


def rows_problem(rows: int, length: int) -> str | None:
    """Why a waveform cannot be folded into rows; None if it can."""
    if length % rows == 0:
        return None
    return (
        f"{length:,} values do not fill {rows} rows; set rows to a divisor of the length, or cut "
        f"waveforms to a multiple of {rows}"
    )


class NanoFlowAudioConfig(WaveFlowConfig):
    """Configuration of NanoFlow on waveforms: WaveFlow whose flows share one network.

    Attributes:
        shared_projection: Whether all flows share the last layer, which makes the law's parameters,
            too.
        embedding: Numbers that tell the shared network which flow it works for; 0 leaves out
            embeddings and gates.
    """

    shared_projection: bool = False
    embedding: int = Field(default=512, ge=0)

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            summary="four flows of 8 rows with 32 channels, for minutes on speech at 8 kHz",
            values={**SMALL, "embedding": 32},
            tuning_trials=4,
        ),
        "toy": Preset(summary=TOY_SUMMARY, values={**TOY, "embedding": 4}),
        "default": _preset("2,818,530 parameters", GATES, channels=128),
        "k16": _preset(
            "2,845,186 parameters, 16 flows", GATES, channels=128, flows=16, embedding=1024
        ),
        "rqs": _preset("2,915,250 parameters, splines", GATES, channels=128, law="rqs"),
        "decomp": _preset(
            "2,793,954 parameters, no embeddings and no gates", channels=128, embedding=0
        ),
        "naive": _preset(
            "2,792,134 parameters, the last layer shared, too",
            channels=128,
            embedding=0,
            shared_projection=True,
        ),
        **{
            "64ch" if rows == TABLE_3_ROWS_OF_OTHERS else f"64ch-g{rows}": _preset(
                f"754,018 parameters, {rows} rows, as in table 3",
                GATES,
                channels=64,
                rows=rows,
                embedding=128,
                training=TABLE_3,
            )
            for rows in TABLE_3_ROWS
        },
    }
