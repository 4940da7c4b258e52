"""How raw data reach a model: stochastic steps first, then bijections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from flowbench.api.frozen import Frozen, refuse_not_yet

ROUNDING = "floor of dequantized values, else the nearest level; clipped"
"""How samples in a model's space become levels: part of the protocol of what is measured of them.

It changes with the inverse of the harness's preprocessing.
"""


class UniformDequantization(Frozen):
    r"""Adds :math:`u \sim U[0, 1)` to integers: a bound on the discrete likelihood.

    Example:
        >>> Preprocessing(noise=UniformDequantization(), bijections=(Scale(low=-1),)).noise
        UniformDequantization(kind='uniform_dequantization')

    References:
        Theis et al. (2016), A note on the evaluation of generative models,
        https://arxiv.org/abs/1511.01844, section 3.1.
    """

    kind: Literal["uniform_dequantization"] = "uniform_dequantization"


class GaussianNoise(Frozen):
    r"""Adds :math:`\sigma\epsilon`: the density is then that of noisy data, and has no bpd.

    Attributes:
        sigma: Standard deviation. For data of K levels in the papers' units, where the levels
            span [-1, 1]; for real-valued data in the data's own unit.

    Example:
        >>> noisy = Preprocessing(noise=GaussianNoise(sigma=0.05))
        >>> noisy.noise
        GaussianNoise(kind='gaussian_noise', sigma=0.05)

    References:
        Zhai et al. (2024), Normalizing Flows are Capable Generative Models,
        https://arxiv.org/abs/2412.06329, section 3.2.
    """

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: float = Field(gt=0)


class Scale(Frozen):
    """Maps the range of K-level data linearly onto ``[low, high]``.

    Attributes:
        low: What level 0 is mapped to.
        high: Image of K (the end of the dequantized range), or of the top level K - 1 if
            ``closed``.
        closed: Whether ``high`` is the image of the top level itself.

    Example:
        >>> Scale(low=-1.0, high=1.0).high
        1.0
    """

    kind: Literal["scale"] = "scale"
    low: float = 0.0
    high: float = 1.0
    closed: bool = False

    @model_validator(mode="after")
    def _is_increasing(self) -> Scale:
        # Equal ends have no inverse, and a falling scale is more likely two numbers exchanged.
        if self.high <= self.low:
            raise ValueError(f"scale needs low < high, got {self.low} and {self.high}")
        return self


class Logit(Frozen):
    r"""Maps [0, 1] to the real line, :math:`y = \mathrm{logit}(\alpha + (1 - 2\alpha) x)`.

    Example:
        >>> Logit(alpha=1e-6).alpha
        1e-06

    References:
        Dinh et al. (2017), Density estimation using Real NVP,
        https://arxiv.org/abs/1605.08803, section 4.1 (there 0.05 + 0.9 x).
    """

    kind: Literal["logit"] = "logit"
    alpha: float = Field(default=0.05, gt=0, lt=0.5)


class Standardise(Frozen):
    """Subtracts the training mean and divides by the training standard deviation.

    Attributes:
        per: One pair of numbers for each event dim, for each channel (the first event axis), or
            one for all.

    Example:
        >>> Preprocessing(bijections=(Standardise(per="dim"),)).bijections
        (Standardise(kind='standardise', per='dim'),)
    """

    kind: Literal["standardise"] = "standardise"
    per: Literal["dim", "channel", "all"] = "dim"


Noise = Annotated[UniformDequantization | GaussianNoise, Field(discriminator="kind")]


PreprocessingBijection = Annotated[Scale | Logit | Standardise, Field(discriminator="kind")]


class Preprocessing(Frozen):
    """How raw data reach the model; the harness runs it and accounts for every ladj.

    Attributes:
        support: ``discrete`` gives the model the integers themselves: for discrete models, and for
            those that dequantize by themselves.
        noise: Stochastic step, on raw values.
        bijections: Applied in order, after the noise.
        context: How conditioning inputs are standardised, by their names. Not yet.

    Example:
        >>> images = Preprocessing(noise=UniformDequantization(), bijections=(Scale(), Logit()))
        >>> [step.kind for step in images.bijections]
        ['scale', 'logit']
    """

    support: Literal["continuous", "discrete"] = "continuous"
    noise: Noise | None = None
    bijections: tuple[PreprocessingBijection, ...] = ()
    context: Mapping[str, Standardise] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_served(self) -> Preprocessing:
        refuse_not_yet("preprocessing.context", bool(self.context), "context arrives as it is")
        return self

    @model_validator(mode="after")
    def _discrete_is_untouched(self) -> Preprocessing:
        # Integers that were moved are no integers; a table of levels would be read at the wrong
        # place.
        if self.support == "discrete" and (self.noise or self.bijections):
            raise ValueError(
                "a model of discrete support gets the integers: no noise, no bijections"
            )
        return self
