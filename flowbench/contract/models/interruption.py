"""What a model makes for itself at the start of a phase survives an interruption."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowbench.api.models import GenerativeModel, PhaseStart
from flowbench.contract.checking.checks import DoesNotApplyError, Finding, check, within
from flowbench.contract.models.brief_training import Nobody, train
from flowbench.contract.models.subject import ModelSubject
from flowbench.contract.models.tolerances import SAME_FLOAT32, relative_error, same
from flowbench.training.checkpoint import load_checkpoint, save_checkpoint
from flowbench.training.observer import Preempted

NUM_STEPS = 4  # a phase of a few per cent may be passed over, but is begun all the same


@check(
    "training_state() and load_training_state(): all that begin_phase() makes and loss() reads",
    needs=("finite", "determinism", "state"),
)
def interruption(subject: ModelSubject) -> Finding:
    """A training that is cut in begin_phase() or after it goes on to the same weights.

    Raises:
        DoesNotApplyError: It makes nothing there.
    """
    if subject.model_class.begin_phase is GenerativeModel.begin_phase:
        raise DoesNotApplyError("it makes nothing at the start of a phase")
    expected = _weights(_trained(subject, Nobody()))
    errors = []
    for is_in_phase in (True, False):
        cut = _Cut(is_in_phase)
        try:
            _trained(subject, cut)
        except Preempted:
            resumed = _trained(subject, Nobody(), cut.state)
            errors.append(relative_error(_weights(resumed), expected))
    return within(max(errors), same(subject.kind, SAME_FLOAT32), "relative change of weights")


def _trained(
    subject: ModelSubject, observer: Nobody, state: dict[str, Any] | None = None
) -> GenerativeModel:
    model, split = subject.build(), subject.case.splits.train
    if isinstance(observer, _Cut):
        vars(model)["begin_phase"] = observer.around(model.begin_phase)
    train(model, subject.preprocessor(), split, NUM_STEPS, observer=observer, state=state)
    return model


def _weights(model: GenerativeModel) -> Tensor:
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


class _Cut(Nobody):
    """Stops a training in the last phase that is begun, or at the step after it.

    Args:
        is_in_phase: Whether that is while the phase is begun, where the model ticks then.
    """

    def __init__(self, is_in_phase: bool) -> None:
        self.state: dict[str, Any] = {}
        self._is_in_phase, self._begins, self._begun = is_in_phase, False, 0

    def around(self, begin_phase: Callable[[PhaseStart], None]) -> Callable[[PhaseStart], None]:
        """The same, told to this observer."""

        def begun(start: PhaseStart) -> None:
            self._begins = True
            begin_phase(start)
            self._begins, self._begun = False, self._begun + 1

        return begun

    def tick(self, step: int, progress: float) -> bool:
        """Whether to stop here."""
        del step, progress
        return self._begins if self._is_in_phase else self._begun > 0

    def save(self, state: dict[str, Any]) -> None:
        """Keeps the state as a checkpoint does, which takes tensors and plain data alone."""
        with tempfile.TemporaryDirectory(prefix="flowbench-") as folder:
            save_checkpoint(Path(folder) / "state", state)
            self.state = load_checkpoint(Path(folder) / "state")
