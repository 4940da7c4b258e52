"""How a trained model is evaluated and drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from flowbench.api.frozen import Frozen

MAX_SEED = 2**63 - 1
"""The largest seed that torch, NumPy and the database all hold."""

# What no run ends with is a typing error: papers take 1,000 draws and 50,000 samples.
_MOST_DRAWS, _MOST_EXAMPLES = 100_000, 10_000_000

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class SampleSettings(Frozen):
    """How a user asks for samples (``--sample temperature=0.8``); part of a row's protocol.

    Attributes:
        temperature: Scale of the base distribution's noise.
        options: Settings of the model's `SamplingOptions`; any other is refused.

    Example:
        >>> SampleSettings(temperature=0.8, options={"guidance": 1.5}).options["guidance"]
        1.5
    """

    temperature: float = Field(default=1.0, gt=0)
    options: Mapping[str, float | int | str | bool] = Field(default_factory=dict)

    def __str__(self) -> str:
        """What is not as usual, as ``--sample`` takes it: ``solver=euler,steps=4``."""
        usual = self.temperature == type(self).model_fields["temperature"].default
        given = {} if usual else {"temperature": self.temperature}
        return ",".join(f"{key}={value}" for key, value in {**given, **self.options}.items())


class SamplingOptions(Frozen):
    """What a model's ``sample`` can be asked for; a model that knows more adds fields.

    The harness makes it of `SampleSettings` once, before anything is trained.

    Attributes:
        temperature: Scale of the base distribution's noise.

    Example:
        >>> class Guided(SamplingOptions):
        ...     guidance: float = Field(default=0.0, ge=0)
        >>> Guided(temperature=0.8, guidance=2.0)
        Guided(temperature=0.8, guidance=2.0)
    """

    temperature: float = Field(default=1.0, gt=0)

    @property
    def follow_density(self) -> bool:
        """Whether samples drawn so follow the model's density: the default, all at its default.

        Override it where the defaults guide, denoise or truncate, or another option does not.
        """
        return self == type(self)()


class NoTemperature(SamplingOptions):
    """The options of a model whose samples have no temperature.

    Example:
        >>> NoTemperature().temperature
        1.0
    """

    @model_validator(mode="after")
    def _is_one(self) -> NoTemperature:
        if self.temperature != 1.0:
            raise ValueError("this model has no temperature; leave it at 1")
        return self


class MetricSettings(Frozen):
    """The evaluation protocol, the same for every row of a board.

    Attributes:
        eval_draws: Noise draws for each test example.
        validation_draws: Noise draws for each validation example.
        num_samples: Samples drawn for sample-based metrics.
        batch_size: Examples, or examples times noise draws, evaluated at a time; it changes memory
            and which noise an example gets, not what is estimated.
        seed: Added to the seed of each job, it is the seed of all noise in the job's evaluation.
        sample: How samples are drawn.

    Example:
        >>> MetricSettings(eval_draws=64, seed=1).num_samples
        256
    """

    eval_draws: int = Field(default=16, ge=1, le=_MOST_DRAWS)
    validation_draws: int = Field(default=1, ge=1, le=_MOST_DRAWS)
    num_samples: int = Field(default=256, ge=1, le=_MOST_EXAMPLES)
    batch_size: int = Field(default=256, ge=1, le=_MOST_EXAMPLES)
    seed: Seed = 0
    sample: SampleSettings = SampleSettings()
