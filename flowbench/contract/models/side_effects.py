"""A model changes nothing but what it is asked to change."""

from __future__ import annotations

import torch

from flowbench.api.models import DensityModel
from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.models.subject import ModelSubject, log_probs, loss, outputs, step
from flowbench.registry.containment import Kept
from flowbench.training.seeds import seed_globals

NUM = 4


@check(
    "torch.manual_seed, torch.set_*, and noise drawn without `generator=generator`",
    needs=("determinism",),
)
def process_state(subject: ModelSubject) -> Finding:
    """Default dtype, threads, gradient mode and global random generators are left alone."""
    settings = Kept.settings()
    model = subject.construct().eval()  # dropout takes no generator
    seed_globals()  # another state than a plugin that seeds them would leave
    generators = Kept.generators()
    # Not the constructor, which may draw its weights from torch's global generator, as layers do.
    subject.initialize(model)
    outputs(subject, model, NUM)
    moved = generators.put_back()
    model.train()
    for group in model.optimizer_groups():
        loss(model, subject.batch(NUM), step(group)).backward()
    changed = settings.put_back()
    if changed:
        return failed(f"the model changed {', '.join(changed)}")
    if moved:
        return failed(
            f"initialize, log_prob or sample drew from or seeded {' and '.join(moved)}, which "
            "is global"
        )
    return passed("settings and global generators are as they were")


@check(
    "in-place operations on x (x -= ..., x[...] = ..., .add_), running statistics that are "
    "updated in eval mode, calls of train()",
    needs=("shapes",),
)
def inputs(subject: ModelSubject) -> Finding:
    """log_prob and sample change neither x nor weights, buffers or mode."""
    model = subject.build()
    examples = subject.inputs(NUM)
    x, state = examples.x.clone(), {k: v.clone() for k, v in model.state_dict().items()}
    if isinstance(model, DensityModel):
        log_probs(model, examples)
        if not torch.equal(x, examples.x):
            return failed("log_prob changed its input x in place")
    outputs(subject, model, NUM)
    if model.training or any(module.training for module in model.modules()):
        return failed("log_prob or sample put modules into training mode")
    now = model.state_dict()
    changed = [k for k, v in state.items() if not torch.equal(v, now[k])]
    if changed:
        return failed(f"log_prob or sample changed {changed[0]!r} in eval mode")
    return passed("x, weights, buffers and mode are as they were")
