"""Classifier two-sample test: how well a classifier tells samples from test data.

The accuracy on held-out examples, of a multi-layer perceptron in five folds: 0.5 if the two cannot
be told apart, 1 if they always can. Network and folds are those of the sbi benchmark; learning ten
times as fast for a fifth of the epochs is as accurate on the planar sets, in a fifth of the time.

References:
    Lopez-Paz and Oquab (2017), Revisiting Classifier Two-Sample Tests,
    https://arxiv.org/abs/1610.06545.
    Lueckmann et al. (2021), Benchmarking Simulation-Based Inference,
    https://arxiv.org/abs/2101.04653, appendix.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.specs import C2ST
from flowbench_metrics.vector_sets import Rows, failed, samples_and_test, set_protocol

NUM_FOLDS = 5
UNITS_PER_DIM = 10  # of each of two hidden layers
MAX_EPOCHS = 200
LR = 1e-2
MAX_EACH = 5_000  # of each set: five fits then take about a minute

Indices = NDArray[np.int64]


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Trains a classifier to tell the protocol's samples from as many test examples.

    Args:
        trained: The model; gives its samples.
        data: Gives the test examples.
        settings: How samples were drawn; gives the seed.

    Returns:
        ``c2st``, the accuracy with its binomial standard error.
    """
    sets = samples_and_test(trained, data, settings, MAX_EACH)
    if isinstance(sets, str):
        return [failed(C2ST, sets)]
    samples, test = sets
    if len(test) < NUM_FOLDS:
        reason = f"{len(test)} examples of each kind make no {NUM_FOLDS} folds"
        return [MetricValue.unavailable(C2ST, f"{reason}; draw more with --num-samples")]
    accuracy = held_out_accuracy(samples, test, settings.seed)
    num = 2 * len(test)
    return [
        MetricValue(
            name=C2ST.name,
            value=accuracy,
            unit=C2ST.unit,
            direction=C2ST.direction,
            split="test",
            num_examples=num,
            stderr=math.sqrt(accuracy * (1.0 - accuracy) / num),
            protocol=set_protocol(trained, settings, len(test), classifier="mlp", folds=NUM_FOLDS),
        )
    ]


def held_out_accuracy(samples: Rows, test: Rows, seed: int) -> float:
    """Accuracy of the classifier on examples that it was not trained on.

    Args:
        samples: One set, shape (N, D).
        test: The other, shape (N, D); both are scaled by its mean and standard deviation.
        seed: Seed of folds and classifier.

    Returns:
        The share of right answers over all folds.
    """
    from sklearn.model_selection import StratifiedKFold

    spread = test.std(axis=0)
    scale = np.where(spread > 0.0, spread, 1.0)
    x = (np.concatenate([samples, test]) - test.mean(axis=0)) / scale
    labels = np.repeat([1, 0], [len(samples), len(test)])
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    num_right = [
        _num_right(x, labels, train, held_out, seed) for train, held_out in folds.split(x, labels)
    ]
    return sum(num_right) / len(x)


def _num_right(x: Rows, labels: Indices, train: Indices, held_out: Indices, seed: int) -> int:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    units = UNITS_PER_DIM * x.shape[1]
    classifier = MLPClassifier(
        (units, units), learning_rate_init=LR, max_iter=MAX_EPOCHS, random_state=seed
    )
    with warnings.catch_warnings():  # a classifier that is still learning counts as it is
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(x[train], labels[train])
    return int((classifier.predict(x[held_out]) == labels[held_out]).sum())
