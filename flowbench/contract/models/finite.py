"""Likelihoods and samples that are numbers: at the start, and after a few steps of training."""

from __future__ import annotations

import torch

from flowbench.api.models import DensityModel, GenerativeModel
from flowbench.contract.checks import Check, Finding, failed, passed
from flowbench.contract.models.subject import ModelSubject, draw, generator, log_prob
from flowbench.errors import NonFiniteLossError

NUM_STEPS, LIMIT_S = 12, 8.0  # most learning rates that explode do so within ten steps
NUM_EXAMPLES = 16


def check_finite(subject: ModelSubject) -> Finding:
    """Likelihoods and samples are finite at the start."""
    problem = _problem(subject, subject.build())
    return passed("at the start") if problem is None else failed(f"at the start, {problem}")


def check_training(subject: ModelSubject) -> Finding:
    """Likelihoods and samples are finite after a few training steps."""
    try:
        model = subject.trained(NUM_STEPS, LIMIT_S)
    except NonFiniteLossError as exc:
        return failed(f"in training: {exc}")
    problem = _problem(subject, model)
    if problem is not None:
        return failed(f"after {NUM_STEPS} training steps, {problem}")
    return passed(f"finite after {NUM_STEPS} steps of its own training settings")


@torch.no_grad()
def _problem(subject: ModelSubject, model: GenerativeModel) -> str | None:
    bad_weights = [n for n, p in model.named_parameters() if not p.isfinite().all()]
    if bad_weights:
        return f"{len(bad_weights)} parameters are not finite, the first is {bad_weights[0]}"
    if isinstance(model, DensityModel):
        inputs = subject.inputs(NUM_EXAMPLES)
        values = log_prob(model, inputs, generator(0))
        num_bad = int((~values.isfinite()).sum())
        if num_bad:
            return f"log_prob of {num_bad} of {NUM_EXAMPLES} test examples is not finite"
    x = draw(subject, model, NUM_EXAMPLES, generator(0))
    return None if bool(x.isfinite().all()) else "samples hold values that are not finite"


CHECKS = (
    Check(
        name="finite",
        asks="log_prob and samples are finite at the start",
        look_at="log or division at 0, exp of an unbounded scale, and `initialize`",
        run=check_finite,
        needs=("shapes",),
    ),
    Check(
        name="training",
        asks="log_prob and samples are finite after a few training steps",
        look_at="the learning rate and clip_norm of the preset, exp of an unbounded scale, and "
        "after_step",
        run=check_training,
        needs=("finite",),
        slow=True,
    ),
)
