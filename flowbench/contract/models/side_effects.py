"""A model changes nothing but what it is asked to change."""

from __future__ import annotations

import torch

from flowbench.api.models import DensityModel, GenerativeModel
from flowbench.contract.checks import Check, Finding, failed, passed
from flowbench.contract.models.subject import ModelSubject, draw, generator, loss, step
from flowbench.contract.process_state import ProcessState, seed_globals

NUM = 4


def check_process(subject: ModelSubject) -> Finding:
    """Settings stay as they are; only training may draw from the global generators."""
    before = ProcessState.take()
    model = subject.construct().eval()  # dropout takes no generator
    seed_globals()  # another state than a plugin that seeds them would leave
    inherited = ProcessState.take()
    subject.initialize(model)
    _evaluate(subject, model)
    moved = inherited.advanced_generators()
    train_once(subject, model)
    changed = before.changed_settings()
    if changed:
        return failed("; ".join(changed))
    if moved:
        return failed(
            "initialize, log_prob or sample drew from or seeded "
            f"{' and '.join(moved)} global generator"
        )
    return passed("settings and global generators are as they were")


def check_inputs(subject: ModelSubject) -> Finding:
    """Evaluating changes neither its inputs nor the model."""
    model = subject.build()
    inputs = subject.inputs(NUM)
    x, state = inputs.x.clone(), {k: v.clone() for k, v in model.state_dict().items()}
    if isinstance(model, DensityModel):
        with torch.no_grad():
            model.log_prob(inputs.x, inputs.context, generator=generator(0))
        if not torch.equal(x, inputs.x):
            return failed("log_prob changed its input x in place")
    _evaluate(subject, model)
    if model.training or any(module.training for module in model.modules()):
        return failed("log_prob or sample put modules into training mode")
    now = model.state_dict()
    changed = [k for k, v in state.items() if not torch.equal(v, now[k])]
    if changed:
        return failed(f"log_prob or sample changed {changed[0]!r} in eval mode")
    return passed("x, weights, buffers and mode are as they were")


@torch.no_grad()
def _evaluate(subject: ModelSubject, model: GenerativeModel) -> None:
    inputs = subject.inputs(NUM)
    if isinstance(model, DensityModel):
        model.log_prob(inputs.x, inputs.context, generator=generator(0))
    draw(subject, model, NUM, generator(0))


def train_once(subject: ModelSubject, model: GenerativeModel) -> None:
    """One backward pass of every group in training mode, without a step of an optimizer.

    Args:
        subject: Gives the batch.
        model: The model; left in eval mode.
    """
    model.train()
    for group in model.optimizer_groups():
        loss(model, subject.batch(NUM), step(group)).backward()
    model.eval()


INPUTS = Check(
    name="inputs",
    asks="log_prob and sample change neither x nor weights, buffers or mode",
    look_at="in-place operations on x (x -= ..., x[...] = ..., .add_), running statistics that are "
    "updated in eval mode, calls of train()",
    run=check_inputs,
    needs=("shapes",),
)

PROCESS = Check(
    name="process_state",
    asks="default dtype, threads, gradient mode and global random generators are left alone",
    look_at="torch.manual_seed, torch.set_*, and noise drawn without `generator=generator`",
    run=check_process,
    needs=("determinism",),
)
