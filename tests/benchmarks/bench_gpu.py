"""What a GPU makes of presets: steps as they are, compiled and as CUDA graphs; samples; idle time.

    python -m tests.benchmarks.bench_gpu --presets glow:512ch realnvp:cifar10

A step is the loss on a batch of random data that lies on the device, its backward pass, and the
guarded step of the optimizer. The device idles where no kernel runs between the first and the last
of a stretch of steps, as the profiler sees them. Without CUDA nothing is measured, and it says so:
``--device cpu`` runs the same code on a processor, to test it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from flowbench.api import Batch, Step
from flowbench.api.models import DensityModel, GenerativeModel, split_info
from flowbench.data.library.splits import validation_size
from flowbench.data.preprocess import Preprocessor
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.registry.build import build_model
from flowbench.registry.configs import configure
from flowbench.training.compiled import compiled_loss
from flowbench.training.device import Device
from flowbench.training.graphed import GRAPHS, GraphedStep, check_graph
from flowbench.training.optim import GuardedStep
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

PRESETS = (
    "glow:512ch@cifar10",
    "realnvp:cifar10@cifar10",
    "denseflow:74-10@cifar10",
    "nanoflow:k48@cifar10",
    "nsf:vector@two-moons",
)
KINDS = ("eager", "compiled", "graphed")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model on the device, and a batch for it."""

    name: str
    model: GenerativeModel
    batch: Batch
    device: Device

    def steps(self, kind: str, num: int) -> Callable[[], None]:
        """Some training steps, until the device has done them."""
        loss = compiled_loss(self.model) if kind == "compiled" else self.model.loss
        # No compiled loss takes a generator.
        generator = None if kind == "compiled" else self.device.generator(0)
        training = self.model.config.training.model_copy(update={"graph": kind == "graphed"})
        groups = self.model.optimizer_groups()
        guarded = {name: GuardedStep(training, ps) for name, ps in groups.items()}

        def step(x: Tensor, progress: Tensor, lr: float | Tensor) -> None:
            for name, optimizer in guarded.items():
                at = Step(progress=progress, phase=0, group=name, generator=generator, seed=0)
                optimizer.zero_grad()
                with self.device.autocast(training.precision):
                    value, _ = split_info(loss(Batch(x=x), at))
                value.backward()
                optimizer(lr, value.detach())

        # At a rate of 0: what is timed stays the same however often it is.
        zero = torch.zeros((), device=self.device.torch_device)
        one = partial(step, self.batch.x, zero, 0.0)
        if kind == "graphed":
            recorded = GraphedStep[None](
                self.name,
                lambda inputs, _: step(inputs.raw, inputs.progress, inputs.lr),
                partial(GRAPHS[self.device.kind], generator),
                nullcontext,
            )
            one = partial(recorded, (self.batch.x, {}), 0.0, 0.0, 0)

        def run() -> None:
            for _ in range(num):
                one()
            self.device.synchronize()

        return run

    @torch.no_grad()
    def sample(self) -> None:
        """As many samples as a batch has examples."""
        settings = self.model.config.sampling()
        generator = self.device.generator(0)
        self.model.sample(len(self.batch.x), settings=settings, generator=generator)
        self.device.synchronize()

    @torch.no_grad()
    def likelihood(self) -> None:
        """One draw of the density of a batch, in true float32."""
        assert isinstance(self.model, DensityModel)
        with self.device.numerics("float32"):
            self.model.log_prob(self.batch.x, generator=self.device.generator(0))
        self.device.synchronize()


