"""Every model's loss is one graph, called as the harness calls it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowbench.api import Batch, DatasetInfo, GenerativeModel, Step
from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.build import build_model
from flowbench.registry.configs import configure
from tests.plugins.flowbench_models.loss_curves import PLANAR, SMALL, SPEECH, SPHERE, TEXT

REGISTRY = load_registry(PluginSelection(only=("flowbench",)))

# More layers of a kind show nothing that fewer do not, and each takes a while to trace.
SHALLOW: dict[str, dict[str, Any]] = {
    "anf": {"pairs": 1},
    "denseflow": {"units": [2, 1], "modules": [1, 1]},
    "flowpp": {"steps": [1, 1]},
    "glow": {"steps": 2},
    "iaf": {"transforms": 1},
    "jet": {"couplings": 5},
    "macow": {"levels": {"steps": [[1], [1], [1]], "factors": [4], "widths": [16, 48, 48]}},
    "mar-scf": {"steps": 1},
    "mintnet": {"layers": 2},
    "nanoflow": {"steps": 2},
    "realnvp": {"couplings": 2},
    "rqnsf": {"steps": 2},
    "survae": {"steps": 2},
    "vflow": {"steps": [1, 1]},
    "wavelet-flow": {"steps": [1, 1, 1, 1]},
}
GLOW = {"levels": 2, "width": 4}
NANOFLOW = {"levels": 2, "width": 4}
RESNET = {"network": "resnet", "width": 4, "blocks": 1, "scales": 1, "dropout": 0.2}
DENSEFLOW = {"width": 4, "dense_growth": 2}
CONVOLUTIONAL = {**DENSEFLOW, "coupling": "convolutional"}
UNIFORM = {**DENSEFLOW, "dequantization": "uniform", "logit_alpha": None, "noise": "white"}
TARFLOW = {"blocks": 2, "layers": 1, "width": 8, "head_dim": 4}

Variant = tuple[str, DatasetInfo, dict[str, Any]]

FORMS = (SMALL, PLANAR, TEXT, SPHERE, SPEECH)
DEFAULTS: dict[str, Variant] = {
    f"{name} as it comes": (
        name,
        next(data for data in FORMS if data.modality in entry.spec.modalities),
        {},
    )
    for name, entry in REGISTRY.models.items()
}
VARIANTS: dict[str, Variant] = {
    "realnvp of vectors": ("realnvp", PLANAR, {}),
    "maf, batch norm": ("maf", PLANAR, {"norm": "batch", "width": 8, "dropout": 0.2}),
    "iaf of vectors": ("iaf", PLANAR, {"width": 8, "transforms": 2}),
    "nsf, couplings": ("nsf", PLANAR, {"width": 8, "dropout": 0.2}),
    "nsf, autoregressive": ("nsf", PLANAR, {"width": 8, "transform": "autoregressive"}),
    "rqnsf, batch norm": ("rqnsf", SMALL, {"width": 4, "batch_norm": True, "dropout": 0.2}),
    "rqnsf, affine": ("rqnsf", SMALL, {"width": 4, "coupling": "affine"}),
    "realnvp, residual": ("realnvp", SMALL, RESNET),
    "realnvp, batch norm": ("realnvp", SMALL, {**RESNET, "norm": "batch"}),
    "glow, additive": ("glow", SMALL, {**GLOW, "coupling": "additive", "permutation": "full"}),
    "glow, recomputed": ("glow", SMALL, {**GLOW, "checkpointing": True}),
    "nanoflow, one projection": (
        "nanoflow",
        SMALL,
        {**NANOFLOW, "shared_projection": True, "embedding": 0},
    ),
    "denseflow, dropout": ("denseflow", SMALL, {**DENSEFLOW, "dropout": 0.2}),
    "denseflow, faithful": ("denseflow", SMALL, {**DENSEFLOW, "attention": "faithful"}),
    "denseflow, uniform": ("denseflow", SMALL, UNIFORM),
    "denseflow, recomputed": ("denseflow", SMALL, {**CONVOLUTIONAL, "checkpointing": True}),
    "tarflow, labelled": ("tarflow", SMALL, {**TARFLOW, "class_conditional": True}),
    "tarflow, recomputed": ("tarflow", SMALL, {**TARFLOW, "checkpointing": True}),
    "tarflow, couplings": ("tarflow", SMALL, {**TARFLOW, "block": "coupling"}),
    "tarflow, only shifts": ("tarflow", SMALL, {**TARFLOW, "volume_preserving": True}),
}
CASES = DEFAULTS | VARIANTS
# Recomputing under the eager backend draws another dropout, which no backend in use does.
BACKENDS = {"glow, recomputed": "aot_eager"}


def _model(
    name: str, data: DatasetInfo, overrides: dict[str, Any]
) -> tuple[GenerativeModel, Batch]:
    configured = configure(REGISTRY, name, data, SHALLOW.get(name, {}) | overrides)
    if not configured.config.full_graph:
        pytest.skip(f"{name} is compiled in parts: {configured.config.full_graph_reason}")
    model = build_model(REGISTRY, name, configured.config.model_dump(), data)
    if not model.optimizer_groups():
        pytest.skip(f"{name} is fitted, so it has no loss to compile")
    shape = (4, *data.event_shape)
    discrete = configured.config.preprocessing.support == "discrete"
    x = torch.randint(data.levels or 2, shape) if discrete else torch.randn(shape)
    context = {
        key: torch.arange(4) if given.num_classes else torch.randn(4, *given.shape)
        for key, given in data.context.items()
    }
    batch = Batch(x=x, context=context)
    with torch.no_grad():
        model.initialize(batch, generator=torch.Generator().manual_seed(0))
        for parameter in model.parameters():  # so that no layer of zeros hides another's gradient
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.train(), batch


def _loss_and_gradients(model: GenerativeModel, loss: Any, batch: Batch) -> list[Tensor | None]:
    torch.manual_seed(1)
    step = Step(progress=torch.tensor(0.3), phase=0, group="all", generator=None, seed=0)
    model.zero_grad()
    value = loss(batch, step)
    value.backward()
    return [value.detach(), *(parameter.grad for parameter in model.parameters())]


# Compiling takes seconds: of the others the slow tests make sure.
QUICK = frozenset({"nice as it comes"})


@pytest.mark.parametrize(
    "case",
    [
        # To score, iaf goes through 64 pixels one by one: a graph of thousands of operations.
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name in CASES
    ],
)
def test_loss_compiles_as_one_graph(case: str) -> None:
    torch._dynamo.reset()
    model, batch = _model(*CASES[case])
    compiled = torch.compile(model.loss, backend=BACKENDS.get(case, "eager"), fullgraph=True)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    found = _loss_and_gradients(model, compiled, batch)
    model.load_state_dict(state)  # what moved: running averages
    expected = _loss_and_gradients(model, model.loss, batch)
    torch.testing.assert_close(found, expected)
