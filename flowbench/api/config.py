"""Typed configurations: what a model is built from, how it is trained, and what its likelihood is.

Pydantic models without torch. Every field can be set from the command line
(``--set glow.width=64``, ``--set glow.training.lr=1e-3``); an unknown key is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flowbench.api.specs import DatasetInfo
from flowbench.errors import ConfigError

MAX_SEED = 2**63 - 1
"""The largest seed that torch, NumPy and the database all hold."""

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class Frozen(BaseModel):
    """Base of all configurations: immutable, closed to unknown keys, and of finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def refuse_not_yet(field: str, is_set: bool, until_then: str) -> None:
    """Refuses a field whose name is settled and whose work is still to come.

    Args:
        field: The field, as a user writes it.
        is_set: Whether it was set to anything but its default.
        until_then: What holds, or what to set, until it works.

    Raises:
        ValueError: It was set.
    """
    if is_set:
        raise ValueError(f"{field}: not yet; {until_then}")


# --- preprocessing: stochastic steps first, then bijections ---------------------------------------


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
        low: Image of 0.
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
        noise: What a draw is. ``none``: every evaluation gives the same value. ``weights``: a draw
            is a log importance weight, and the log-mean-exp of several tightens the bound.
            ``estimates``: a draw is an unbiased estimate of the log-likelihood (Hutchinson's trace)
            or of a lower bound (diffusion with random time steps); draws are averaged.
        bound: Whether the value can only understate the model.
        tolerance: Relative error that a solver leaves; None where nothing is solved.
        draws: Noise draws for each example.
        given: Names of the context inputs that the likelihood is conditioned on.

    Example:
        >>> hutchinson = Likelihood(measure="continuous", noise="estimates", tolerance=1e-5)
        >>> hutchinson.stochastic, hutchinson.importance_weighted
        (True, False)
    """

    measure: Literal["discrete", "continuous", "noisy"]
    dequantization: Literal["none", "uniform", "variational"] = "none"
    noise: Literal["none", "weights", "estimates"] = "none"
    bound: bool = False
    tolerance: float | None = Field(default=None, gt=0)
    draws: int = Field(default=1, ge=1)
    given: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _weights_bound(self) -> Likelihood:
        if self.noise == "weights" and not self.bound:
            # Jensen: the mean of a logarithm, and so log-mean-exp, lies below.
            raise ValueError("the log-mean-exp of weights is a lower bound: set bound=True")
        return self

    @property
    def stochastic(self) -> bool:
        """Whether two evaluations of one example differ."""
        return self.noise != "none" or self.measure == "noisy"

    @property
    def exact(self) -> bool:
        """Whether the value is the likelihood itself, up to rounding."""
        return self.noise == "none" and not self.bound and self.tolerance is None

    @property
    def importance_weighted(self) -> bool:
        """Whether draws are log-weights, to be combined by log-mean-exp."""
        return self.noise == "weights"


class NoLikelihood(Frozen):
    """Why a configured model has no likelihood of a dataset.

    Attributes:
        reason: Shown in the place of every value that needs one.

    Example:
        >>> NoLikelihood(reason="trained on a few time steps alone").reason
        'trained on a few time steps alone'
    """

    reason: str = Field(min_length=1)


_ESTIMATES_OF_VERSION_1: Mapping[str, Mapping[str, Any]] = {
    "exact": {"noise": "none", "bound": False, "tolerance": None},
    "bound": {"noise": "weights", "bound": True, "tolerance": None},
    "elbo": {"noise": "estimates", "bound": True, "tolerance": None},
    "unbiased": {"noise": "estimates", "bound": False, "tolerance": None},
    # Version 1 kept no tolerance; that of the solvers that were measured with it.
    "numerical": {"noise": "none", "bound": False, "tolerance": 1e-5},
}


def likelihood_as_version_2(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Reads what records of API version 1 say of a likelihood as version 2 says it.

    Args:
        facts: A stored likelihood, or the protocol of a measurement that holds one among others.

    Returns:
        The facts, with ``estimate`` and a ``given`` of one name replaced; the rest as it was. A
        metric of another plugin may call something else ``estimate``: that stays.
    """
    changed = dict(facts)
    estimate, given = changed.get("estimate"), changed.get("given")
    if isinstance(estimate, str) and estimate in _ESTIMATES_OF_VERSION_1:
        del changed["estimate"]
        changed |= _ESTIMATES_OF_VERSION_1[estimate]
        if isinstance(given, str):
            changed["given"] = [] if given == "none" else [given]
    if isinstance(given, tuple):
        changed["given"] = list(given)  # as JSON has it
    return changed


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
        groups: Optimizer groups that step in this phase; None takes all. Not yet.
        restart: Whether moments, average and best weights start anew with this phase. Not yet.

    Example:
        >>> Training(phases=(Phase(share=0.9), Phase(share=0.1, lr=2e-5))).phases[1].lr
        2e-05
    """

    share: float = Field(default=1.0, gt=0, le=1)
    lr: float | None = Field(default=None, gt=0)
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    warmup: float = Field(default=0.02, ge=0, lt=1)
    final_lr_ratio: float = Field(default=0.0, ge=0, le=1)
    groups: tuple[str, ...] | None = None
    restart: bool = False

    @model_validator(mode="after")
    def _is_served(self) -> Phase:
        refuse_not_yet("training.phases.groups", self.groups is not None, "all groups step")
        refuse_not_yet("training.phases.restart", self.restart, "a phase goes on with all state")
        return self


class Group(Frozen):
    """How one optimizer group differs from the rest of the training.

    Attributes:
        every: It steps once in so many steps, and does not move in between.
        lr_scale: Factor on the learning rate.
        betas: In place of those of `Training`; None keeps them.
        weight_decay: Likewise.

    Example:
        >>> Group(every=5, lr_scale=0.1).every
        5
    """

    every: int = Field(default=1, ge=1)
    lr_scale: float = Field(default=1.0, gt=0)
    betas: tuple[float, float] | None = None
    weight_decay: float | None = Field(default=None, ge=0)


class Ema(Frozen):
    """An exponential moving average of the weights, beside them.

    Attributes:
        decay: Largest decay of a step, in (0, 1); the first steps have a smaller one.
        half_life_examples: Training examples after which a step counts half, in place of
            ``decay``. Not yet.

    Example:
        >>> Training(average=Ema(decay=0.999)).average
        Ema(decay=0.999, half_life_examples=None)
    """

    decay: float | None = Field(default=None, gt=0, lt=1)
    half_life_examples: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _is_served(self) -> Ema:
        given = self.half_life_examples is not None
        refuse_not_yet("training.average.half_life_examples", given, "set training.average.decay")
        if self.decay is None:
            raise ValueError("an average needs its decay, e.g. 0.999")
        return self


class LastK(Frozen):
    """The plain mean of the last weights of training, taken at regular distances.

    Attributes:
        count: How many.
        every: Optimizer steps between two of them.

    Example:
        >>> LastK(count=10, every=500).count
        10
    """

    count: int = Field(ge=2)
    every: int = Field(ge=1)


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
        groups: What sets single optimizer groups apart, by their names. Not yet.
        average: The averaged weights that are kept beside the raw ones; None keeps none.
        select: Which weights are kept: those of the best validation ``likelihood`` (the last, for
            a model without one), of the best validation ``loss`` (not yet), or the ``last``.
        precision: Of the forward pass in training; likelihoods are always evaluated in float32.
        phases: Stretches of training; their shares sum to 1.
        augment: Applied to training batches alone: ``horizontal_flip`` of half of the images,
            ``shift`` by up to 4 % of their size and ``shift_tenth`` by up to 10 %, edges repeated,
            ``shift_tenth_zeros`` by up to 10 %, with zeros in the place of what is not known.
        init_examples: Training examples given to ``initialize``; None gives the whole train split.
        window: Length of the segments that longer training examples are cut to. Not yet.
        max_nonfinite: Steps in a row without a finite gradient before the run counts as diverged.
        compile: Compile the loss with `torch.compile`.

    Example:
        >>> Training(batch_size=128, lr=2e-3, clip_norm=1.0, average=Ema(decay=0.99)).optimizer
        'adam'
    """

    batch_size: int = Field(default=64, ge=1)
    optimizer: Literal["adam", "adamw", "adamax", "sgd", "rmsprop"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)
    groups: Mapping[str, Group] = Field(default_factory=dict)
    average: Ema | LastK | None = None
    select: Literal["likelihood", "loss", "last"] = "likelihood"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    phases: tuple[Phase, ...] = (Phase(),)
    augment: tuple[Augmentation, ...] = ()
    init_examples: int | None = Field(default=256, ge=1)
    window: int | None = Field(default=None, ge=1)
    max_nonfinite: int = Field(default=50, ge=1)
    compile: bool = False

    @model_validator(mode="after")
    def _phases_fill_the_budget(self) -> Training:
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the shares of the phases sum to {total:g}, they must sum to 1")
        return self

    @model_validator(mode="after")
    def _is_served(self) -> Training:
        refuse_not_yet("training.groups", bool(self.groups), "all groups are trained alike")
        last_k = isinstance(self.average, LastK)
        refuse_not_yet("training.average as LastK", last_k, "set training.average.decay")
        refuse_not_yet("training.select=loss", self.select == "loss", "set likelihood or last")
        refuse_not_yet("training.window", self.window is not None, "examples are trained on whole")
        return self


def training_as_version_2(config: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a model's configuration of API version 1 as version 2 says it.

    Returns:
        The configuration, with ``training.average`` in the place of ``training.ema_decay``.
    """
    training = dict(config.get("training", {}))
    if "ema_decay" not in training:
        return dict(config)
    decay = training.pop("ema_decay")
    return {**config, "training": training | {"average": decay and {"decay": decay}}}


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

    eval_draws: int = Field(default=16, ge=1)
    validation_draws: int = Field(default=1, ge=1)
    num_samples: int = Field(default=256, ge=1)
    batch_size: int = Field(default=256, ge=1)
    seed: Seed = 0
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

    Example:
        >>> Preset(summary="small", values={"width": 32, "training": {"lr": 1e-3}}).source
        'ours'
    """

    summary: str
    values: Mapping[str, Any] = field(default_factory=dict)
    source: Literal["paper", "ours"] = "ours"
    assumptions: tuple[str, ...] = ()
    tuning_trials: int = 0


class ModelConfig(Frozen):
    """Base of every model's configuration.

    Subclasses add the fields of their architecture, and the class attribute ``presets``.

    Attributes:
        presets: Named configurations; the first is the default.
        sampling: The options of the model's ``sample``.
        full_graph: Whether the loss can be compiled as one graph.
        full_graph_reason: Why it cannot (a solver, a random series).
        preprocessing: How raw data reach the model.
        training: How it is trained.

    Example:
        >>> class MyConfig(ModelConfig):
        ...     width: int = Field(default=64, ge=1)
        ...     presets: ClassVar = {
        ...         "small": Preset(summary="for laptops"),
        ...         "large": Preset(summary="for a GPU", values={"width": 512}),
        ...     }
        >>> MyConfig(width=128, training={"lr": 0.01}).training.lr
        0.01
    """

    presets: ClassVar[Mapping[str, Preset]] = {"default": Preset(summary="the field defaults")}
    sampling: ClassVar[type[SamplingOptions]] = SamplingOptions
    full_graph: ClassVar[bool] = True
    full_graph_reason: ClassVar[str] = ""

    preprocessing: Preprocessing = Preprocessing()
    training: Training = Training()

    def likelihood(self, data: DatasetInfo) -> Likelihood | NoLikelihood:
        """What this configuration's ``log_prob`` amounts to on a dataset.

        The default is right for exact densities: a bound by uniform dequantization on integers,
        exact on real-valued data. Variational, stochastic and numerical models override it.

        Returns:
            The kind of likelihood, in which the harness fills in the number of draws; or why this
            configuration has none.
        """
        noise = self.preprocessing.noise
        if isinstance(noise, GaussianNoise):
            return Likelihood(measure="noisy")
        if data.levels is None:
            return Likelihood(measure="continuous")
        if isinstance(noise, UniformDequantization):
            return Likelihood(
                measure="discrete", dequantization="uniform", noise="weights", bound=True
            )
        return Likelihood(measure="discrete")

    def also_given(self, data: DatasetInfo) -> tuple[tuple[str, ...], ...]:
        """Further conditionings under which the likelihood is reported, each with its own value.

        A class-conditional model that also knows the density without a label names ``("label",)``:
        its ``bpd`` is that without, and ``bpd_given_label`` is measured apart.

        Returns:
            Names of context inputs that are given together; by default none.
        """
        del data
        return ()

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Why this configuration cannot run on a dataset.

        Returns:
            The reason, shown in place of a result; None if it can run.
        """
        del data
        return None

    def unsupported_sampling(self, options: SamplingOptions, data: DatasetInfo) -> str | None:
        """Why samples cannot be drawn so; asked before anything is trained.

        Args:
            options: How samples are to be drawn; of the class ``sampling``.

        Returns:
            The reason, shown in place of a result; None if they can.
        """
        del options, data
        return None

    def sampling_ladder(self, data: DatasetInfo) -> tuple[SampleSettings, ...]:
        """Settings under which samples are measured besides the protocol's own.

        Returns:
            By default none. Not yet: a ladder is refused.
        """
        del data
        return ()

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """The preset taken for a dataset if the user names none.

        Returns:
            A key of ``presets``; by default the first.
        """
        del data
        return next(iter(cls.presets))


def sampling_options(
    config: ModelConfig, settings: SampleSettings, data: DatasetInfo
) -> SamplingOptions:
    """Makes a model's typed options of what a user asked for.

    Args:
        config: The model's configuration.
        settings: What was asked for.

    Returns:
        The options, of the class ``config.sampling``.

    Raises:
        ConfigError: An option is unknown, has a value that is not valid, or cannot be had here.
    """
    fields = config.sampling.model_fields
    unknown = sorted(set(settings.options) - (set(fields) - {"temperature"}))
    if unknown:
        raise ConfigError(
            f"unknown sampling option {unknown[0]!r}; this model knows: {', '.join(fields)}"
        )
    values = {"temperature": settings.temperature, **settings.options}
    try:
        options = config.sampling.model_validate(values)
    except ValidationError as exc:
        problem = exc.errors(include_url=False)[0]
        message = problem["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(
            f"sampling option {where}: {message}, got {problem['input']!r}" if where else message
        ) from exc
    reason = config.unsupported_sampling(options, data)
    if reason is not None:
        raise ConfigError(reason)
    return options


def unsupported_sampling(
    config: ModelConfig, settings: SampleSettings, data: DatasetInfo
) -> str | None:
    """Why samples cannot be drawn as asked; to be asked before anything is trained.

    Args:
        config: The model's configuration.
        settings: What was asked for.

    Returns:
        The reason; None if they can.
    """
    if config.sampling_ladder(data):
        return "sampling_ladder: not yet; samples are measured under one setting"
    try:
        sampling_options(config, settings, data)
    except ConfigError as exc:
        return str(exc)
    return None
