"""A model is its state_dict: nothing else is kept when a run is saved or resumed."""

from __future__ import annotations

import torch
from torch import Tensor

from flowbench.api.models import DensityModel, GenerativeModel
from flowbench.contract.checks import Check, Finding, within
from flowbench.contract.models.subject import ModelSubject, draw, generator, log_prob
from flowbench.contract.models.tolerances import SAME_FLOAT32, relative_error, same

NUM = 6
NUM_STEPS, LIMIT_S = 2, 4.0  # until buffers have moved off their start


def check_state(subject: ModelSubject) -> Finding:
    """A trained model's state_dict, put into a new model, gives the same values."""
    trained = subject.trained(NUM_STEPS, LIMIT_S)
    restored = subject.construct(seed=99)
    restored.load_state_dict(trained.state_dict())
    restored.eval()
    errors = [
        relative_error(a, b)
        for a, b in zip(_outputs(subject, restored), _outputs(subject, trained), strict=True)
    ]
    tolerance = same(subject.kind, SAME_FLOAT32)
    return within(max(errors), tolerance, "relative change of log_prob and samples")


@torch.no_grad()
def _outputs(subject: ModelSubject, model: GenerativeModel) -> list[Tensor]:
    x = draw(subject, model, NUM, generator(0))
    if not isinstance(model, DensityModel):
        return [x.double()]
    inputs = subject.inputs(NUM)
    values = log_prob(model, inputs, generator(0))
    return [x.double(), values.double()]


CHECKS = (
    Check(
        name="state",
        asks="load_state_dict into a new model of another seed gives the same log_prob and samples",
        look_at="what initialize() or training sets as a plain attribute (register_buffer it), "
        "buffers with persistent=False that depend on data or seed, random permutations",
        run=check_state,
        needs=("finite", "determinism", "process_state"),
    ),
)
