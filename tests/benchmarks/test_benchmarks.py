"""Every benchmark runs, on sizes that take seconds; what it measures there means nothing.

Released code is stood in for by modules of the same names, in ``stand_ins``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch

from tests.benchmarks import record

STAND_INS = Path(__file__).with_name("stand_ins")
OF_RELEASED_CODE = (
    *("model", "denseflow", "transformer_flow", "resflows", "lib", "torchcfm"),
    *("macow", "marscf_main", "overrides"),
)

SIZES = {
    "batches": "--examples 64 --shape 1x2x2 --batch-size 8 --batches 2",
    "boards": "--attempts 2",
    "fid": "--num 4",
    "free_form": f"residual-flow {STAND_INS / 'residual_flows'} --batch-size 2 --channels 1"
    " --side 4 --blocks 1 --width 4 --profile 1",
    "gpu": "--device cpu --kinds eager --presets realnvp:small@digits --batch-size 2 --steps 1"
    " --channels-last",
    "glow_step": "--batch-size 2 --levels 1 --steps 1 --width 4",
    "loop": "--steps 2 --model glow",
    "matching": f"{STAND_INS / 'torchcfm'} --batch-size 2 --side 4 --width 64 --multipliers 1 1"
    " --profile 1",
    "multi_scale": f"survae {STAND_INS / 'survae'} --batch-size 2 --steps 1 --width 4 --depth 1"
    " --profile 1",
    "peers": "--cases maf/zuko-maf",
    "released": f"glow --released {STAND_INS / 'glow'} --batch-size 2 --side 8 --levels 2 --steps 1"
    " --width 4 --profile 1",
    "scale": "--attempts 2 --jobs 2",
    "tarflow": "--width 64 --layers 1 --batch-size 1 --tokens 4 8",
    "tarflow_sweeps": "--steps 2 --patch-size 4 --num 1",
    "tarflow_released": f"{STAND_INS / 'tarflow'} --images 1 --batch-size 1 --side 4 --sides 4 8"
    " --width 64 --blocks 2 --layers 1",
    "trackers": "--trackers tensorboard",
    "waveflow": "--channels 4 --layers 2 --flows 2 --rows 4 --frames 1",
}
DENSEFLOW = (
    f"denseflow --released {STAND_INS / 'denseflow'} --batch-size 2 --side 8 --width 4 --units 1 1"
    " --modules 1 1 --growth 1 --dense-depth 1 --dense-growth 2 --dequantizer-steps 1"
    " --dequantizer-width 2 --dequantizer-depth 1 --dequantizer-growth 2 --context-growth 2"
)

FFJORD = f"ffjord {STAND_INS / 'ffjord'} --batch-size 2"
MACOW = f"macow {STAND_INS / 'macow'} --batch-size 2 --steps 1 --width 4"
MAR_SCF = f"mar-scf {STAND_INS / 'marscf'} --batch-size 2 --steps 1 --width 4 --coupling affine"


@pytest.fixture(autouse=True)
def _leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undoes what a benchmark, a program of its own, may do to its process."""
    threads, path = torch.get_num_threads(), list(sys.path)
    monkeypatch.setenv("FLOWBENCH_WEIGHTS", "")
    for name in ("qr", "lu"):
        monkeypatch.setattr(torch, name, getattr(torch, name))
    yield
    torch.set_num_threads(threads)
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] in OF_RELEASED_CODE]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        *SIZES.items(),
        ("released", DENSEFLOW),
        ("free_form", FFJORD),
        ("multi_scale", MACOW),
        ("multi_scale", MAR_SCF),
    ],
    ids=[*SIZES, "denseflow", "ffjord", "macow", "mar-scf"],
)
def test_a_benchmark_gives_its_ratios(name: str, sizes: str) -> None:
    if name == "peers":
        pytest.importorskip("zuko")
    benchmark = import_module(f"tests.benchmarks.bench_{name}")
    rounds = (
        1 if name in ("boards", "scale", "trackers") else 2
    )  # a round of these starts six processes
    ratios = benchmark.main([*sizes.split(), "--rounds", str(rounds)])
    assert ratios
    for ratio in ratios:
        assert ratio.rounds == rounds
        assert 0.0 < ratio.low <= ratio.median <= ratio.high
        assert "/" in ratio.variant


def test_no_benchmark_is_left_out() -> None:
    assert set(SIZES) == set(record.names())
