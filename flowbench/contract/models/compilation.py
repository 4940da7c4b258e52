"""The loss goes through `torch.compile` in one piece, and nothing of a step is frozen into it."""

from __future__ import annotations

import copy
import warnings

import torch

from flowbench.api.models import GenerativeModel, Step, split_info
from flowbench.contract.checking.checks import Finding, check, failed, passed, skipped, within
from flowbench.contract.models.subject import ModelSubject, loss
from flowbench.contract.models.tolerances import SAME_FLOAT32, relative_error

NUM = 4
PROGRESS = (0.0, 1.0, 0.4)  # the graph is traced at the first of them


@check(
    "Python that reads tensors (float(), .item(), if on a tensor), step.generator used "
    "other than as `generator=step.generator`; or set full_graph = False and "
    "full_graph_reason in the config class",
    needs=("shapes", "finite", "inputs", "process_state", "gradients"),
    slow=True,
    cases="main",
)
def full_graph(subject: ModelSubject) -> Finding:
    """Torch.compile takes the loss as one graph, and a step's progress is not frozen in it."""
    config = subject.config
    if not config.full_graph:
        if not config.full_graph_reason:
            return failed("`full_graph` is False without a `full_graph_reason`")
        return skipped(f"the loss is not one graph: {config.full_graph_reason}")
    plain = subject.perturbed().train()
    groups = plain.optimizer_groups()
    if not groups:
        return passed("nothing is trained")
    # A copy, since buffers that the loss moves must move from the same start in both.
    compiled = copy.deepcopy(plain)
    torch._dynamo.reset()  # no graph of another model counts against this one
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dynamo's, about what it traces
            error = max(_difference(subject, plain, compiled, group) for group in groups)
    except torch._dynamo.exc.TorchDynamoException as exc:
        return failed(f"torch.compile(loss, fullgraph=True): {_first_line(exc)}")
    finally:
        torch._dynamo.reset()
    return within(error, SAME_FLOAT32, f"relative change by compiling, at progress {PROGRESS}")


def _difference(
    subject: ModelSubject, plain: GenerativeModel, compiled: GenerativeModel, group: str
) -> float:
    """Largest difference of the two models' losses; what a loss changes, it changes in both."""
    batch = subject.batch(NUM)
    # The backend `eager` runs the graph as it was traced: what is asked about is the tracing.
    graph = torch.compile(compiled.loss, fullgraph=True, backend="eager")
    errors = []
    for seed, progress in enumerate(PROGRESS):
        # Without a generator, as the runner calls a compiled loss: no graph takes one.
        at = Step(progress=torch.tensor(progress), phase=0, group=group, generator=None, seed=seed)
        # The noise then comes from the global generator.
        torch.manual_seed(seed)
        expected = loss(plain, batch, at)
        torch.manual_seed(seed)
        errors.append(relative_error(split_info(graph(batch, at))[0], expected))
    return max(errors)


def _first_line(exc: Exception) -> str:
    return next((line.strip() for line in str(exc).splitlines() if line.strip()), repr(exc))
