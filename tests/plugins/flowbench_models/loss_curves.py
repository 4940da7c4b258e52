"""Losses of every model over 20 steps in float64, all noise handed in.

Run as a script it prints them as JSON, for ``loss_curves.json``: do that only where a model is
meant to compute something else than before, and say why in the commit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from flowbench.api import Batch, ContextInput, DatasetInfo, DensityModel, Step, split_info
from flowbench.api.specs import Modality
from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.build import build_model
from flowbench.registry.configs import configure
from tests.plugins.flowbench_models.fixtures import tensor

NUM_STEPS = 20
DRAWS = ("randn", "rand", "randint", "randn_like", "rand_like", "randperm")


def _info(
    name: str, *event_shape: int, levels: int | None, modality: Modality = "vector"
) -> DatasetInfo:
    image = len(event_shape) == 3
    return DatasetInfo(
        name=name,
        modality="image" if image else modality,
        event_shape=event_shape,
        levels=levels,
        context={"label": ContextInput(shape=(), num_classes=10)} if image else {},
        num_train=1000,
        num_validation=100,
        num_test=100,
    )


SMALL = _info("digits", 1, 8, 8, levels=17)
LARGE = _info("natural-patches", 3, 32, 32, levels=256)
PLANAR = _info("two-moons", 2, levels=None)

TEXT = _info("python-topics", 1, 16, levels=27, modality="sequence")

SPEECH = replace(
    _info("tones", 1, 64, levels=None, modality="audio"),
    context={"mel": ContextInput(shape=(8, 4), stride=16)},
)

SPHERE = replace(
    _info("sphere-mixture", 3, levels=None, modality="manifold"),
    manifold="flowbench.api.manifolds:SPHERE",
)


@dataclass(frozen=True)
class Case:
    """A configured model on a form of data."""

    model: str
    data: DatasetInfo
    overrides: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 8

    @property
    def id(self) -> str:
        """Its name in the fixture."""
        changes = [f"{key}={value}" for key, value in self.overrides.items()]
        return ",".join([f"{self.model}@{self.data.name}", *changes])


CASES = (
    Case("nice", SMALL),
    Case("nice", PLANAR, batch_size=64),
    Case("realnvp", SMALL),
    Case("realnvp", LARGE, batch_size=4),
    Case("realnvp", PLANAR, batch_size=64),
    Case("realnvp", SMALL, {"network": "resnet", "norm": "batch", "width": 8, "blocks": 2}),
    Case("glow", SMALL),
    Case("glow", LARGE, batch_size=4),
    Case("glow", SMALL, {"coupling": "additive", "permutation": "full"}),
    Case("glow", SMALL, {"checkpointing": True, "learn_top": False}),
    Case("flowpp", SMALL, {"steps": [1, 1], "width": 8}),
    Case("flowpp", SMALL, {"steps": [1, 1], "width": 8, "law": "affine", "weight_norm": True}),
    Case("macow", SMALL, {"context_width": 8}),
    Case("vflow", SMALL, {"steps": [1, 1], "width": 8}),
    Case("anf", SMALL, {"pairs": 1, "width": 8}),
    Case("mar-scf", SMALL, {"steps": 1, "prior_width": 4}),
    Case("wavelet-flow", SMALL, {"steps": [1, 1, 1, 1]}),
    Case("survae", SMALL),
    Case("survae", SMALL, {"pooling": "none", "dequantization": "uniform", "logit_alpha": None}),
    Case("nanoflow", SMALL),
    Case("nanoflow", LARGE, batch_size=4),
    Case("nanoflow", SMALL, {"shared_projection": True, "embedding": 0}),
    Case("denseflow", SMALL),
    Case("denseflow", LARGE, batch_size=4),
    Case("denseflow", SMALL, {"noise": "white", "attention": "faithful", "landmarks": 2}),
    Case("denseflow", SMALL, {"noise": "none", "coupling": "convolutional"}),
    Case("denseflow", SMALL, {"cross_unit": "last", "attention": "none", "checkpointing": True}),
    Case("denseflow", SMALL, {"dequantization": "uniform", "logit_alpha": None}),
    Case("jet", SMALL, {"couplings": 2}),
    Case("tarflow", SMALL),
    Case("tarflow", LARGE, {"width": 64, "blocks": 2}, batch_size=2),
    Case("tarflow:tiny-cond", SMALL),
    Case("tarflow", SMALL, {"block": "coupling"}),
    Case("made", PLANAR, batch_size=64),
    Case("maf", PLANAR, batch_size=64),
    Case("maf", SMALL, {"norm": "batch", "random_degrees": True, "width": 32}),
    Case("iaf", PLANAR, batch_size=64),
    Case("nsf", PLANAR, batch_size=64),
    Case("nsf:vector-ar", PLANAR, batch_size=64),
    Case("nsf", SMALL, {"width": 32}),
    Case("rqnsf", SMALL),
    Case("rqnsf", SMALL, {"coupling": "affine", "batch_norm": True, "multi_scale": False}),
    Case("residual-flow", SMALL, {"blocks": [1, 1], "width": 8}),
    Case("residual-flow", PLANAR, {"dense_blocks": 2}, batch_size=64),
    Case("iresnet", SMALL, {"blocks": [1, 1], "width": 8, "factor_out": "first"}),
    Case("idensenet", SMALL, {"blocks": [1, 1], "growth": 8}),
    Case("idensenet", PLANAR, {"dense_blocks": 2}, batch_size=64),
    Case("mintnet", SMALL, {"layers": 2, "multiplier": 4}),
    Case("mintnet", PLANAR, {"layers": 2}, batch_size=64),
    Case("ffjord", PLANAR, {"hidden": (8, 8)}, batch_size=64),
    Case("ffjord", SMALL, {"hidden": (16,), "adjoint": True}),
    Case("flow-matching", PLANAR, {"sigma_min": 0.1}, batch_size=64),
    Case("flow-matching:tiny-unet", SMALL, {"class_conditional": True}),
    Case("ot-cfm", PLANAR, {"sigma": 0.1}, batch_size=64),
    Case("rectified-flow", SMALL, {"network": "ddpmpp", "width": 16, "times": "skewed"}),
    Case("riemannian-flow-matching", SPHERE, batch_size=64),
    Case("discrete-flow-matching", TEXT, batch_size=16),
    Case("discrete-flow-matching", TEXT, {"source": "uniform", "dropout": 0.1}, batch_size=16),
    Case("waveflow", SPEECH),
    Case("waveflow", SPEECH, {"law": "rqs", "bins": 4}),
    Case("nanoflow-audio", SPEECH),
    Case("meanflow", PLANAR, {"power": 0.5}, batch_size=64),
    Case("histogram", SMALL),
    Case("gaussian", SPEECH),
)


@contextmanager
def noise_handed_in(seed: int) -> Iterator[None]:
    """Has every draw of noise come from one series, whatever generator it names."""
    source = torch.Generator().manual_seed(seed)

    def instead_of(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def drawn(*args: Any, **kwargs: Any) -> Tensor:
            return draw(*args, **{**kwargs, "generator": source})

        return drawn

    drawn: dict[str, Any] = {name: instead_of(getattr(torch, name)) for name in DRAWS}
    with mock.patch.multiple(torch, **drawn):
        yield


@contextmanager
def double_by_default() -> Iterator[None]:
    """Has tensors be of float64 where nobody says otherwise."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _batch(case: Case, discrete: bool) -> Batch:
    rng = np.random.default_rng(0)
    size = (case.batch_size, *case.data.event_shape)
    values = rng.integers(case.data.levels or 2, size=size) if discrete else rng.normal(size=size)
    context = {}
    for key, given in case.data.context.items():
        size = (case.batch_size, *given.shape)
        classes = given.num_classes
        context[key] = torch.from_numpy(
            rng.integers(classes, size=size) if classes else rng.normal(size=size)
        )
    return Batch(x=torch.from_numpy(values), context=context)


