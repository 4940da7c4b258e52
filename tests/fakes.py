"""Small plugins for tests of the core, which must be right without the real ones.

The module is itself a plugin file: workers load it with ``--plugin-file``.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    ContextInput,
    DatasetInfo,
    DatasetSpec,
    DataSplits,
    DensityModel,
    GenerativeModel,
    InvertibleModel,
    Latents,
    Likelihood,
    MetricSettings,
    MetricSpec,
    MetricValue,
    ModelConfig,
    ModelSpec,
    Preprocessing,
    Preset,
    SampleSettings,
    SamplingOptions,
    Scale,
    Split,
    Step,
    TrainedModel,
    Training,
    UniformDequantization,
    hookimpl,
    split_info,
)

FLOWBENCH_API_VERSION = 2
LEVELS = 8


# --- models ---------------------------------------------------------------------------------------


class GaussianConfig(ModelConfig):
    """An elementwise affine flow."""

    presets: ClassVar = {
        "images": Preset(summary="for tiny images"),
        "vectors": Preset(summary="for vectors", values={"preprocessing": {"noise": None}}),
        "averaged": Preset(
            summary="with averaged weights", values={"training": {"average": {"decay": 0.9}}}
        ),
    }
    preprocessing: Preprocessing = Preprocessing(noise=UniformDequantization())
    training: Training = Training(batch_size=16, lr=0.05)
    width: int = 4

    def sampling_ladder(self, data: DatasetInfo) -> tuple[SampleSettings, ...]:
        return tuple(SampleSettings(temperature=t) for t in (0.25, 0.5))

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        return "images" if data.modality == "image" else "vectors"


class Gaussian(InvertibleModel):
    """z = (x - mean) * exp(-log_std), each dim on its own."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.mean = nn.Parameter(torch.zeros(data.event_shape))
        self.log_std = nn.Parameter(torch.zeros(data.event_shape))

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        self.mean.copy_(batch.x.mean(0))

    def loss(self, batch: Batch, step: Step) -> Tensor:
        return split_info(super().loss(batch, step))[0]

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        z = (x - self.mean) * torch.exp(-self.log_std)
        return (z,), -self.log_std.sum().expand(len(x))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        return latents[0] * torch.exp(self.log_std) + self.mean


class Crash(Gaussian):
    def loss(self, batch: Batch, step: Step) -> Tensor:
        raise ValueError("this model breaks in its loss")


class Diverge(Gaussian):
    num_losses = 0

    def loss(self, batch: Batch, step: Step) -> Tensor:
        self.num_losses += 1
        return super().loss(batch, step) * (math.nan if self.num_losses > 4 else 1.0)


class OutOfMemory(Gaussian):
    def loss(self, batch: Batch, step: Step) -> Tensor:
        raise torch.OutOfMemoryError("tried to allocate 4 TiB. Free up some memory")


class Large(Gaussian):
    """Has memory for a few examples at a time."""

    def loss(self, batch: Batch, step: Step) -> Tensor:
        if len(batch.x) > 4:
            raise torch.OutOfMemoryError("tried to allocate 4 TiB. Free up some memory")
        return super().loss(batch, step)


class CoupledConfig(GaussianConfig):
    @property
    def whole_batch(self) -> str:
        return "its loss pairs the examples of a batch"


class Hungry(Gaussian):
    """Takes more and more memory, in a process that it starts."""

    def loss(self, batch: Batch, step: Step) -> Tensor:
        code = "import time; x = bytearray(1200 * 2**20); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code])
        time.sleep(600)
        return super().loss(batch, step)


class Greedy(Gaussian):
    """Asks for more memory than there is."""

    def loss(self, batch: Batch, step: Step) -> Tensor:
        return super().loss(batch, step) + torch.empty(2**55).sum()


class Die(Gaussian):
    def loss(self, batch: Batch, step: Step) -> Tensor:
        os.kill(os.getpid(), 9)
        return super().loss(batch, step)


class Linger(Gaussian):
    """Leaves a thread at work that does not end."""

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        threading.Thread(target=time.sleep, args=(3600,), name="lingerer").start()


