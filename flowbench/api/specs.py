"""What a plugin says about its parts: frozen data and lazy references, nothing heavier.

A reference is the text ``"module:name"``; it is imported when the part is used, so that listing
every model never imports torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from flowbench.errors import ConfigError

Modality = Literal["image", "vector", "audio", "sequence", "manifold"]
Direction = Literal["lower", "higher", "none"]
SplitName = Literal["train", "validation", "test"]
Invariance = Literal["order", "batch_size"]
Role = Literal["quality", "cost", "count", "witness"]
"""What a value is on a board; see `MetricSpec.role`."""
Scale = Literal["linear", "log"]

# Named here because metrics look for them and the harness puts them there.
WEIGHTS_FOLDER = "weights"
"""Folder within that of prepared data, for the files of `MetricSpec.weights`."""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where a model, dataset or metric comes from.

    Example:
        >>> Paper(title="Glow", authors="Kingma, Dhariwal", year=2018, arxiv="1807.03039").year
        2018
    """

    title: str
    authors: str = ""
    year: int | None = None
    arxiv: str | None = None
    url: str | None = None
    bibtex: str | None = None


@dataclass(frozen=True, kw_only=True)
class ContextInput:
    """What an example is conditioned on.

    Attributes:
        shape: Shape of one value, ``()`` for a label.
        num_classes: Number of classes of an integer input; None for a real-valued one.
        stride: Raw values along the last axis of an example that one value along the last axis of
            the input stands for (a spectrogram's hop). An example of T values has T / stride of
            them, rounded up; ``shape`` is that for the event shape. None for what does not go along
            with the examples.

    Raises:
        ConfigError: ``stride`` is not positive, or set for an input without axes.

    Example:
        >>> ContextInput(shape=(), num_classes=10)
        ContextInput(shape=(), num_classes=10, stride=None)
    """

    shape: tuple[int, ...]
    num_classes: int | None = None
    stride: int | None = None

    def __post_init__(self) -> None:
        if self.stride is not None and (self.stride < 1 or not self.shape):
            raise ConfigError(
                f"context.stride is {self.stride} of an input of shape {self.shape}; expected 1 or "
                "more, and an axis that goes along the example"
            )


LABEL = "label"
"""Name of the context input that holds an example's class."""


def _num_classes(context: Mapping[str, ContextInput]) -> int | None:
    return context[LABEL].num_classes if LABEL in context else None


