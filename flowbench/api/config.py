"""Typed configurations: what a model is built from, how it is trained, and what its likelihood is.

Pydantic models without torch. Every field can be set from the command line
(``--set glow.width=64``, ``--set glow.training.lr=1e-3``); an unknown key is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flowbench.api.specs import DatasetInfo


class Frozen(BaseModel):
    """Base of all configurations: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- preprocessing: stochastic steps first, then bijections ---------------------------------------


class UniformDequantization(Frozen):
    r"""Adds :math:`u \sim U[0, 1)` to integers: a bound on the discrete likelihood.

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

    References:
        Zhai et al. (2024), Normalizing Flows are Capable Generative Models,
        https://arxiv.org/abs/2412.06329, section 3.2.
    """

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: float = Field(gt=0)


class Scale(Frozen):
    """Maps the range of K-level data linearly onto ``[low, high]``.

    Attributes:
        low: Image of 0.
        high: Image of K (the end of the dequantized range), or of the top level K - 1 if
            ``closed``.
        closed: Whether ``high`` is the image of the top level itself.
    """

    kind: Literal["scale"] = "scale"
    low: float = 0.0
    high: float = 1.0
    closed: bool = False

    @model_validator(mode="after")
    def _is_increasing(self) -> Scale:
        if self.high <= self.low:
            raise ValueError(f"scale needs low < high, got {self.low} and {self.high}")
        return self


class Logit(Frozen):
    r"""Maps [0, 1] to the real line, :math:`y = \mathrm{logit}(\alpha + (1 - 2\alpha) x)`.

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
    """

    support: Literal["continuous", "discrete"] = "continuous"
    noise: Noise | None = None
    bijections: tuple[PreprocessingBijection, ...] = ()

    @model_validator(mode="after")
    def _discrete_is_untouched(self) -> Preprocessing:
        if self.support == "discrete" and (self.noise or self.bijections):
            raise ValueError(
                "a model of discrete support gets the integers: no noise, no bijections"
            )
        return self


# --- likelihood -----------------------------------------------------------------------------------


class Likelihood(Frozen):
    """What the number that a configured model reports as its likelihood is.

    Attributes:
        measure: ``discrete`` probability of integers, density of ``continuous`` data, or density
            of ``noisy`` data (Gaussian noise in the preprocessing).
        dequantization: How integers become real numbers, if they do.
        estimate: ``exact``; ``bound``, one draw is a log importance weight whose log-mean-exp
            tightens with the number of draws; ``elbo``, one draw is an unbiased estimate of a lower
            bound, averaged arithmetically (diffusion with random time steps); ``unbiased``, one
            draw is an unbiased estimate of the log-likelihood (Hutchinson's trace), likewise
            averaged; ``numerical``, exact up to a solver's tolerance.
        draws: Noise draws for each example.
        given: What the likelihood is conditioned on.
    """

    measure: Literal["discrete", "continuous", "noisy"]
    dequantization: Literal["none", "uniform", "variational"] = "none"
    estimate: Literal["exact", "bound", "elbo", "unbiased", "numerical"] = "exact"
    draws: int = Field(default=1, ge=1)
    given: Literal["none", "label", "mel"] = "none"

    @property
    def stochastic(self) -> bool:
        """Whether two evaluations of one example differ."""
        return self.estimate in ("bound", "elbo", "unbiased") or self.measure == "noisy"

    @property
    def importance_weighted(self) -> bool:
        """Whether draws are log-weights, to be combined by log-mean-exp."""
        return self.estimate == "bound"


# --- training -------------------------------------------------------------------------------------


