from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from flowbench.api import Batch, GenerativeModel, ModelConfig, Phase, Step, WithInfo
from flowbench.api.training import Training
from flowbench.data.library.splits import LoadedData
from flowbench.errors import ConfigError, NonFiniteLossError, TrainingError
from flowbench.registry import Registry
from flowbench.registry.build import load_dataset
from flowbench.runner.plan import asked_config, unsupported_devices
from flowbench.training import graphed
from flowbench.training.device import Device
from flowbench.training.graphed import NUM_WARM_UP, CudaGraph, GraphedStep
from flowbench.training.loop import Trainer
from flowbench.training.observer import Preempted
from flowbench.training.optim import Schedule
from flowbench.training.ranks import Ranks
from tests.fakes import Gaussian
from tests.training.test_loop import Watcher, configuration, make, train_of, weights


class StandIn:
    """A graph of a processor: a replay calls what was captured, in the memory of that."""

    made: ClassVar[list[StandIn]] = []

    def __init__(self, *generators: torch.Generator) -> None:
        self.generators = generators
        self.calls: list[str] = []
        StandIn.made.append(self)

    def warm_up(self, work: Callable[[], Any]) -> Any:
        self.calls.append("warm-up")
        return work()

    def capture(self, work: Callable[[], Any]) -> None:
        self.calls.append("capture")
        self._work, self._first = work, None

    def replay(self) -> Any:
        self.calls.append("replay")
        done = self._work()
        if self._first is None:
            self._first = done
            return done
        # Where the first replay left its results, which whoever still holds those will see.
        for name in ("loss", "bad", "norm"):
            getattr(self._first, name).copy_(getattr(done, name))
        for (_, mine), (_, new) in zip(self._first.info, done.info, strict=True):
            mine.copy_(new)
        return self._first


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[StandIn]:
    """The graphs that were made, on a processor."""
    monkeypatch.setitem(graphed.GRAPHS, "cpu", StandIn)
    monkeypatch.setattr(StandIn, "made", [])
    # As rates are on a GPU: else a graph's would be rounded, and others not.
    exact = Schedule.lr
    monkeypatch.setattr(Schedule, "lr", lambda *a: float(torch.tensor(exact(*a))))
    return StandIn.made


@pytest.fixture(scope="module")
def data(fake_registry: Registry) -> LoadedData:
    return load_dataset(fake_registry, "fake-images", ".")


class Noted(Gaussian):
    """Takes noise, depends on the progress and says something of its loss."""

    def loss(self, batch: Batch, step: Step) -> WithInfo:  # type: ignore[override]
        noise = torch.randn(batch.x.shape, generator=step.generator)
        value = super().loss(Batch(x=batch.x + 0.1 * noise), step) * (1.0 + step.progress)
        return value, {"noise": noise[:, 0, 0, 0]}


class Seeded(Gaussian):
    def loss(self, batch: Batch, step: Step) -> Tensor:
        return super().loss(batch, step) * (1 + step.seed % 2)


class Fragile(Gaussian):
    """Its loss is not finite where the progress is in the middle."""

    def loss(self, batch: Batch, step: Step) -> Tensor:
        middle = (step.progress - 0.5).abs() < 0.15
        return super().loss(batch, step) * torch.where(middle, math.nan, 1.0)


def trainer(
    cls: type[GenerativeModel],
    registry: Registry,
    data: LoadedData,
    budget: str = "24steps",
    watcher: Watcher | None = None,
    ranks: Ranks | None = None,
    **training: Any,
) -> Trainer:
    torch.manual_seed(0)
    model = cls(configuration(registry, data, "fake-gaussian", training), data.info)
    return train_of(model, data, budget, watcher, ranks=ranks or Ranks())


def both(
    cls: type[GenerativeModel], registry: Registry, data: LoadedData, **settings: Any
) -> tuple[Trainer, Trainer]:
    """The same training, as it is and as a graph."""
    found = [trainer(cls, registry, data, graph=graph, **settings) for graph in (False, True)]
    for one in found:
        one.run()
    return found[0], found[1]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "adamax", "rmsprop"])
def test_a_graph_trains_the_very_weights_that_single_steps_do(
    optimizer: str, fake_registry: Registry, data: LoadedData, stand_ins: list[StandIn]
) -> None:
    settings = {"optimizer": optimizer, "lr": 1e-2, "clip_norm": 1.0}
    eager, graph = both(Noted, fake_registry, data, **settings)
    torch.testing.assert_close(weights(graph.model), weights(eager.model), rtol=0, atol=0)
    (made,) = stand_ins
    assert made.calls == ["warm-up"] * NUM_WARM_UP + ["capture"] + ["replay"] * (24 - NUM_WARM_UP)
    assert made.generators == (graph._generator,)


