"""What a dataset's spec says, before any data are read."""

from __future__ import annotations

from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.datasets.subject import DatasetSubject

# Of one example: (C, H, W), (D,), (C, T).
AXES = {"image": 3, "vector": 1, "audio": 2, "sequence": 2, "manifold": 1}


@check(
    "the DatasetSpec",
)
def facts(subject: DatasetSubject) -> Finding:
    """Shape, levels, counts, classes and licence of the spec fit one another."""
    spec = subject.spec
    shape = "x".join(map(str, spec.event_shape))
    if len(spec.event_shape) != AXES[spec.modality] or min(spec.event_shape, default=0) < 1:
        return failed(f"event_shape {shape} of a {spec.modality} needs {AXES[spec.modality]} axes")
    if spec.levels is not None and spec.levels < 2:
        return failed(f"levels is {spec.levels}; expected 2 or more, or None for real values")
    if min(spec.num_train, spec.num_test) < 1 or spec.num_validation == 0:
        return failed("a split without examples; leave num_validation None if there is none")
    if "label" in spec.context and spec.num_classes is None:
        return failed("the context 'label' has no num_classes; give its ContextInput one")
    if not spec.summary or not spec.licence:
        return failed("summary and licence are what a reader of a board asks first; give both")
    return passed(f"{spec.num_train:,} + {spec.num_test:,} examples of {shape}, {spec.licence}")