@dataclass(frozen=True, kw_only=True)
class Target:
    """A density that is known up to a factor, which models are fitted to in place of examples.

    Attributes:
        log_density: Reference to ``log_density(x: Tensor) -> Tensor``: of raw values of shape
            (B, *event_shape) in nats, shape (B,), up to a constant; differentiable.
        log_normaliser: Logarithm of what the density integrates to; None where nobody knows it.

    Example:
        >>> Target(log_density="my_data:log_density", log_normaliser=math.log(2 * math.pi))
        Target(log_density='my_data:log_density', log_normaliser=1.8378770664093453)
    """

    log_density: str
    log_normaliser: float | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What a model may know of a dataset before it sees any of it.

    Attributes:
        name: The dataset's id.
        modality: Form of an example, such as ``image``; models name those that they can take.
        event_shape: Shape of one raw example: ``(C, H, W)``, ``(D,)`` or ``(C, T)``; of data of
            different lengths, that of a segment.
        levels: Number K of integer levels ``0..K-1``; None for real-valued data.
        num_train: Training examples, the harness's validation split already taken off.
        num_validation: Validation examples, the dataset's own or the harness's.
        num_test: Test examples, all of which are measured.
        context: Conditioning inputs by name; ``label`` holds the class.
        target: The density that models are fitted to in place of examples; None for data.
        manifold: Reference to the `Manifold` that examples lie on; None for all other data.
        ragged: Whether examples have different lengths along their last axis. A model is trained on
            segments of them, evaluated on them whole, and asked for samples of any length.
        rate: Raw values a second, of a waveform; None for all other data.

    Example:
        >>> digits = DatasetInfo(
        ...     name="digits", modality="image", event_shape=(1, 8, 8), levels=17,
        ...     num_train=1257, num_validation=180, num_test=360,
        ...     context={"label": ContextInput(shape=(), num_classes=10)},
        ... )
        >>> digits.num_dims, digits.num_classes
        (64, 10)
    """

    name: str
    modality: Modality
    event_shape: tuple[int, ...]
    levels: int | None
    num_train: int
    num_validation: int
    num_test: int
    context: Mapping[str, ContextInput] = field(default_factory=dict)
    target: Target | None = None
    manifold: str | None = None
    ragged: bool = False
    rate: int | None = None

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the context ``label``; None without labels."""
        return _num_classes(self.context)

    @property
    def num_dims(self) -> int:
        """Number D of raw values in one example, or in a segment of one."""
        return math.prod(self.event_shape)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model: its name, and where its class and config class are.

    Attributes:
        name: Lower-case id, unique among all plugins.
        model: Reference to the subclass of `GenerativeModel`.
        config: Reference to the subclass of `ModelConfig`.
        modalities: Forms of data that it can be trained on.
        summary: What it is, in one line of ``flowbench list``.
        paper: Where it was published.
        forms: Forms of data that the contract checks it on, small ones; empty takes the contract's
            own forms of its modalities.
        family: Kind of model, as the heading of a group: ``Normalizing flows``. Boards of results
            group rows by it, word for word, where there is more than one; None for no kind.

    Raises:
        ConfigError: ``family`` is no text, or says nothing.

    Example:
        >>> spec = ModelSpec(
        ...     name="myflow", model="my_flow:MyFlow", config="my_flow:MyConfig",
        ...     modalities=frozenset({"vector"}), summary="affine couplings",
        ... )
        >>> spec.forms
        ()
    """

    name: str
    model: str
    config: str
    modalities: frozenset[Modality]
    summary: str
    paper: Paper | None = None
    forms: tuple[DatasetInfo, ...] = ()
    family: str | None = None

    def __post_init__(self) -> None:
        if self.family is not None and not (isinstance(self.family, str) and self.family.strip()):
            raise ConfigError(
                f"family of {self.name!r} is {self.family!r}; expected a heading such as "
                "'Normalizing flows', or None"
            )


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that is downloaded, or taken from the user, and known by its hash.

    Attributes:
        name: The file's name, as its publisher gives it.
        url: Where it is published; None for a file that a person must fetch (a licence to accept).
        sha256: Hash of its bytes; None where its publisher states none.
        md5: The same, where its publisher states only this weaker one: it tells a damaged file, not
            a forged one.
        content_sha256: Hash of what a gzip file holds; a copy that was packed anew, as
            distributions do, is the same file by it.
        size_bytes: Its size; None if unknown.
        folder: Of an archive, the folder that one has who extracts it; None where that is its name
            without suffixes.

    Example:
        >>> RemoteFile(name="a.zip", url="https://example.org/a.zip", size_bytes=1 << 20).sha256
    """

    name: str
    url: str | None = None
    sha256: str | None = None
    md5: str | None = None
    content_sha256: str | None = None
    size_bytes: int | None = None
    folder: str | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A dataset: its facts, and where the function that reads it is.

    Attributes:
        name: Id; different data (another crop, another down-sampling) are different ids.
        modality: Form of an example, such as ``image``; models name those that they can take.
        event_shape: Shape of one raw example; of data of different lengths, that of the segments
            which models train on and draw unless ``training.window`` says otherwise.
        levels: Number of integer levels, None for real-valued data.
        num_train: Training examples as published, a validation part of them included unless
            ``num_validation`` is given.
        num_validation: Validation examples as published; None where the harness makes the split.
        num_test: Test examples as published.
        summary: What it holds, in one line of ``flowbench list``.
        load: Reference to ``load(data_dir: Path) -> DataSplits``, for data that need no
            preparation.
        convert: Reference to ``convert(files: Mapping[str, Path]) -> Iterator[tuple[SplitName,
            Split]]``, for data that ``flowbench data prepare`` turns once into a memory-mapped
            store. It gets the path of each of ``files`` by name, and yields the examples of every
            split piece by piece.
        files: What ``convert`` reads, as its publisher gives it. In place of an archive a user may
            give the folder that it was extracted to.
        collection: Name under which the files are kept, where several datasets are made of them;
            empty for the dataset's own name.
        how_to: Where a person gets the files that have no address.
        context: Conditioning inputs by name; ``label`` holds the class.
        target: A density that is known up to a factor, which models are fitted to in place of
            examples. Test examples are then drawn from it; those of training and validation are
            points to start from, which tell nothing of it.
        render: Reference to ``render(samples: Samples, info: DatasetInfo) -> list[Artifact]``: how
            samples are shown; None shows images, and points in the plane, as a grid.
        manifold: Reference to the `Manifold` that data of that modality lie on, such as
            ``"flowbench.api.manifolds:SPHERE"``; densities are with respect to its volume.
        ragged: Whether examples have different lengths along their last axis; splits then hold
            `Ragged`.
        rate: Raw values a second, of a waveform.
        total_length: About how many values along their last axis all examples have together, where
            they have different lengths: for the room that they take.
        sha256: Content hash that the loaded splits must have; None where the content is generated
            or decoded on the user's machine, and so pinned by recipe rather than by bytes.
        licence: Licence or terms of the data.
        notes: What a reader of a number on this dataset must know.
        paper: Where it was published.

    Example:
        >>> ring = DatasetSpec(
        ...     name="ring", modality="vector", event_shape=(2,), levels=None,
        ...     num_train=4000, num_test=1000, load="my_data:load", summary="a noisy circle",
        ... )
        >>> ring.info(num_validation=400).num_train
        3600
    """

    name: str
    modality: Modality
    event_shape: tuple[int, ...]
    levels: int | None
    num_train: int
    num_test: int
    summary: str
    num_validation: int | None = None
    load: str | None = None
    convert: str | None = None
    files: tuple[RemoteFile, ...] = ()
    collection: str = ""
    how_to: str = ""
    context: Mapping[str, ContextInput] = field(default_factory=dict)
    target: Target | None = None
    render: str | None = None
    manifold: str | None = None
    ragged: bool = False
    rate: int | None = None
    total_length: int | None = None
    sha256: str | None = None
    licence: str = ""
    notes: str = ""
    paper: Paper | None = None

    def __post_init__(self) -> None:
        if (self.manifold is not None) != (self.modality == "manifold"):
            raise ConfigError(
                f"manifold is {self.manifold!r} of {self.modality} data; data of the modality "
                "manifold, and no others, name one, e.g. flowbench.api.manifolds:SPHERE"
            )

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the context ``label``; None without labels."""
        return _num_classes(self.context)

    @property
    def counts(self) -> dict[SplitName, int | None]:
        """Examples of each split as published; None for a validation split of the harness's."""
        return {"train": self.num_train, "validation": self.num_validation, "test": self.num_test}

    @property
    def prepared_bytes(self) -> int:
        """Size of the prepared store on disk: a byte or a float a value, 8 bytes for a class."""
        # An estimate from the facts: asked before anything is there.
        value = 4 if self.levels is None else 1 if self.levels <= 256 else 2
        context = sum(
            (4 if given.num_classes is None else 8) * math.prod(given.shape)
            for given in self.context.values()
        )
        num = float(sum(count or 0 for count in self.counts.values()))
        if self.total_length is not None:
            num = self.total_length / self.event_shape[-1]  # as many examples as long as a segment
        return int(num * (value * math.prod(self.event_shape) + context))

    def info(self, num_validation: int) -> DatasetInfo:
        """The facts that a model may know.

        Args:
            num_validation: Size of the validation split; taken off the training examples where
                the dataset has none of its own.

        Returns:
            The facts, with the sizes of the three splits.
        """
        own = self.num_validation is not None
        return DatasetInfo(
            name=self.name,
            modality=self.modality,
            event_shape=self.event_shape,
            levels=self.levels,
            num_train=self.num_train if own else self.num_train - num_validation,
            num_validation=num_validation,
            num_test=self.num_test,
            context=self.context,
            target=self.target,
            manifold=self.manifold,
            ragged=self.ragged,
            rate=self.rate,
        )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a value must keep to, or its row is not believed.

    A value refutes its row if it lies below ``minimum`` or above ``maximum``, and, where it has a
    standard error, is off by more than ``errors`` of them: off ``target``, else off the limit that
    it passes.

    Attributes:
        minimum: The least that is believed; None for no such limit.
        maximum: The most that is believed; None for no such limit.
        target: The value of a model without a fault; None where only limits are known.
        errors: Standard errors within which nothing is said.

    Raises:
        ConfigError: There is no limit, or they contradict each other.

    Example:
        >>> mass = Limits(minimum=0.99, maximum=1.01, target=1.0)
        >>> mass.refutation(1.3, stderr=0.001)
        '1.3 is above 1.01'
        >>> mass.refutation(1.3, stderr=0.1) is None  # 3 standard errors
        True
    """

    minimum: float | None = None
    maximum: float | None = None
    target: float | None = None
    errors: float = 5.0

    def __post_init__(self) -> None:
        known = [v for v in (self.minimum, self.target, self.maximum) if v is not None]
        if self.minimum is None and self.maximum is None:
            raise ConfigError("limits without a minimum and a maximum; give one of them")
        if known != sorted(known) or not self.errors >= 0:
            raise ConfigError(
                f"limits of {self.minimum} to {self.maximum} about {self.target} with "
                f"{self.errors} errors; give minimum <= target <= maximum and errors of 0 or more"
            )

    def refutation(self, value: float | None, stderr: float | None = None) -> str | None:
        """How a value passes its limits.

        Args:
            value: The value; None, where there is none, refutes nothing.
            stderr: Its standard error; None for a value without one.

        Returns:
            In words; None if it keeps to them.
        """
        if value is None:
            return None
        if self.minimum is not None and value < self.minimum:
            limit, side = self.minimum, "below"
        elif self.maximum is not None and value > self.maximum:
            limit, side = self.maximum, "above"
        else:
            return None
        off = abs(value - (limit if self.target is None else self.target))
        is_clear = off > self.errors * (stderr or 0.0)
        return f"{value:.3g} is {side} {limit:.3g}" if is_clear else None


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A metric: what it needs, and where the function that computes it is.

    Attributes:
        name: Lower-case id, also the name of its main value.
        compute: Reference to ``compute(trained, data, settings) -> list[MetricValue]``.
        unit: Unit of the main value, e.g. ``"bits/dim"``; empty for a pure number.
        direction: Whether ``lower`` or ``higher`` values are better; ``none`` is not ranked.
        summary: What it measures, in one line of ``flowbench list``.
        label: What a title calls it, e.g. ``"Bits per dimension"``; the name in words if empty.
        short: The same where room is scarce: over a column, along an axis; ``label`` if empty.
        role: What it is on a board. A ``quality`` is what models are compared for: it has a
            ranked column and plots of its own. A ``cost`` is the price of using a model: ranked,
            and an axis that qualities are plotted against. A ``count`` says how much went into a
            result, and is no contest. A ``witness`` tells more of a run, in its details alone.
        scale: How an axis shows it; ``log`` for what spans orders of magnitude and is never 0.
        decimals: Decimals of a column; None for three significant digits of a typical value.
        needs: What the model must offer: ``likelihood``, ``samples``, ``inverse``; or what the data
            must have: ``label``, ``target``.
        modalities: Which data it can measure.
        data: ``discrete`` or ``continuous`` where the metric is defined for one of them alone.
        num_dims: Number of raw values of an example, where it is defined for that alone.
        datasets: The datasets that it is defined for; None for all of the right form.
        exclusive: Timed with every other job of the machine paused.
        default: Measured where a suite names no metrics; False for what is long or needs files.
        weights: Files that it needs, by the name that ``flowbench data prepare`` takes; they lie in
            `WEIGHTS_FOLDER`.
        ladder: Names of its values that a run with ``--ladder`` measures anew under each setting
            of a model's `sampling_ladder`. Those of a ``quality`` are drawn against all others.
        limits: By name of a value, what it must keep to: one that does not *refutes* its row, which
            is struck on boards and has no place.
        invariances: What changes none of its values: the ``order`` of test examples and samples,
            the ``batch_size``. The contract checks what is declared.
        closed_forms: Reference to a sequence of `ClosedForm`: values worked out by hand, which the
            contract compares; None where none can be.
        paper: Where it was published.

    Example:
        >>> worst = MetricSpec(
        ...     name="worst_nll", compute="my_data:worst_nll", unit="nats", direction="lower",
        ...     summary="of the worst test example", needs=frozenset({"likelihood"}),
        ... )
        >>> sorted(worst.invariances)
        ['batch_size', 'order']
    """

    name: str
    compute: str
    unit: str
    direction: Direction
    summary: str
    label: str = ""
    short: str = ""
    role: Role = "quality"
    scale: Scale = "linear"
    decimals: int | None = None
    needs: frozenset[Literal["likelihood", "samples", "inverse", "label", "target"]] = frozenset()
    modalities: frozenset[Modality] = frozenset(get_args(Modality))
    data: Literal["discrete", "continuous"] | None = None
    num_dims: int | None = None
    datasets: frozenset[str] | None = None
    exclusive: bool = False
    default: bool = True
    weights: Mapping[str, RemoteFile] = field(default_factory=dict)
    ladder: frozenset[str] = frozenset()
    limits: Mapping[str, Limits] = field(default_factory=dict)
    invariances: frozenset[Invariance] = frozenset({"order", "batch_size"})
    closed_forms: str | None = None
    paper: Paper | None = None

    def __post_init__(self) -> None:
        for name, known in (("role", get_args(Role)), ("scale", get_args(Scale))):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"metric {self.name!r} has the {name} {getattr(self, name)!r}; expected "
                    f"{', '.join(known)}"
                )
        label = self.label or self.name.replace("_", " ")
        # The class is frozen for its readers; this is still its construction.
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "short", self.short or label)

    def refutation(self, value: MetricValue) -> str | None:
        """Why one of the metric's values refutes its row, in words; None if it does not.

        Example:
            >>> spec = MetricSpec(
            ...     name="loops", compute="m:f", unit="", direction="none", summary="",
            ...     limits={"loops": Limits(maximum=0)},
            ... )
            >>> spec.refutation(MetricValue(name="loops", value=2.0, unit="", direction="none"))
            'loops 2 is above 0'
        """
        limits = self.limits.get(value.name)
        passed = limits.refutation(value.value, value.stderr) if limits else None
        if passed is None:
            return None
        name = self.short if is_main_value(self.name, value.name) else value.name.replace("_", " ")
        return f"{name} {passed}"

    def presentation(self, name: str, unit: str) -> dict[str, Any]:
        """How one of the metric's values is shown: what a record keeps of it.

        Args:
            name: The value's name.

        Returns:
            ``label``, ``short``, ``role``, ``scale`` and ``decimals``: of the main value the
            spec's; of a value beside it only the decimals, where it has the same unit.

        Example:
            >>> spec = MetricSpec(
            ...     name="fid", compute="m:f", unit="", direction="lower", summary="", short="FID"
            ... )
            >>> spec.presentation("fid@10000", "")["short"]
            'FID@10000'
        """
        # A value in another unit has other magnitudes.
        decimals = self.decimals if unit == self.unit else None
        # What a metric says beside its value is there for who looks into a run, and no contest.
        if not is_main_value(self.name, name):
            words = name.replace("_", " ")
            shown = {"label": words, "short": words, "role": "witness", "scale": "linear"}
            return {**shown, "decimals": decimals}
        details = name.removeprefix(self.name)  # whose weights and how many samples
        return {
            "label": self.label + details,
            "short": self.short + details,
            "role": self.role,
            "scale": self.scale,
            "decimals": decimals,
        }


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """What a metric sees, and the value that it must give; the metric's author gives it.

    What is not set is that of a Gaussian with a mean and a scale of each value, fitted to random
    data of the first form that the metric is defined for: vectors of 2 real values, 1x8x8 images of
    17 levels, sequences of 64 real values. It counts as trained for 1 s on one device, with 1 MiB.

    Attributes:
        expected: The value, worked out by hand.
        log_prob: Test log-likelihoods in nats, shape (N,).
        samples: Raw samples, shape (N, *event_shape).
        test: Raw test examples, shape (N, *event_shape).
        tolerance: Largest relative error.

    Example:
        >>> mean_of_two = ClosedForm(log_prob=[-1.0, -3.0], expected=2.0)
        >>> mean_of_two.tolerance
        1e-06
    """

    expected: float
    log_prob: Sequence[float] | None = None
    samples: Sequence[object] | None = None
    test: Sequence[object] | None = None
    tolerance: float = 1e-6


