"""Likelihoods and samples that are numbers: at the start, and after some training."""

from __future__ import annotations

from flowbench.api.models import GenerativeModel
from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.models.subject import NUM_STEPS, TRAINING_LIMIT_S, ModelSubject, outputs
from flowbench.errors import NonFiniteLossError

NUM_EXAMPLES = 16


@check(
    "log or division at 0, exp of an unbounded scale, and `initialize`",
    needs=("shapes",),
)
def finite(subject: ModelSubject) -> Finding:
    """log_prob and samples are finite at the start."""
    problem = _problem(subject, subject.build())
    return passed("at the start") if problem is None else failed(f"at the start, {problem}")


@check(
    "the learning rate and clip_norm of the preset, exp of an unbounded scale, and after_step",
    needs=("finite",),
    slow=True,
    cases="main",
)
def training(subject: ModelSubject) -> Finding:
    """log_prob and samples are finite after some hundred training steps."""
    try:
        model = subject.trained()
    except NonFiniteLossError as exc:
        return failed(f"in training: {exc}")
    problem = _problem(subject, model)
    if problem is not None:
        return failed(f"after training, {problem}")
    return passed(
        f"finite after {NUM_STEPS} steps, or {TRAINING_LIMIT_S:g} s, of its own training settings"
    )


def _problem(subject: ModelSubject, model: GenerativeModel) -> str | None:
    bad_weights = [n for n, p in model.named_parameters() if not p.isfinite().all()]
    if bad_weights:
        return f"{len(bad_weights)} parameters are not finite, the first is {bad_weights[0]}"
    for method, values in outputs(subject, model, NUM_EXAMPLES).items():
        num_bad = int((~values.isfinite().reshape(len(values), -1).all(dim=1)).sum())
        if num_bad:
            return f"{method} is not finite in {num_bad} of {NUM_EXAMPLES} rows"
    return None