def test_averages_and_curves_are_those_of_single_steps(
    fake_registry: Registry, data: LoadedData, stand_ins: list[StandIn]
) -> None:
    points = []
    for on in (False, True):
        watcher = Watcher()
        average = {"decay": 0.9}
        one = trainer(
            Noted, fake_registry, data, watcher=watcher, graph=on, average=average, lr=0.01
        )
        one.run()
        assert one.choice.averaged is not None
        points.append((watcher.points, weights(one.choice.averaged)))
    (eager, averaged), (recorded, averaged_too) = points
    torch.testing.assert_close(averaged_too, averaged, rtol=0, atol=0)
    assert [(p.step, p.loss, p.info) for p in recorded] == [(p.step, p.loss, p.info) for p in eager]
    assert any("noise" in p.info for p in recorded)
    assert stand_ins


def test_each_phase_is_recorded_anew(
    fake_registry: Registry, data: LoadedData, stand_ins: list[StandIn]
) -> None:
    phases = (Phase(share=0.5), Phase(share=0.5, lr=1e-3, restart=True))
    eager, graph = both(Noted, fake_registry, data, phases=phases)
    torch.testing.assert_close(weights(graph.model), weights(eager.model), rtol=0, atol=0)
    assert [made.calls.count("capture") for made in stand_ins] == [1, 1]


def test_a_group_that_does_not_step_each_time_draws_as_without_a_graph(
    fake_registry: Registry, data: LoadedData, stand_ins: list[StandIn]
) -> None:
    eager, graph = both(Noted, fake_registry, data, groups={"all": {"every": 2}})
    torch.testing.assert_close(weights(graph.model), weights(eager.model), rtol=0, atol=0)
    assert stand_ins[0].calls.count("replay") == 12 - NUM_WARM_UP


def test_bad_steps_are_skipped_and_counted_within_a_graph(
    fake_registry: Registry, data: LoadedData, stand_ins: list[StandIn]
) -> None:
    eager, graph = both(Fragile, fake_registry, data)
    assert graph.num_skipped == eager.num_skipped > 0
    torch.testing.assert_close(weights(graph.model), weights(eager.model), rtol=0, atol=0)
    lost = trainer(Fragile, fake_registry, data, graph=True, max_nonfinite=3)
    with pytest.raises(NonFiniteLossError, match="3 steps in a row"):
        lost.run()


def test_a_resumed_graph_goes_on_as_if_it_had_not_stopped(
    fake_registry: Registry, data: LoadedData, stand_ins: list[StandIn]
) -> None:
    whole = trainer(Noted, fake_registry, data, graph=True)
    whole.run()
    watcher = Watcher(stop_at=11)
    first = trainer(Noted, fake_registry, data, watcher=watcher, graph=True)
    with pytest.raises(Preempted):
        first.run()
    again = trainer(Noted, fake_registry, data, graph=True)
    again.load_state_dict(watcher.states[-1])
    again.run()
    torch.testing.assert_close(weights(again.model), weights(whole.model), rtol=0, atol=0)
    # It warms up anew, by steps of the training.
    assert stand_ins[2].calls.count("replay") == 24 - 11 - NUM_WARM_UP