def is_main_value(metric: str, name: str) -> bool:
    """Whether a value is a metric's own, and not one that it gives beside it.

    Args:
        metric: The metric's name.
        name: The value's name. Behind the metric's it may say whose weights (eight digits of a
            hash) and how many samples it took: ``fid@10000``, ``fd-net-0a1b2c3d@5000``.

    Returns:
        True if it is.
    """
    # Strictly: `bpd_given_label` begins with `bpd` and is another quantity.
    return re.fullmatch(rf"{re.escape(metric)}(-[0-9a-f]{{8}})?(@\d+)?", name) is not None


@dataclass(frozen=True, kw_only=True)
class MetricValue:
    """One measured value; without a value it says why there is none.

    Attributes:
        name: Name of the value: the metric's own, or e.g. ``sampling_latency_p95``; see
            `is_main_value`.
        value: The value; None unless ``status`` is ``ok``. Never NaN.
        direction: As in `MetricSpec`.
        status: ``unavailable`` if it cannot be had here, ``failed`` if computing it went wrong.
        reason: Why there is no value, and what would give one.
        split: The data it was measured on.
        num_examples: How many examples or repeats the value is a mean (or quantile) of.
        stderr: Standard error of the value over those examples.
        protocol: Everything else that two values must share to be compared.

    Example:
        >>> MetricValue(name="nll", value=1.2, unit="nats", direction="lower").status
        'ok'
    """

    name: str
    value: float | None
    unit: str
    direction: Direction
    status: Literal["ok", "unavailable", "failed"] = "ok"
    reason: str | None = None
    split: SplitName | None = None
    num_examples: int | None = None
    stderr: float | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def unavailable(cls, spec: MetricSpec, reason: str, name: str | None = None) -> MetricValue:
        """A value that cannot be had here.

        Args:
            reason: Why, and what would give one.
            name: Name of the value, if not the metric's own.

        Returns:
            The value with status ``unavailable``.
        """
        return cls(
            name=name or spec.name,
            value=None,
            unit=spec.unit,
            direction=spec.direction,
            status="unavailable",
            reason=reason,
        )
