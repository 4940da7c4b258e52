r"""How well the likelihood tells test images from foreign ones: the area under the ROC curve.

.. math:: P(\log p(x) > \log p(y)) + P(\log p(x) = \log p(y)) / 2

of a test image x and a foreign image y: 1/2 if the likelihood knows nothing, and below where it
prefers what it has never seen. Its standard error is that of DeLong et al. over both sets.

References:
    Nalisnick et al. (2019), Do Deep Generative Models Know What They Don't Know?,
    https://arxiv.org/abs/1810.09136. DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DatasetInfo, DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.specs import FOREIGN_AUROC

NUM_FOREIGN = 256
SEED = 0  # the same foreign images for all models
_HANDWRITING = "digits"  # the data set of this name is their source


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Compares log-likelihoods of the test split and of foreign images.

    Args:
        trained: The model; gives log-likelihoods of both.
        data: Not used.
        settings: Not used: the likelihoods are those of the protocol.

    Returns:
        ``foreign_auroc``; its protocol says which images are foreign.
    """
    del data, settings
    kind, images = foreign_images(trained.data, NUM_FOREIGN)
    ours = trained.likelihood("test")
    area, stderr = auroc(ours.log_prob, trained.log_prob(images))
    return [
        MetricValue(
            name=FOREIGN_AUROC.name,
            value=area,
            unit=FOREIGN_AUROC.unit,
            direction=FOREIGN_AUROC.direction,
            split="test",
            num_examples=len(ours.log_prob),
            stderr=stderr,
            protocol={
                **ours.likelihood.model_dump(mode="json"),
                "foreign": kind,
                "num_foreign": len(images),
            },
        )
    ]


def auroc(ours: NDArray[np.float64], foreign: NDArray[np.float64]) -> tuple[float, float]:
    """Area under the ROC curve, and its standard error after DeLong.

    Args:
        ours: Scores of what should score higher, shape (N,), N of 2 or more.
        foreign: Scores of the rest, shape (M,), M of 2 or more.

    Returns:
        The area in [0, 1], and its standard error.
    """
    from scipy.stats import rankdata

    num, num_foreign = len(ours), len(foreign)
    ranks = rankdata(np.concatenate([ours, foreign]))
    # Of each score, how many of the other set lie below it, ties by half.
    above = (ranks[:num] - rankdata(ours)) / num_foreign
    below = 1 - (ranks[num:] - rankdata(foreign)) / num
    variance = above.var(ddof=1) / num + below.var(ddof=1) / num_foreign
    return float(above.mean()), math.sqrt(variance)


def foreign_images(info: DatasetInfo, num: int) -> tuple[str, NDArray[Any]]:
    """Real images of another kind, in the form of a data set.

    Handwritten digits, enlarged, are foreign to all data but themselves; to those, cuts of two
    photographs are. Both ship with scikit-learn.

    Args:
        info: The data set; its event shape is (C, H, W), with integer levels.
        num: How many.

    Returns:
        What they are, and levels of shape (num, C, H, W).
    """
    channels, height, width = info.event_shape
    rng = np.random.default_rng(SEED)
    kind = "photographs" if info.name == _HANDWRITING else "handwritten digits"
    cut = _photographs if info.name == _HANDWRITING else _digits
    grey = cut(num, height, width, rng)
    count = cast("int", info.levels)  # the metric is of integers alone
    levels = np.clip(np.floor(grey * count), 0, count - 1).astype(np.int64)
    return kind, np.repeat(levels[:, None], channels, axis=1)


def _photographs(
    num: int, height: int, width: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Grey cuts in [0, 1], of shape (num, height, width)."""
    from sklearn.datasets import load_sample_images

    photographs = [image.mean(axis=-1) / 255 for image in load_sample_images().images]
    cuts = []
    for index in range(num):
        image = photographs[index % len(photographs)]
        top = int(rng.integers(image.shape[0] - height + 1))
        left = int(rng.integers(image.shape[1] - width + 1))
        cuts.append(image[top : top + height, left : left + width])
    return np.stack(cuts)


def _digits(num: int, height: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Digits in [0, 1], enlarged to (num, height, width) by bilinear interpolation."""
    from PIL import Image
    from sklearn.datasets import load_digits

    images = load_digits().images / 16
    chosen = images[rng.choice(len(images), num, replace=num > len(images))].astype(np.float32)
    sized = [
        np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR))
        for one in chosen
    ]
    return np.stack(sized).astype(np.float64)
