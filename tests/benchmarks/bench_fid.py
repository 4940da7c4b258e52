"""Processor time of the metric ``fid`` against torch-fidelity called directly on the same images.

Both compute the Frechet distance of the same samples from the same reference images with the same
weights, nothing cached (ours hashes the weights each time, as every job does); the ratio is our
time / its time, so 1.0 means that the metric costs nothing more. The weights are random, of
Inception-v3's shapes: time does not depend on them. The last line is the verdict.

    python -m tests.benchmarks.bench_fid --num 64 --layer 64
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch_fidelity
from numpy.typing import NDArray
from torch.utils.data import Dataset

from flowbench.api import MetricSettings
from flowbench_metrics import features, weights
from flowbench_metrics.extractors import shared_network
from flowbench_metrics.feature_specs import FD_INCEPTION
from flowbench_metrics.fidelity import FrechetMetric, inception_layer
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns
from tests.plugins.flowbench_metrics.fakes import FakeTrained
from tests.plugins.flowbench_metrics.images import image_info, images, samples_of, splits_of
from tests.plugins.flowbench_metrics.inception import write_random_inception

INFO = image_info(channels=3, size=32)
MOST = 1.05  # of torch-fidelity's time
AGREEMENT = 1e-6  # largest relative difference of the two values, with more images than features


class Images(Dataset[torch.Tensor]):
    """Images for torch-fidelity."""

    def __init__(self, x: NDArray[np.uint8]) -> None:
        self.x = torch.from_numpy(x)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.x[i]


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Computes the same distance by both, in turns, and prints the ratio and the verdict."""
    parser = argument_parser(__doc__, rounds=5)
    parser.add_argument("--num", type=int, default=64)
    parser.add_argument("--layer", type=int, default=64, choices=(64, 192, 768, 2048))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    drawn, real = images(options.num, 0, INFO), images(options.num, 1, INFO, low=40)
    values: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_random_inception(Path(folder))
        os.environ["FLOWBENCH_WEIGHTS"] = folder

        def ours() -> None:
            shared_network.cache_clear()  # torch-fidelity reads its weights each time
            weights._sha256.cache_clear()
            features._shared.clear()
            extractor = inception_layer(options.layer, published=False)
            metric = FrechetMetric(FD_INCEPTION, extractor, str(options.layer), min_samples=2)
            given = FakeTrained(data=INFO, samples=samples_of(drawn))
            settings = MetricSettings(num_samples=options.num)
            measured = metric(given, splits_of(real, real[:1]), settings)
            values["ours"] = float(measured[0].value or 0.0)

        def theirs() -> None:
            found = torch_fidelity.calculate_metrics(
                input1=Images(drawn),
                input2=Images(real),
                cuda=False,
                fid=True,
                feature_layer_fid=str(options.layer),
                feature_extractor_weights_path=str(path),
                cache=False,
                save_cpu_ram=True,
                verbose=False,
            )
            values["theirs"] = float(found["frechet_inception_distance"])

        clock = time.process_time  # all threads': what it costs, whatever else runs
        taken = take_turns(ours, theirs, rounds=options.rounds, warm_up=1, clock=clock)
    sizes = f"{options.num} + {options.num} images, layer {options.layer}"
    ratio = Ratio.of(f"metric / torch-fidelity ({sizes})", *taken)
    differs = abs(values["ours"] - values["theirs"]) / values["theirs"]
    print(f"{ratio}, relative difference of the values {differs:.1e}")
    holds = ratio.median <= MOST and (differs <= AGREEMENT or options.num < options.layer)
    print(
        f"verdict: {'holds' if holds else 'FAILS'} (time {ratio.median:.3f}, at most {MOST}; "
        f"difference {differs:.1e}, at most {AGREEMENT:.0e} from {options.layer} images on)"
    )
    return [ratio]


if __name__ == "__main__":
    main()