def subject(
    registry: Registry,
    choice: str,
    device: Device,
    batch_size: int | None,
    *,
    channels_last: bool,
) -> Subject:
    """A preset, initialised on random data of the form of a dataset, none of which is read."""
    name, _, dataset = choice.partition("@")
    spec = registry.dataset(dataset).spec
    info = spec.info(validation_size(spec))
    config = configure(registry, name, info, {}).config
    torch.manual_seed(0)
    model = build_model(registry, name.partition(":")[0], config.model_dump(), info)
    model = device.place(model, channels_last=channels_last)
    generator = device.generator(0)
    shape = (batch_size or config.training.batch_size, *info.event_shape)
    preprocessor = Preprocessor(config.preprocessing, info, device.torch_device)
    raw = _random(info.levels, shape, generator)
    x, _ = preprocessor.forward(raw, generator)
    batch = Batch(x=x)
    with torch.no_grad():
        model.initialize(batch, generator=generator)
    name = f"{choice}, channels last" if channels_last else choice
    return Subject(name=name, model=model, batch=batch, device=device)


def _random(levels: int | None, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    where = generator.device
    if levels is None:
        return torch.randn(*shape, generator=generator, device=where)
    return torch.randint(levels, tuple(shape), generator=generator, device=where)


def idle(run: Callable[[], object], activity: ProfilerActivity) -> tuple[float, float]:
    """Seconds without a kernel on the device, and from the first kernel's start to the last's end.

    On a processor its operations stand for kernels.
    """
    with profile(activities=[activity]) as found:
        run()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in found.events()
        if event.device_type.name == activity.name
    ]
    whole = max(end for _, end in spans) - min(start for start, _ in spans)
    return 1e-6 * (whole - _covered(spans)), 1e-6 * whole


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of what intervals cover together."""
    total, reached = 0.0, -float("inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def measured(found: Subject, kinds: Sequence[str], steps: int, rounds: int) -> list[Ratio]:
    """Times a subject, and prints what that comes to a second."""
    runs = {kind: found.steps(kind, steps) for kind in kinds}
    used = {"sampling": found.sample, "likelihood": found.likelihood}
    if not isinstance(found.model, DensityModel):
        del used["likelihood"]
    taken = take_turns(*runs.values(), *used.values(), rounds=rounds)
    by_name = dict(zip([*runs, *used], taken, strict=True))
    size = len(found.batch.x)
    for name, seconds in by_name.items():
        num, unit = (steps, "steps") if name in runs else (size, "examples")
        print(f"{found.name}: {name} {num / np.median(seconds):.1f} {unit}/s")
    ratios = [
        Ratio.of(f"eager step / {kind} ({found.name})", by_name["eager"], by_name[kind])
        for kind in kinds
        if kind != "eager"
    ]
    a_step = by_name["eager"] / steps
    for name in used:
        variant = f"{name} of a batch / eager step ({found.name}, batch {size})"
        ratios.append(Ratio.of(variant, by_name[name], a_step))
    on_gpu = found.device.kind == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    for kind in kinds:
        shares = [idle(runs[kind], activity) for _ in range(rounds)]
        variant = f"idle time / time of the device ({kind}, {found.name})"
        ratios.append(Ratio.of(variant, *zip(*shares, strict=True)))
    return ratios


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Prints rates and ratios of every preset."""
    parser = argument_parser(__doc__, rounds=11)
    parser.add_argument("--presets", nargs="+", default=PRESETS, metavar="PRESET@DATASET")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, help="eager is always")
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--batch-size", type=int, default=None, help="[default: the preset's]")
    parser.add_argument("--channels-last", action="store_true", help="lay out convolutions so")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device is here: nothing was measured")
        return []
    torch.set_num_threads(options.threads)
    device = Device.select(options.device, "a processor")
    kinds = tuple(dict.fromkeys(("eager", *options.kinds)))
    make = partial(subject, load_registry(PluginSelection()), device=device)
    ratios: list[Ratio] = []
    for choice in options.presets:
        found = make(choice, batch_size=options.batch_size, channels_last=options.channels_last)
        if "graphed" in kinds:
            check_graph(found.model, device.kind, num_devices=1)
        with device.numerics(found.model.config.training.precision):
            ratios += measured(found, kinds, options.steps, options.rounds)
    print(*ratios, sep="\n")
    return ratios


if __name__ == "__main__":
    main()