def test_recording_is_charged_as_compilation(
    fake_registry: Registry, data: LoadedData, stand_ins: list[StandIn],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    parts = []
    one = trainer(Noted, fake_registry, data, graph=True)
    record = StandIn.capture

    def capture(self: StandIn, work: Callable[[], Any]) -> None:
        parts.append(one._clock.part)
        record(self, work)

    monkeypatch.setattr(StandIn, "capture", capture)
    one.run()
    assert parts == ["compile"]
    assert one._clock.ledger()["compile"] > 0.0


def test_what_cannot_be_recorded_is_refused_in_one_line(
    fake_registry: Registry, data: LoadedData, stand_ins: list[StandIn],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def capture(self: StandIn, work: Callable[[], Any]) -> None:
        del self, work
        try:
            raise RuntimeError("operation not permitted when stream is capturing")
        finally:
            raise RuntimeError("the capture has ended")

    monkeypatch.setattr(StandIn, "capture", capture)
    one = trainer(Noted, fake_registry, data, graph=True)
    with pytest.raises(TrainingError) as caught:
        one.run()
    assert str(caught.value) == (
        "the step of Noted cannot be recorded as a graph: operation not permitted when stream is "
        "capturing; set training.graph=false"
    )


def test_memory_that_runs_out_while_recording_stays_what_it_is() -> None:
    class Full(StandIn):
        def capture(self, work: Callable[[], Any]) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    step = GraphedStep[Any]("One", lambda *_: None, Full, nullcontext)
    batch = (torch.zeros(1), dict[str, Tensor]())
    for _ in range(NUM_WARM_UP):
        step(batch, 0.0, 0.0, 0)
    with pytest.raises(torch.OutOfMemoryError):
        step(batch, 0.0, 0.0, 0)


def test_what_a_step_reads_stays_where_it_is() -> None:
    seen: list[tuple[int, ...]] = []
    values = []

    def work(inputs: graphed.Inputs, phase: int) -> None:
        tensors = (inputs.raw, inputs.context["label"], inputs.progress, inputs.lr)
        seen.append(tuple(tensor.data_ptr() for tensor in tensors))
        values.append([tensor.flatten()[0].item() for tensor in tensors] + [phase])

    class Plain(StandIn):
        def replay(self) -> Any:
            return self._work()

    step = GraphedStep[None]("One", work, Plain, nullcontext)
    for n in range(6):
        step((torch.full((2, 1), n), {"label": torch.full((2,), 10 + n)}), n / 8, n / 4, 0)
    assert len(set(seen)) == 1
    assert values == [[n, 10 + n, n / 8, n / 4, 0] for n in range(6)]


def test_a_draw_on_the_host_is_refused(
    fake_registry: Registry, data: LoadedData, stand_ins: list[StandIn]
) -> None:
    with pytest.raises(ConfigError, match=r"draws on the host \(Step\.seed\)"):
        trainer(Seeded, fake_registry, data, graph=True).run()


class Solver(ModelConfig):
    full_graph: ClassVar[bool] = False
    full_graph_reason: ClassVar[str] = "a solver decides on the host"
    training: Training = Training(graph=True)


class Two(Ranks):
    num = 2


def test_a_processor_has_no_graph(fake_registry: Registry, data: LoadedData) -> None:
    with pytest.raises(ConfigError) as caught:
        trainer(Noted, fake_registry, data, graph=True)
    assert str(caught.value) == (
        "training.graph is set, but a graph needs CUDA, and this job trains on cpu; leave it at "
        "false"
    )


def test_models_that_are_no_single_graph_are_refused(
    fake_registry: Registry, data: LoadedData, stand_ins: list[StandIn]
) -> None:
    with pytest.raises(ConfigError, match="but a solver decides on the host; leave it at false"):
        train_of(Gaussian(Solver(), data.info), data)
    with pytest.raises(ConfigError, match=r"several optimizer groups \(critic, generator\)"):
        make(fake_registry, data, "fake-gan", graph=True)
    with pytest.raises(ConfigError, match="2 devices train the model together"):
        trainer(Noted, fake_registry, data, graph=True, ranks=Two())


@pytest.mark.parametrize("other", [{"compile": True}, {"accumulate": 2}])
def test_settings_that_exclude_a_graph_are_refused_at_once(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"graph does not go with {next(iter(other))}"):
        Training(graph=True, **other)


def test_several_devices_are_refused_before_anything_starts() -> None:
    config = ModelConfig(training=Training(graph=True))
    assert unsupported_devices(config, 2) == (
        "--devices-per-job is 2: training.graph is for one device as yet"
    )


def test_a_job_without_a_graph_has_the_id_that_it_had() -> None:
    assert "graph" not in asked_config(ModelConfig())["training"]
    assert asked_config(ModelConfig(training=Training(graph=True)))["training"]["graph"] is True


class OnGpu(Gaussian):
    """As `Noted`, with noise where the batch is."""

    def loss(self, batch: Batch, step: Step) -> WithInfo:  # type: ignore[override]
        noise = torch.randn(batch.x.shape, generator=step.generator, device=batch.x.device)
        value = super().loss(Batch(x=batch.x + 0.1 * noise), step) * (1.0 + step.progress)
        return value, {"noise": noise[:, 0, 0, 0]}


def gpu() -> Device:
    return Device("cuda", "a GPU", torch.cuda)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "adamax", "rmsprop"])
def test_a_cuda_graph_trains_the_weights_that_single_steps_do(
    optimizer: str, fake_registry: Registry, data: LoadedData
) -> None:
    found = []
    for on in (False, True):
        torch.manual_seed(0)
        settings = {"optimizer": optimizer, "clip_norm": 1.0, "graph": on, "lr": 1e-2}
        config = configuration(fake_registry, data, "fake-gaussian", settings)
        one = train_of(OnGpu(config, data.info).cuda(), data, "24steps", device=gpu())
        one.run()
        found.append((weights(one.model).cpu(), one._generator.get_state()))
    (eager, state), (graph, state_too) = found
    torch.testing.assert_close(graph, eager, rtol=1e-5, atol=1e-6)
    assert torch.equal(state, state_too)  # as much noise was drawn


@pytest.mark.gpu
def test_a_cuda_graph_draws_new_noise_with_each_replay() -> None:
    generator, out = torch.Generator("cuda").manual_seed(0), []
    work = lambda: torch.rand(4, device="cuda", generator=generator)  # noqa: E731
    graph = CudaGraph[Tensor](generator)
    graph.warm_up(work)
    graph.capture(work)
    for _ in range(3):
        out.append(graph.replay().clone())
    assert len({tuple(drawn.tolist()) for drawn in out}) == 3


@pytest.mark.gpu
def test_a_cuda_graph_skips_bad_steps(fake_registry: Registry, data: LoadedData) -> None:
    config = configuration(fake_registry, data, "fake-gaussian", {"graph": True})
    one = train_of(Fragile(config, data.info).cuda(), data, "24steps", device=gpu())
    one.run()
    assert one.num_skipped > 0
    assert bool(weights(one.model).isfinite().all())