class Phase(Frozen):
    """A stretch of training with its own learning rate.

    Attributes:
        share: Part of the budget.
        lr: Peak learning rate; None keeps that of `Training`.
        schedule: Shape over the phase, from the peak (``cosine`` and ``linear`` end at
            ``final_lr_ratio`` of it).
        warmup: Part of the phase in which the rate rises linearly from 0.
        final_lr_ratio: Final learning rate as a part of the peak.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    lr: float | None = Field(default=None, gt=0)
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    warmup: float = Field(default=0.02, ge=0, lt=1)
    final_lr_ratio: float = Field(default=0.0, ge=0, le=1)


Augmentation = Literal["horizontal_flip", "shift", "shift_tenth", "shift_tenth_zeros"]


class Training(Frozen):
    """How a model is trained. All schedules are functions of the budget's progress.

    Attributes:
        batch_size: Examples in an optimizer step.
        optimizer: Optimizer, of `torch.optim`.
        lr: Peak learning rate.
        betas: First- and second-moment decay (``sgd`` and ``rmsprop`` take the first as momentum).
        weight_decay: Decoupled for ``adamw``, an L2 term in the gradient for the others.
        clip_norm: Largest global gradient norm; None does not clip.
        ema_decay: Decay of the averaged weights, ramped up from 0.1; None keeps no average.
        precision: Of the forward pass in training; likelihoods are always evaluated in float32.
        phases: Stretches of training; their shares sum to 1.
        augment: Applied to training batches alone: ``horizontal_flip`` of half of the images,
            ``shift`` by up to 4 % of their size and ``shift_tenth`` by up to 10 %, edges repeated,
            ``shift_tenth_zeros`` by up to 10 %, with zeros in the place of what is not known.
        init_examples: Training examples given to ``initialize``; None gives the whole train split.
        max_nonfinite: Steps in a row without a finite gradient before the run counts as diverged.
        compile: Compile the loss with `torch.compile`.
    """

    batch_size: int = Field(default=64, ge=1)
    optimizer: Literal["adam", "adamw", "adamax", "sgd", "rmsprop"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    phases: tuple[Phase, ...] = (Phase(),)
    augment: tuple[Augmentation, ...] = ()
    init_examples: int | None = Field(default=256, ge=1)
    max_nonfinite: int = Field(default=50, ge=1)
    compile: bool = False

    @model_validator(mode="after")
    def _phases_fill_the_budget(self) -> Training:
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the shares of the phases sum to {total:g}, they must sum to 1")
        return self


class SampleSettings(Frozen):
    """How samples are drawn (``--sample temperature=0.8``); part of a row's protocol.

    Attributes:
        temperature: Scale of the base distribution's noise.
        options: Settings that only some models know; a model refuses those it does not know.
    """

    temperature: float = Field(default=1.0, gt=0)
    options: Mapping[str, float | int | str | bool] = Field(default_factory=dict)


class MetricSettings(Frozen):
    """The evaluation protocol, the same for every row of a board.

    Attributes:
        eval_draws: Noise draws for each test example.
        validation_draws: Noise draws for each validation example.
        num_samples: Samples drawn for sample-based metrics.
        batch_size: Examples, or examples times noise draws, evaluated at a time; it changes memory
            and which noise an example gets, not what is estimated.
        seed: Seed of all noise in evaluation.
        sample: How samples are drawn.
    """

    eval_draws: int = Field(default=16, ge=1)
    validation_draws: int = Field(default=1, ge=1)
    num_samples: int = Field(default=256, ge=1)
    batch_size: int = Field(default=256, ge=1)
    seed: int = 0
    sample: SampleSettings = SampleSettings()


# --- models ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named configuration, and how far it is the paper's.

    Attributes:
        summary: One line.
        values: What it changes from the defaults; nested mappings for nested configs.
        source: Whether a paper or this project chose the configuration.
        assumptions: What neither paper nor released code settles, and what was taken.
        tuning_trials: Configurations that were tried before this one was chosen.
    """

    summary: str
    values: Mapping[str, Any] = field(default_factory=dict)
    source: Literal["paper", "ours"] = "ours"
    assumptions: tuple[str, ...] = ()
    tuning_trials: int = 0


class ModelConfig(Frozen):
    """Base of every model's configuration.

    Subclasses add the fields of their architecture, and the class attribute ``presets``.
    """

    presets: ClassVar[Mapping[str, Preset]] = {"default": Preset(summary="the field defaults")}

    preprocessing: Preprocessing = Preprocessing()
    training: Training = Training()

    def likelihood(self, data: DatasetInfo) -> Likelihood:
        """What this configuration's ``log_prob`` amounts to on a dataset.

        The default is right for exact densities: a bound by uniform dequantization on integers,
        exact on real-valued data. Variational, stochastic and numerical models override it.

        Args:
            data: The dataset.

        Returns:
            The kind of likelihood; the harness fills in the number of draws.
        """
        noise = self.preprocessing.noise
        if isinstance(noise, GaussianNoise):
            return Likelihood(measure="noisy")
        if data.levels is None:
            return Likelihood(measure="continuous")
        if isinstance(noise, UniformDequantization):
            return Likelihood(measure="discrete", dequantization="uniform", estimate="bound")
        return Likelihood(measure="discrete")

    def also_given(self, data: DatasetInfo) -> frozenset[Literal["label"]]:
        """What ``log_prob`` takes from its context that `likelihood` does without.

        A class-conditional model that also knows the density without a label names ``label``: its
        ``bpd`` is that without, and ``bpd_given_label`` is measured apart.

        Args:
            data: The dataset.

        Returns:
            Names of context inputs; by default none.
        """
        del data
        return frozenset()

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Why this configuration cannot run on a dataset.

        Args:
            data: The dataset.

        Returns:
            The reason, shown in place of a result; None if it can run.
        """
        del data
        return None

    def unsupported_sampling(self, settings: SampleSettings, data: DatasetInfo) -> str | None:
        """Why samples cannot be drawn so; asked before anything is trained.

        By default every option is refused: a model that knows some says so here and in ``sample``.

        Args:
            settings: How samples are to be drawn.
            data: The dataset.

        Returns:
            The reason, shown in place of a result; None if they can.
        """
        del data
        for name in sorted(settings.options):
            return f"unknown sampling option {name!r}; this model knows: temperature"
        return None

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """The preset taken for a dataset if the user names none.

        Args:
            data: The dataset.

        Returns:
            A key of ``presets``; by default the first.
        """
        del data
        return next(iter(cls.presets))
