"""Steps per second of the training loop against a bare PyTorch loop.

Both train the same model on the same batches of the same data with the same optimizer settings, in
turns within one process; the figure is the median of the pairwise ratios (bare time / our time, so
1.0 means that the harness costs nothing).

    python tests/benchmarks/bench_loop.py --model realnvp --dataset digits
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from flowbench.api import Batch
from flowbench.api.models import GenerativeModel
from flowbench.api.units import bits_per_dim
from flowbench.data.batches import TrainBatches
from flowbench.data.preprocess import Preprocessor
from flowbench.data.splits import LoadedData
from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.build import build_model, load_dataset
from flowbench.registry.configs import configure
from flowbench.training.budget import Budget
from flowbench.training.clock import Clock
from flowbench.training.device import Device
from flowbench.training.loop import Trainer, ValidationPoint


class Unwatched:
    """An observer that asks for nothing."""

    def tick(self, step: int, progress: float) -> bool:
        return False

    def validated(self, point: ValidationPoint) -> None: ...

    def checkpoint_due(self) -> bool:
        return False

    def save(self, state: dict[str, Any]) -> None: ...


def build(choice: str, dataset: str) -> tuple[GenerativeModel, Preprocessor, LoadedData]:
    registry = load_registry(PluginSelection())
    data = load_dataset(registry, dataset, ".")
    configured = configure(registry, choice, data.info, {})
    torch.manual_seed(0)
    name = choice.partition(":")[0]
    model = build_model(registry, name, configured.config.model_dump(), data.info)
    preprocessor = Preprocessor(model.config.preprocessing, data.info)
    preprocessor.fit(data.splits.train)
    raw, _ = TrainBatches(data.splits.train, 256, 0, "cpu").next()
    with torch.no_grad():
        model.initialize(
            Batch(x=preprocessor.forward(raw, torch.Generator())[0]), generator=torch.Generator()
        )
    return model, preprocessor, data


def bare_loop(model: GenerativeModel, preprocessor: Preprocessor, data: LoadedData):
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
            log_prob = model.log_prob(x, generator=generator)
            bits_per_dim(log_prob, model.data.num_dims).mean().backward()
            if training.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm)
            optimizer.step()
            if average is not None:
                torch._foreach_lerp_(average, [p.detach() for p in parameters], 0.01)

    return run


def our_loop(model: GenerativeModel, preprocessor: Preprocessor, data: LoadedData):
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


def seconds(run: Any, steps: int) -> float:
    begin = time.perf_counter()
    run(steps)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="realnvp")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--pairs", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ours = our_loop(*build(options.model, options.dataset))
    bare = bare_loop(*build(options.model, options.dataset))
    for run in (ours, bare):
        run(5)
    pairs = [
        (seconds(bare, options.steps), seconds(ours, options.steps)) for _ in range(options.pairs)
    ]
    ratios = np.array([b / o for b, o in pairs])
    low, median, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    rate = options.steps / np.median([o for _, o in pairs])
    print(
        f"{options.model} on {options.dataset}: loop / bare = {median:.3f} "
        f"(10 to 90 %: {low:.3f} to {high:.3f}), {rate:.1f} steps/s"
    )


if __name__ == "__main__":
    main()
