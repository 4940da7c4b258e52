"""Typed configurations: what a model is built from, how it is trained, and what its likelihood is.

Pydantic models without torch. Every field can be set from the command line
(``--set glow.width=64``, ``--set glow.training.lr=1e-3``); an unknown key is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ValidationError

from flowbench.api.frozen import Frozen
from flowbench.api.likelihood import Likelihood, NoLikelihood
from flowbench.api.preprocessing import GaussianNoise, Preprocessing, UniformDequantization
from flowbench.api.protocol import SampleSettings, SamplingOptions
from flowbench.api.specs import DatasetInfo
from flowbench.api.training import Training
from flowbench.errors import ConfigError, first_problem


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named configuration, and how far it is the paper's.

    Attributes:
        summary: What it is for, in one line that ``flowbench show`` prints.
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
        fits_targets: Whether it can be fitted to a `Target`: a model whose loss is that of
            `InvertibleModel`, and whose ``from_latent`` is differentiable and takes any latents.
        preprocessing: How raw data reach the model.
        training: Optimizer, learning rates, phases and averages of its training.

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

    # Class attributes: what holds for every configuration of a model is no field that one could
    # set.
    presets: ClassVar[Mapping[str, Preset]] = {"default": Preset(summary="the field defaults")}
    sampling: ClassVar[type[SamplingOptions]] = SamplingOptions
    full_graph: ClassVar[bool] = True
    full_graph_reason: ClassVar[str] = ""
    fits_targets: ClassVar[bool] = False

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
            # First, since noise makes the density that of other data, whatever these are.
            return Likelihood(measure="noisy")
        if data.levels is None:
            return Likelihood(measure="continuous")
        # A level's probability is the volume under its unit cube, an expectation over the noise:
        # each draw is a weight.
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

    @property
    def whole_batch(self) -> str | None:
        """Why the loss of a batch is not the mean of its parts' losses: what couples its examples.

        ``training.accumulate`` and several devices are refused then. Layers with batch statistics
        are found without it.

        Returns:
            The reason; None where each example counts by itself.
        """
        return None

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

        Of the same weights, for a curve of quality against cost: steps, solvers, guidance. A run
        measures them where it is asked to (``--ladder``): see `MetricSpec.ladder`.

        Returns:
            The cheapest first; by default none.
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
        settings: Temperature and options as given, e.g. by ``--sample``.

    Returns:
        The options, of the class ``config.sampling``.

    Raises:
        ConfigError: An option is unknown, has a value that is not valid, or cannot be had here.
    """
    fields = config.sampling.model_fields
    # Before pydantic sees them: it would name the class of options, which no user knows.
    unknown = sorted(set(settings.options) - (set(fields) - {"temperature"}))
    if unknown:
        raise ConfigError(
            f"unknown sampling option {unknown[0]!r}; this model knows: {', '.join(fields)}"
        )
    values = {"temperature": settings.temperature, **settings.options}
    try:
        options = config.sampling.model_validate(values)
    except ValidationError as exc:
        problem = first_problem(exc, lambda keys: f"sampling option {keys[0]}" if keys else "")
        raise ConfigError(problem) from exc
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
        settings: Temperature and options as given, e.g. by ``--sample``.

    Returns:
        The reason; None if they can.
    """
    try:
        sampling_options(config, settings, data)
        for rung in config.sampling_ladder(data):
            sampling_options(config, rung, data)
    except ConfigError as exc:
        return str(exc)
    return None