class Facts(Gaussian):
    """Says in its log what kind of process it is in."""

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        super().initialize(batch, generator=generator)
        status = Path("/proc/self/status").read_text().splitlines()
        shown = (
            "Threads",
            "SigBlk",
            "SigIgn",
            "SigCgt",
            "Umask",
            "NoNewPrivs",
            "Cpus_allowed_list",
        )
        files = [path for path in [*Path("/proc/self/fd").iterdir()] if path.exists()]
        pids = os.getppid(), os.getpid(), os.getpgid(0), os.getsid(0)
        facts = {
            "status": [line for line in status if line.startswith(shown)],
            "ids": ["run" if pid == pids[0] else "self" * (pid == pids[1]) for pid in pids],
            "limits": {
                name: resource.getrlimit(which)
                for name, which in vars(resource).items()
                if name.startswith("RLIMIT_")
            },
            "environment": dict(os.environ),
            "seen from outside": sorted({*Path("/proc/self/environ").read_text().split("\0")}),
            "files": sorted(path.readlink().name.partition(":")[0] for path in files),
            "directory": str(Path.cwd()),
            "python": [list(sys.flags), sys.path, sys.argv[0], sys.stdout.encoding],
            "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
            "drawn": [torch.initial_seed(), torch.get_default_dtype().itemsize],
        }
        print(json.dumps(facts), file=sys.stderr)


class Slow(Gaussian):
    """Takes a while for each step, so that a test can interrupt it."""

    def loss(self, batch: Batch, step: Step) -> Tensor:
        time.sleep(0.05)
        return super().loss(batch, step)


class Hang(Gaussian):
    """Overruns any budget in its first step."""

    def loss(self, batch: Batch, step: Step) -> Tensor:
        print("hangs", flush=True)  # for tests that act once it does
        time.sleep(600)
        return super().loss(batch, step)