def losses(case: Case) -> list[float]:
    """The loss before each of the steps, in nats or bits as the model has it."""
    registry = load_registry(PluginSelection(only=("flowbench",)))
    configured = configure(registry, case.model, case.data, case.overrides)
    name, config = configured.entry.spec.name, configured.config
    # Weights drawn in float32 differ in their last digit from one processor to another.
    with double_by_default():
        torch.manual_seed(0)
        model = build_model(registry, name, config.model_dump(), case.data).double()
    batch = _batch(case, config.preprocessing.support == "discrete")
    found = []
    with noise_handed_in(1):
        torch.manual_seed(2)  # of dropout, which takes no generator
        with torch.no_grad():
            model.initialize(batch, generator=torch.Generator())
        model.train()
        groups = model.optimizer_groups()
        if not groups:
            assert isinstance(model, DensityModel)
            return [-float(tensor(model.log_prob(batch.x)).mean())]
        ((group, parameters),) = groups.items()
        optimizer = torch.optim.Adam(parameters, lr=1e-3)
        for index in range(NUM_STEPS):
            step = Step(
                progress=torch.tensor(index / NUM_STEPS),
                phase=0,
                group=group,
                generator=torch.Generator(),
                seed=index,
            )
            optimizer.zero_grad()
            loss, _ = split_info(model.loss(batch, step))
            loss.backward()
            optimizer.step()
            model.after_step(step)
            found.append(float(loss.detach()))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    json.dump({case.id: losses(case) for case in CASES}, sys.stdout, indent=1)
