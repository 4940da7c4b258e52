"""Steps per second of the training loop against a bare PyTorch loop.

Both train the same model on the same batches of the same data with the same optimizer settings; the
ratio is bare time / our time, so 1.0 means that the harness costs nothing.

    python -m tests.benchmarks.bench_loop --model realnvp --dataset digits
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from flowbench.api import Batch
from flowbench.api.models import DensityModel, split_info
from flowbench.api.units import bits_per_dim
from flowbench.budget import Budget
from flowbench.data.batches import TrainBatches
from flowbench.data.library.splits import LoadedData
from flowbench.data.preprocess import Preprocessor
from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.build import build_model, load_dataset
from flowbench.registry.configs import configure
from flowbench.training.clock import Clock
from flowbench.training.device import Device
from flowbench.training.loop import Trainer
from flowbench.training.observer import ValidationPoint
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

Steps = Callable[[int], None]


class Unwatched:
    """An observer that asks for nothing."""

    def tick(self, step: int, progress: float) -> bool:
        return False

    def validated(self, point: ValidationPoint) -> None: ...

    def checkpoint_due(self) -> bool:
        return False

    def save(self, state: dict[str, Any]) -> None: ...


def build(choice: str, dataset: str) -> tuple[DensityModel, Preprocessor, LoadedData]:
    """A model that has seen its first batch, and what it trains on."""
    registry = load_registry(PluginSelection())
    data = load_dataset(registry, dataset, ".")
    configured = configure(registry, choice, data.info, {})
    torch.manual_seed(0)
    name = choice.partition(":")[0]
    model = build_model(registry, name, configured.config.model_dump(), data.info)
    assert isinstance(model, DensityModel), "the bare loop trains by likelihood"
    preprocessor = Preprocessor(model.config.preprocessing, data.info)
    preprocessor.fit(data.splits.train)
    raw, _ = TrainBatches(data.splits.train, 256, 0, "cpu").next()
    with torch.no_grad():
        model.initialize(
            Batch(x=preprocessor.forward(raw, torch.Generator())[0]), generator=torch.Generator()
        )
    return model, preprocessor, data


def bare_loop(model: DensityModel, preprocessor: Preprocessor, data: LoadedData) -> Steps:
    """What one would write by hand: index, preprocess, loss, backward, clip, step, average."""
    training = model.config.training
    x_train = torch.from_numpy(data.splits.train.x)
    parameters = list(model.parameters())
    optimizers = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = (
        optimizers[training.optimizer](
            parameters, training.lr, training.betas, weight_decay=training.weight_decay, fused=True
        )
        if training.optimizer in optimizers
        else torch.optim.Adamax(parameters, training.lr, training.betas, foreach=True)
    )
    average = [p.detach().clone() for p in parameters] if training.average else None
    generator = torch.Generator()
    model.train()

    def run(steps: int) -> None:
        for _ in range(steps):
            index = torch.randint(len(x_train), (training.batch_size,), generator=generator)
            x, _ = preprocessor.forward(x_train[index], generator)
            optimizer.zero_grad(set_to_none=True)
            log_prob, _ = split_info(model.log_prob(x, generator=generator))
            bits_per_dim(log_prob, model.data.num_dims).mean().backward()
            if training.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm)
            optimizer.step()
            if average is not None:
                torch._foreach_lerp_(average, [p.detach() for p in parameters], 0.01)

    return run


def our_loop(model: DensityModel, preprocessor: Preprocessor, data: LoadedData) -> Steps:
    """The training loop of the harness on the same batches."""
    size = model.config.training.batch_size
    trainer = Trainer(
        model,
        preprocessor,
        lambda seed: TrainBatches(data.splits.train, size, seed, "cpu"),
        budget=Budget.parse("1steps"),
        clock=Clock(),
        device=Device("cpu", "cpu", None),
        seed=0,
        validate=None,
        observer=Unwatched(),
    )

    def run(steps: int) -> None:
        trainer._budget = Budget(steps=trainer.num_steps + steps)
        trainer.run()

    return run


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Takes steps of both loops in turns, and prints the ratio."""
    parser = argument_parser(__doc__, rounds=21)
    parser.add_argument("--model", default="realnvp")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--steps", type=int, default=30, help="steps a round")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    ours = our_loop(*build(options.model, options.dataset))
    bare = bare_loop(*build(options.model, options.dataset))
    bare_s, ours_s = take_turns(
        lambda: bare(options.steps),
        lambda: ours(options.steps),
        rounds=options.rounds,
        clock=time.perf_counter,  # waiting for data must count
    )
    variant = f"bare loop / ours ({options.model} on {options.dataset})"
    ratio = Ratio.of(variant, bare_s, ours_s)
    print(f"{ratio}, {options.steps / np.median(ours_s):.1f} steps/s")
    return [ratio]


if __name__ == "__main__":
    main()
