"""A model is its state_dict: nothing else is kept when a run is saved or resumed."""

from __future__ import annotations

from flowbench.contract.checking.checks import Finding, check, within
from flowbench.contract.models.subject import ModelSubject, outputs
from flowbench.contract.models.tolerances import SAME_FLOAT32, relative_error, same

NUM = 6
NUM_STEPS, LIMIT_S = 2, 4.0  # until buffers have moved off their start


@check(
    "what initialize() or training sets as a plain attribute (register_buffer it), "
    "buffers with persistent=False that depend on data or seed, random permutations",
    needs=("finite", "determinism", "process_state"),
)
def state(subject: ModelSubject) -> Finding:
    """load_state_dict into a new model of another seed gives the same log_prob and samples."""
    trained = subject.trained_for(NUM_STEPS, LIMIT_S)
    restored = subject.construct(seed=99)
    restored.load_state_dict(trained.state_dict())
    restored.eval()
    expected = outputs(subject, trained, NUM)
    errors = [
        relative_error(values.double(), expected[method].double())
        for method, values in outputs(subject, restored, NUM).items()
    ]
    tolerance = same(subject.kind, SAME_FLOAT32)
    return within(max(errors), tolerance, "relative change of log_prob and samples")
