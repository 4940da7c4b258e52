"""Batches in parts: the same losses, gradients and noise as of the whole."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from flowbench.api import Batch, Context, DatasetInfo, ModelConfig, Step
from flowbench.data.library.splits import LoadedData
from flowbench.errors import ConfigError
from flowbench.registry import Registry
from flowbench.registry.build import load_dataset
from flowbench.training.accumulate import parts_of, whole_batch
from flowbench.training.clock import CHARGED
from tests.fakes import CoupledConfig, Gan, Gaussian
from tests.training.test_loop import Watcher, configuration, train_of, weights


@pytest.fixture(scope="module")
def data(fake_registry: Registry) -> LoadedData:
    return load_dataset(fake_registry, "fake-images", ".")


class Noting(Gaussian):
    """Says the mean of its batch beside the loss."""

    seen: ClassVar[list[Tensor]] = []

    def loss(self, batch: Batch, step: Step) -> tuple[Tensor, dict[str, Tensor]]:  # type: ignore[override]
        self.seen.append(batch.x)
        return super().loss(batch, step), {"mean": batch.x.flatten(1).mean(1)}


@pytest.mark.parametrize("accumulate", [2, 4, 16])
def test_parts_give_the_losses_weights_and_noise_of_the_whole(
    fake_registry: Registry, data: LoadedData, accumulate: int
) -> None:
    def trained(parts: int) -> tuple[Watcher, Tensor, Tensor, float]:
        config = configuration(fake_registry, data, "fake-gaussian", {"accumulate": parts})
        Noting.seen.clear()
        torch.manual_seed(0)
        watcher = Watcher()
        trainer = train_of(Noting(config, data.info), data, "8steps", watcher)
        trainer.run()
        assert len(Noting.seen) == 8 * parts
        return watcher, weights(trainer.model), torch.cat(Noting.seen), trainer.num_examples

    whole, in_parts = trained(1), trained(accumulate)
    assert torch.equal(whole[2], in_parts[2])  # the examples and their noise
    torch.testing.assert_close(whole[1], in_parts[1], rtol=1e-5, atol=1e-6)
    assert whole[3] == in_parts[3]
    for one, other in zip(whole[0].points[1:], in_parts[0].points[1:], strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.info == pytest.approx(one.info, rel=1e-5)


def test_parts_of_a_gan_give_the_gradients_of_the_whole(
    fake_registry: Registry, data: LoadedData
) -> None:
    config = configuration(fake_registry, data, "fake-gan", {})
    torch.manual_seed(0)
    model = Gan(config, data.info)
    batch = Batch(x=torch.rand(8, 1, 4, 4))
    step = Step(progress=torch.zeros(()), phase=0, group="critic", generator=None, seed=0)
    for num in (1, 2):
        gradient = torch.zeros_like(model.critic.weight)
        torch.manual_seed(1)
        for part in parts_of(batch, num):
            model.zero_grad()
            (model.loss(part, step) / num).backward()
            assert model.critic.weight.grad is not None
            gradient += model.critic.weight.grad
        if num == 1:
            whole = gradient.clone()
    torch.testing.assert_close(gradient, whole)


class Sleepy(Gaussian):
    def loss(self, batch: Batch, step: Step) -> Tensor:
        time.sleep(0.01 * len(batch.x) / 16)
        return super().loss(batch, step)


def test_a_step_in_parts_is_charged_as_one_for_all_of_them(
    fake_registry: Registry, data: LoadedData
) -> None:
    config = configuration(fake_registry, data, "fake-gaussian", {"accumulate": 4})
    trainer = train_of(Sleepy(config, data.info), data, "5steps")
    trainer.run()
    ledger, charged = trainer._clock.ledger(), trainer._clock.charged_s
    assert (trainer.num_steps, trainer.num_examples) == (5, 5 * 16)
    assert ledger["train"] >= 5 * 0.01
    assert charged == pytest.approx(sum(ledger[part] for part in CHARGED))
    examples = train_of(Sleepy(config, data.info), data, "64examples")
    examples.run()
    assert examples.num_steps == 4  # each of 16 examples, however many parts


def test_context_is_cut_with_its_examples() -> None:
    context: Context = {"label": torch.arange(6), "mel": torch.arange(12).view(6, 2)}
    parts = parts_of(Batch(x=torch.arange(6).float().view(6, 1), context=context), 3)
    assert [part.x.flatten().tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    assert [part.context["label"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    assert torch.cat([part.context["mel"] for part in parts]).equal(context["mel"])


def test_parts_must_be_equal(fake_registry: Registry, data: LoadedData) -> None:
    with pytest.raises(ConfigError, match="accumulate is 3, which does not divide a batch of 16"):
        configuration(fake_registry, data, "fake-gaussian", {"accumulate": 3})


class Normed(Gaussian):
    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def test_what_needs_its_batch_whole_is_refused(fake_registry: Registry, data: LoadedData) -> None:
    config = configuration(fake_registry, data, "fake-gaussian", {"accumulate": 2})
    assert whole_batch(Gaussian(config, data.info)) is None
    with pytest.raises(ConfigError, match=r"BatchNorm2d \(net\.1\) normalises by the statistics"):
        train_of(Normed(config, data.info), data)
    coupled = CoupledConfig.model_validate(config.model_dump())
    with pytest.raises(ConfigError, match=r"accumulate is 2, .* pairs the examples of a batch"):
        train_of(Gaussian(coupled, data.info), data)
    whole = configuration(fake_registry, data, "fake-gaussian", {})
    train_of(Normed(whole, data.info), data)
