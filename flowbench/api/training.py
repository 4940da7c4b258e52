"""How a model is trained; all schedules are functions of the progress of the budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from flowbench.api.frozen import Frozen


class Phase(Frozen):
    """A stretch of training with its own learning rate.

    Attributes:
        share: Part of the budget, in (0, 1]; those of all phases sum to 1.
        lr: Peak learning rate; None keeps that of `Training`.
        schedule: Shape over the phase, from the peak. ``cosine``, ``linear``, ``polynomial`` (as
            ``1 - progress`` to a power) and ``exponential`` (by equal factors in equal times) end
            at ``final_lr_ratio`` of it; ``step`` falls at ``drops``.
        warmup: Part of the phase in which the rate rises linearly from 0.
        final_lr_ratio: Final learning rate as a part of the peak; above 0 for ``exponential``.
        power: Exponent of ``polynomial``; 1 is ``linear``.
        drops: Parts of the phase, warm-up included, after which ``step`` falls once more.
        drop_ratio: Factor of each fall of ``step``.
        groups: Optimizer groups that step in this phase; None takes all.
        restart: Whether moments, average and best weights start anew with this phase.

    Example:
        >>> Training(phases=(Phase(share=0.9), Phase(share=0.1, lr=2e-5))).phases[1].lr
        2e-05
    """

    share: float = Field(default=1.0, gt=0, le=1)
    lr: float | None = Field(default=None, gt=0)
    schedule: Literal["constant", "cosine", "linear", "polynomial", "exponential", "step"] = (
        "cosine"
    )
    warmup: float = Field(default=0.02, ge=0, lt=1)
    final_lr_ratio: float = Field(default=0.0, ge=0, le=1)
    power: float = Field(default=2.0, gt=0)
    drops: tuple[float, ...] = (0.5, 0.75)
    drop_ratio: float = Field(default=0.1, gt=0, lt=1)
    groups: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    restart: bool = False

    def trains(self, group: str) -> bool:
        """Whether an optimizer group steps in this phase."""
        return self.groups is None or group in self.groups

    @model_validator(mode="after")
    def _has_an_end(self) -> Phase:
        if self.schedule == "exponential" and self.final_lr_ratio == 0:
            raise ValueError(
                "an exponential schedule never reaches 0; set final_lr_ratio above 0, e.g. 0.01"
            )
        if not all(0 < drop < 1 for drop in self.drops):
            raise ValueError(f"drops are parts of the phase between 0 and 1, got {self.drops}")
        return self


class Group(Frozen):
    """How one optimizer group differs from the rest of the training.

    Attributes:
        every: It steps at the last of so many steps, and does not move before.
        lr_scale: Factor on the learning rate.
        betas: In place of those of `Training`; None keeps them.
        weight_decay: In place of that of `Training`; None keeps it.

    Example:
        >>> Group(every=5, lr_scale=0.1).every
        5
    """

    every: int = Field(default=1, ge=1)
    lr_scale: float = Field(default=1.0, gt=0)
    betas: tuple[float, float] | None = None
    weight_decay: float | None = Field(default=None, ge=0)


ALIKE = Group()
"""An optimizer group that nothing sets apart."""


class Ema(Frozen):
    """An exponential moving average of the weights, beside them.

    Attributes:
        decay: Largest decay of a step, in (0, 1); the first steps have a smaller one.
        half_life_examples: Training examples after which a step counts half, in place of
            ``decay``: the same average whatever the batch size.

    Example:
        >>> Training(average=Ema(decay=0.999)).average
        Ema(decay=0.999, half_life_examples=None)
        >>> Ema(half_life_examples=640).decay_of(batch_size=64)  # half after ten steps
        0.9330329915368074
    """

    decay: float | None = Field(default=None, gt=0, lt=1)
    half_life_examples: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _says_how_fast(self) -> Ema:
        if (self.decay is None) == (self.half_life_examples is None):
            raise ValueError("an average needs its decay, e.g. 0.999, or its half_life_examples")
        return self

    def decay_of(self, batch_size: int) -> float:
        """The largest decay of a step.

        Args:
            batch_size: Examples in an optimizer step.
        """
        if self.decay is not None:
            return self.decay
        return float(0.5 ** (batch_size / (self.half_life_examples or batch_size)))


class LastK(Frozen):
    """The plain mean of the last weights of training, taken at regular distances.

    Attributes:
        count: Number of weights that the mean is over, at least 2.
        every: Optimizer steps between two of them.

    Example:
        >>> LastK(count=10, every=500).count
        10
    """

    count: int = Field(ge=2)
    every: int = Field(ge=1)


Precision = Annotated[
    Literal["float32", "tf32", "bfloat16"],
    BeforeValidator(lambda given: "bfloat16" if given == "bf16" else given),
]
Augmentation = Literal["horizontal_flip", "shift", "shift_tenth", "shift_tenth_zeros"]


class Training(Frozen):
    """How a model is trained. All schedules are functions of the budget's progress.

    Attributes:
        batch_size: Examples in an optimizer step.
        accumulate: Equal parts in which they go through the model, one after the other, to take
            less memory; the gradient is that of all of them. It divides ``batch_size``.
        optimizer: Name in lower case of a class of `torch.optim`.
        lr: Peak learning rate.
        betas: First- and second-moment decay (``sgd`` and ``rmsprop`` take the first as momentum).
        weight_decay: Decoupled for ``adamw``, an L2 term in the gradient for the others.
        clip_norm: Largest global gradient norm; None does not clip.
        groups: What sets single optimizer groups apart, by their names.
        average: The averaged weights that are kept beside the raw ones; None keeps none.
        select: Which weights are kept: those of the best validation ``likelihood`` (the last, for
            a model without one), of the best validation ``loss``, which is that of the end of
            training with the same noise at each look, or the ``last``.
        precision: Of the forward pass in training: ``float32``; ``tf32``, which is faster on CUDA
            and the same elsewhere; or ``bfloat16`` (also ``bf16``) where autocast holds it safe.
            Likelihoods are always evaluated in float32.
        phases: Stretches of training; their shares sum to 1.
        augment: Applied to training batches alone: ``horizontal_flip`` of half of the images,
            ``shift`` by up to 4 % of their size and ``shift_tenth`` by up to 10 %, edges repeated,
            ``shift_tenth_zeros`` by up to 10 %, with zeros in the place of what is not known.
        init_examples: Training examples given to ``initialize``; None gives the whole train split.
        window: Length of the segments that training examples of different lengths are cut to; None
            takes the dataset's. Samples have this length too.
        anneal: Where models are fitted to a target: part of the training over which its log-density
            comes in, linearly, so that no mode is settled on before the others are found.
        max_nonfinite: Steps in a row without a finite loss and gradient before the run counts as
            diverged.
        compile: Compile the loss with `torch.compile`.
        graph: Record a training step as a CUDA graph, and replay it.
        channels_last: Lay out 2-D convolutions channels last, which tensor cores of GPUs take
            without a copy. Models that win by it on a CPU have it without being asked.

    Example:
        >>> Training(batch_size=128, lr=2e-3, clip_norm=1.0, average=Ema(decay=0.99)).optimizer
        'adam'
    """

    batch_size: int = Field(default=64, ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimizer: Literal["adam", "adamw", "adamax", "sgd", "rmsprop"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)
    groups: Mapping[str, Group] = Field(default_factory=dict)
    average: Ema | LastK | None = None
    select: Literal["likelihood", "loss", "last"] = "likelihood"
    precision: Precision = "float32"
    phases: tuple[Phase, ...] = (Phase(),)
    augment: tuple[Augmentation, ...] = ()
    init_examples: int | None = Field(default=256, ge=1)
    window: int | None = Field(default=None, ge=1)
    anneal: float = Field(default=0.5, ge=0, le=1)
    # In a row: single bad steps are skipped, and happen in trainings that end well.
    max_nonfinite: int = Field(default=50, ge=1)
    compile: bool = False
    graph: bool = False
    channels_last: bool = False

    def apart(self, group: str) -> Group:
        """What sets an optimizer group apart; by default nothing."""
        return self.groups.get(group, ALIKE)

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Training:
        # Parts of another size would each be compiled for, and count otherwise in a mean.
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate is {self.accumulate}, which does not divide a batch of "
                f"{self.batch_size}"
            )
        return self

    @model_validator(mode="after")
    def _a_graph_stands_alone(self) -> Training:
        for name, is_set in (("compile", self.compile), ("accumulate", self.accumulate > 1)):
            if self.graph and is_set:
                raise ValueError(f"graph does not go with {name}; set one of the two")
        return self

    @model_validator(mode="after")
    def _phases_fill_the_budget(self) -> Training:
        total = sum(phase.share for phase in self.phases)
        # Shares such as 0.95 and 0.05 do not add up to 1 exactly in floating point.
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the shares of the phases sum to {total:g}, they must sum to 1")
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
    # `and` keeps None: version 1 stated that there was no average.
    return {**config, "training": training | {"average": decay and {"decay": decay}}}
