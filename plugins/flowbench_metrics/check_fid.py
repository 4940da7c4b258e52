"""The metric ``fid`` on somebody else's samples, to be held against a number that is known.

Papers release samples and the moments of their reference data; whoever computes the same distance
from the same two files measures as the paper does. ``fid`` of a run differs from this in nothing
but where the images come from.

    python -m flowbench_metrics.check_fid SAMPLES.npz REFERENCE.npz --expect 2.6142

Both files are those of Dhariwal and Nichol (2021), Diffusion Models Beat GANs on Image Synthesis,
https://arxiv.org/abs/2105.05233: images under ``arr_0``, shape (N, H, W, 3) of 8 bits, and of the
reference mean and covariance of the features under ``mu`` and ``sigma``.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowbench.api import DataError, DatasetInfo
from flowbench_metrics.extractors import Extractor, Weights, shared_network
from flowbench_metrics.features import BATCH, features_of_batch
from flowbench_metrics.fidelity import INCEPTION, MIN_SAMPLES, POOL3
from flowbench_metrics.frechet import Moments, frechet_distance, moments

IMAGES = "arr_0"  # what NumPy calls an array that was given no name
WITHIN = 0.01  # papers print two decimals, and networks of two libraries differ by less


def distance(
    samples: Path,
    reference: Path,
    weights: Weights,
    extractor: Extractor = INCEPTION,
    layer: str = POOL3,
    min_samples: int = MIN_SAMPLES,
) -> tuple[float, int]:
    """The Frechet distance of a file of images from a file of reference moments.

    Args:
        samples: An .npz file with images under ``arr_0``.
        reference: One with ``mu`` and ``sigma``, or with images.
        min_samples: Fewer images are refused.

    Returns:
        The distance, and the number of samples.

    Raises:
        DataError: A file is not what it has to be.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def moments_of(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Moments:
        x = _images(path, arrays, min_samples)
        info = DatasetInfo(
            name=path.name,
            modality="image",
            event_shape=x.shape[1:],
            levels=256,
            num_train=0,
            num_validation=0,
            num_test=len(x),
        )
        network, found = shared_network(extractor, weights, device), []
        for start in range(0, len(x), BATCH):
            batch = x[start : start + BATCH]
            found.append(features_of_batch(network, extractor, info, batch, device)[layer])
            _say(f"{path.name}: {start + len(batch):,} of {len(x):,} images")
        return moments(np.concatenate(found))

    # The reference first: it is quick to find out that it is none.
    known = _read(reference)
    if {"mu", "sigma"} <= known.keys():
        theirs = _moments(reference, known, extractor.layers[layer])
    else:
        theirs = moments_of(reference, known)
    given = _read(samples)
    return frechet_distance(moments_of(samples, given), theirs), len(given[IMAGES])


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the distance, and whether it is the expected one.

    Returns:
        The exit code: 1 for another distance than expected, 2 for files that will not do.
    """
    parser = argparse.ArgumentParser(
        prog="python -m flowbench_metrics.check_fid",
        description="The metric fid on somebody else's samples, to compare with a known number.",
    )
    parser.add_argument("samples", type=Path, help=".npz file of images")
    parser.add_argument("reference", type=Path, help=".npz file of their reference")
    parser.add_argument("--expect", type=float, help="the number that is known")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path("data"),
        help="where flowbench data prepare inception-weights has put the weights",
    )
    options = parser.parse_args(arguments)
    try:
        weights = INCEPTION.weights(options.data_dir)
        found, num = distance(options.samples, options.reference, weights)
    except DataError as exc:
        print(exc, file=sys.stderr)
        return 2
    print(f"fid {found:.4f} of {num:,} samples, weights {weights.sha256[:8]}...")
    if options.expect is None:
        return 0
    agrees = abs(found - options.expect) <= WITHIN
    words = "as expected" if agrees else "NOT as expected"
    print(f"{words}: {options.expect} within {WITHIN}")
    return 0 if agrees else 1


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # Opened here: of a damaged archive NumPy leaves its own file open. Pickles run code.
        with path.open("rb") as source, np.load(source, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as exc:
        why = getattr(exc, "strerror", None) or "not an .npz file of plain arrays"
        raise DataError(f"{path} cannot be read: {why}; expected a released batch") from exc


def _images(path: Path, arrays: Mapping[str, NDArray[Any]], least: int) -> NDArray[np.uint8]:
    x = arrays.get(IMAGES)
    if x is None or x.ndim != 4 or x.shape[-1] != 3 or x.dtype != np.uint8:
        held = ", ".join(f"{k} {v.dtype} {v.shape}" for k, v in arrays.items()) or "nothing"
        raise DataError(f"{path} holds {held}; expected {IMAGES} of 8 bits, shape (N, H, W, 3)")
    if len(x) < least:
        raise DataError(f"{path} holds {len(x):,} images; fid takes {least:,} or more")
    return x.transpose(0, 3, 1, 2)


def _moments(path: Path, arrays: Mapping[str, NDArray[Any]], num: int) -> Moments:
    mean, covariance = arrays["mu"], arrays["sigma"]
    if (mean.shape, covariance.shape) != ((num,), (num, num)):
        raise DataError(
            f"{path} holds mu {mean.shape} and sigma {covariance.shape}; expected ({num},) and "
            f"({num}, {num})"
        )
    return Moments(mean, covariance.astype(np.float64))


def _say(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{line}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