class Gan(GenerativeModel):
    """Two optimizers, no likelihood."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.shift = nn.Parameter(torch.zeros(data.event_shape))
        self.critic = nn.Linear(data.num_dims, 1)

    def optimizer_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"critic": list(self.critic.parameters()), "generator": [self.shift]}

    def loss(self, batch: Batch, step: Step) -> Tensor:
        fake = self._draw(len(batch.x), step.generator)
        score: Tensor = self.critic(fake.flatten(1)).mean()
        if step.group == "generator":
            return -score
        truth: Tensor = self.critic(batch.x.flatten(1)).mean()
        return score - truth

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> Tensor:
        return self._draw(num, generator)

    def _draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(num, *self.data.event_shape, generator=generator)
        return noise + self.shift


class LatentConfig(ModelConfig):
    presets: ClassVar = {"default": Preset(summary="x = z + noise")}
    preprocessing: Preprocessing = Preprocessing()

    def likelihood(self, data: DatasetInfo) -> Likelihood:
        return Likelihood(measure="continuous", noise="weights", bound=True)


class LinearGaussianLatent(DensityModel):
    """x = z + e with z, e ~ N(0, 1), seen through a proposal q(z|x) that is too wide.

    One draw's log-weight is log p(x|z) p(z) / q(z|x); exactly, x ~ N(0, 2).
    """

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.unused = nn.Parameter(torch.zeros(1))

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        z = x / 2 + noise
        joint = _normal(z) + _normal(x - z)
        return (joint - _normal(noise)).sum(1)


def _normal(value: Tensor) -> Tensor:
    return -0.5 * (value.square() + math.log(2 * math.pi))


# --- data -----------------------------------------------------------------------------------------


def load_images(data_dir: Path) -> DataSplits:
    rng = np.random.default_rng(0)
    means = rng.uniform(1.0, 6.0, size=(1, 4, 4))
    x = np.clip(np.rint(rng.normal(means, 1.0, size=(260, 1, 4, 4))), 0, LEVELS - 1)
    labels = rng.integers(0, 3, size=260)
    x, labels = x.astype(np.uint8), labels.astype(np.int64)
    return DataSplits(
        train=Split(x=x[:200], context={"label": labels[:200]}),
        test=Split(x=x[200:], context={"label": labels[200:]}),
    )


def load_vectors(data_dir: Path) -> DataSplits:
    x = np.random.default_rng(1).normal(2.0, 3.0, size=(600, 2)).astype(np.float32)
    return DataSplits(train=Split(x=x[:400]), test=Split(x=x[400:]))


# --- metrics --------------------------------------------------------------------------------------


def compute_nll(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    result = trained.likelihood("test")
    return [
        MetricValue(
            name="fake_nll",
            value=float(-result.log_prob.mean()),
            unit="nats",
            direction="lower",
            split="test",
            num_examples=len(result.log_prob),
            stderr=float(result.log_prob.std() / len(result.log_prob) ** 0.5),
        )
    ]


def compute_failure(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    raise RuntimeError("this metric breaks")


def compute_nan(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return [MetricValue(name="fake_nan", value=math.nan, unit="", direction="lower")]


def compute_segfault(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return []


def compute_spread(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    samples = trained.samples()
    facts: dict[str, Any] = {"unit": "", "direction": "lower", "num_examples": len(samples.x)}
    return [
        MetricValue(name="fake_spread", value=float(samples.x.std()), **facts),
        MetricValue(name="fake_spread_largest", value=float(samples.x.max()), **facts),
    ]


def compute_heat(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    assert settings.sample.temperature == trained.samples().temperature
    value = 1e3 * settings.sample.temperature
    return [MetricValue(name="fake_heat", value=value, unit="ms", direction="lower")]


# --- specs ----------------------------------------------------------------------------------------


def _model(name: str, cls: type, config: str = "GaussianConfig") -> ModelSpec:
    return ModelSpec(
        name=name,
        model=f"{__name__}:{cls.__name__}",
        config=f"{__name__}:{config}",
        modalities=frozenset({"image", "vector"}),
        summary="a fake",
    )


@hookimpl
def register_models() -> list[ModelSpec]:
    return [
        _model("fake-gaussian", Gaussian),
        _model("fake-crash", Crash),
        _model("fake-diverge", Diverge),
        _model("fake-oom", OutOfMemory),
        _model("fake-large", Large),
        _model("fake-coupled", Large, "CoupledConfig"),
        _model("fake-die", Die),
        _model("fake-hungry", Hungry),
        _model("fake-greedy", Greedy),
        _model("fake-linger", Linger),
        _model("fake-facts", Facts),
        _model("fake-slow", Slow),
        _model("fake-hang", Hang),
        _model("fake-gan", Gan),
        _model("fake-latent", LinearGaussianLatent, "LatentConfig"),
    ]


@hookimpl
def register_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="fake-images",
            modality="image",
            event_shape=(1, 4, 4),
            levels=LEVELS,
            num_train=200,
            num_test=60,
            context={"label": ContextInput(shape=(), num_classes=3)},
            summary="tiny images",
            load=f"{__name__}:load_images",
        ),
        DatasetSpec(
            name="fake-vectors",
            modality="vector",
            event_shape=(2,),
            levels=None,
            num_train=400,
            num_test=200,
            summary="a Gaussian",
            load=f"{__name__}:load_vectors",
        ),
    ]


_CLIMBING: tuple[tuple[str, str, Literal["quality", "cost"], Callable[..., Any]], ...] = (
    ("fake_spread", "", "quality", compute_spread),
    ("fake_heat", "ms", "cost", compute_heat),
)


@hookimpl
def register_metrics() -> list[MetricSpec]:
    return [
        MetricSpec(
            name=name,
            compute=f"{__name__}:{function.__name__}",
            unit="nats",
            direction="lower",
            summary="a fake",
            needs=frozenset({"likelihood"}) if name == "fake_nll" else frozenset(),
            exclusive=name == "fake_nll",
            default=name != "fake_segfault",
        )
        for name, function in (
            ("fake_nll", compute_nll),
            ("fake_failure", compute_failure),
            ("fake_nan", compute_nan),
            ("fake_segfault", compute_segfault),
        )
    ] + [
        MetricSpec(
            name=name,
            compute=f"{__name__}:{function.__name__}",
            unit=unit,
            direction="lower",
            summary="a fake of samples",
            role=role,
            needs=frozenset({"samples"}),
            default=False,
            ladder=frozenset({name}),
        )
        for name, unit, role, function in _CLIMBING
    ]


SCALED = Preprocessing(noise=UniformDequantization(), bijections=(Scale(low=-1, high=1),))
