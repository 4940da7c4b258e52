from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from flowbench.api import Batch, DatasetInfo, ModelConfig, Step
from flowbench.errors import TrainingError
from flowbench.training.compiled import compiled_loss
from tests.fakes import Gaussian

INFO = DatasetInfo(
    name="two", modality="vector", event_shape=(2,), levels=None, num_train=1, num_validation=1,
    num_test=1,
)  # fmt: skip


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """The graphs that were compiled, by a backend that only keeps them."""
    kept: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        kept.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=keep))
    return kept


class Noisy(Gaussian):
    """Its loss takes noise, and the progress of training."""

    def loss(self, batch: Batch, step: Step) -> Tensor:
        noise = torch.randn(batch.x.shape, generator=step.generator)
        return super().loss(Batch(x=batch.x + noise), step) * (1.0 + step.progress)


class Broken(Gaussian):
    """Its loss leaves the graph for the host."""

    def loss(self, batch: Batch, step: Step) -> Tensor:
        torch._dynamo.graph_break()
        return super().loss(batch, step)


class InParts(ModelConfig):
    full_graph: ClassVar[bool] = False
    full_graph_reason: ClassVar[str] = "a solver decides on the host"


def step_at(progress: float, seed: int) -> Step:
    tensor = torch.full((), progress)
    return Step(progress=tensor, phase=0, group="all", generator=None, seed=seed)


def test_one_graph_serves_every_step(graphs: list[torch.fx.GraphModule]) -> None:
    model, batch = Noisy(ModelConfig(), INFO), Batch(x=torch.zeros(4, 2))
    loss = compiled_loss(model)
    values = []
    for index, progress in enumerate((0.0, 0.25, 0.5)):
        torch.manual_seed(0)
        value = loss(batch, step_at(progress, seed=index))
        assert isinstance(value, Tensor)
        torch.manual_seed(0)
        torch.testing.assert_close(value, model.loss(batch, step_at(progress, seed=index)))
        values.append(value.item())
    assert len(graphs) == 1
    assert math.isclose(values[2], 1.5 * values[0], rel_tol=1e-5)


def test_a_loss_that_leaves_its_graph_is_refused_in_one_line(
    graphs: list[torch.fx.GraphModule],
) -> None:
    loss = compiled_loss(Broken(ModelConfig(), INFO))
    with pytest.raises(TrainingError) as caught:
        loss(Batch(x=torch.zeros(4, 2)), step_at(0.0, 0))
    message = str(caught.value)
    assert message.startswith("the loss of Broken cannot be compiled: ")
    assert message.endswith(
        "set training.compile=false, or declare full_graph = False with the reason"
    )
    assert "\n" not in message


def test_where_the_compiler_fails_the_model_is_not_to_blame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> Callable[..., Any]:
        raise OSError("no compiler here")

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fail))
    loss = compiled_loss(Gaussian(ModelConfig(), INFO))
    with pytest.raises(TrainingError, match=r"no compiler here; set training\.compile=false$"):
        loss(Batch(x=torch.zeros(4, 2)), step_at(0.0, 0))


def test_what_is_no_single_graph_is_compiled_in_parts_and_says_why(
    graphs: list[torch.fx.GraphModule], capsys: pytest.CaptureFixture[str]
) -> None:
    loss = compiled_loss(Broken(InParts(), INFO))
    loss(Batch(x=torch.zeros(4, 2)), step_at(0.0, 0))
    assert graphs
    assert capsys.readouterr().err == (
        "the loss of Broken is compiled in parts, not as one graph: a solver decides on the host\n"
    )
