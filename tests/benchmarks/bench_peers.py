"""Training steps and samples of vector flows beside those of zuko, nflows and normflows.

    python -m tests.benchmarks.bench_peers
    python -m tests.benchmarks.bench_peers --cases maf/zuko-maf --dims 16 --profile

Needs flowbench-peers, which wraps the libraries. Both sides have five transformations and networks
of two layers of 64 units (parameters are printed), see the same batch and take the same step:
gradients to zero, loss, backward, clipping, Adam. A ratio is our time / theirs, so more than 1
means that ours is slower. With ``--profile`` follows what our step and our sample spend most on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.profiler import profile

from flowbench.api import Batch, DatasetInfo, InvertibleModel, SamplingOptions, Step
from flowbench.api.models import split_info
from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.build import build_model
from flowbench.registry.configs import configure
from flowbench.training.optim import GuardedStep
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

MAF = {"transforms": 5, "width": 64, "layers": 2}
SPLINES = {"steps": 5, "width": 64, "blocks": 2, "bins": 8, "training.average": None}
OURS: dict[str, dict[str, Any]] = {
    "maf": MAF | {"training.average": None},
    "iaf": MAF | {"training.average": None},
    "realnvp": {"couplings": 5, "width": 64, "blocks": 2, "training.average": None},
    "nsf:vector": SPLINES,
    "nsf:vector-ar": SPLINES,
}
CASES = (
    "realnvp/normflows-realnvp",
    "maf/zuko-maf",
    "maf/nflows-maf",
    "nsf:vector/nflows-rqnsf-c",
    "nsf:vector/normflows-nsf",
    "nsf:vector-ar/zuko-nsf",
    "nsf:vector-ar/nflows-rqnsf-ar",
)
BATCH, MOST_SHOWN = 256, 12

Run = Callable[[], object]


def info(dims: int) -> DatasetInfo:
    """Facts of a table of real values."""
    return DatasetInfo(
        name="noise",
        modality="vector",
        event_shape=(dims,),
        levels=None,
        num_train=1000,
        num_validation=1,
        num_test=1,
    )


def built(choice: str, dims: int) -> InvertibleModel:
    """A model of one size."""
    # By its file: it need not be installed, only to be found.
    spec = find_spec("flowbench_peers.plugin")
    assert spec is not None
    assert spec.origin is not None
    registry = load_registry(PluginSelection(only=("flowbench",), files=(Path(spec.origin),)))
    data = info(dims)
    config = configure(registry, choice, data, OURS.get(choice, {})).config.model_dump(mode="json")
    model = build_model(registry, choice.partition(":")[0], config, data)
    assert isinstance(model, InvertibleModel)
    with torch.no_grad():
        model.initialize(Batch(x=batch_of(dims)), generator=torch.Generator())
    return model


def batch_of(dims: int) -> torch.Tensor:
    """Standardised data, the same for both sides."""
    return torch.randn(BATCH, dims, generator=torch.Generator().manual_seed(0))


def training_step(model: InvertibleModel, dims: int) -> Run:
    """A step of the harness's optimizer."""
    guarded = GuardedStep(model.config.training, model.optimizer_groups()["all"])
    batch, generator = Batch(x=batch_of(dims)), torch.Generator()
    step = Step(progress=torch.zeros(()), phase=0, group="all", generator=generator, seed=0)

    def run() -> None:
        guarded.zero_grad()
        loss = split_info(model.loss(batch, step))[0]
        loss.backward()
        guarded(1e-3, loss.detach())

    return run


def sample(model: InvertibleModel) -> Run:
    """A batch of samples."""
    generator = torch.Generator()

    @torch.no_grad()
    def run() -> object:
        return model.sample(BATCH, settings=SamplingOptions(), generator=generator)

    return run


def measured(case: str, dims: int, rounds: int, *, profiled: bool) -> list[Ratio]:
    """Both ratios of a pair."""
    ours, theirs = (built(choice, dims) for choice in case.split("/"))
    counts = f"{ours.num_parameters():,} and {theirs.num_parameters():,} parameters"
    runs = {
        "step": [training_step(model, dims) for model in (ours, theirs)],
        "sample": [sample(model) for model in (ours, theirs)],
    }
    ratios = []
    for name, pair in runs.items():
        ours_s, theirs_s = take_turns(*pair, rounds=rounds)
        ratios.append(Ratio.of(f"{name} {case}, {dims} dims", ours_s, theirs_s))
        print(f"{ratios[-1]}; {1e3 * ours_s.min():.2f} ms; {counts}", flush=True)
        if profiled:
            with profile() as seen:
                for _ in range(10):
                    pair[0]()
            averages = seen.key_averages()
            print(averages.table(sort_by="self_cpu_time_total", row_limit=MOST_SHOWN))
    return ratios


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Measures all cases; see the module's head."""
    parser = argument_parser(__doc__, rounds=100)
    parser.add_argument("--cases", nargs="+", default=CASES, help="OURS/THEIRS")
    parser.add_argument("--dims", type=int, default=2)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    return [
        ratio
        for case in options.cases
        for ratio in measured(case, options.dims, options.rounds, profiled=options.profile)
    ]


if __name__ == "__main__":
    main()
