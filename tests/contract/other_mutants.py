"""Datasets and metrics: sound ones, and ones that are broken in one way each; a plugin file."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from flowbench.api import (
    ClosedForm,
    ContextInput,
    DatasetSpec,
    DataSplits,
    MetricSettings,
    MetricSpec,
    MetricValue,
    RemoteFile,
    Split,
    TrainedModel,
    hookimpl,
)
from flowbench.api.specs import SplitName
from flowbench.errors import DataError, DataMissingError

FLOWBENCH_API_VERSION = 2
INTENDED_DATASETS: dict[str, str] = {}
INTENDED_METRICS: dict[str, str] = {}
DATASETS: list[DatasetSpec] = []
METRICS: list[MetricSpec] = []

COUNTER = itertools.count()

LoaderT = TypeVar("LoaderT", bound=Callable[[Path], DataSplits])
ComputeT = TypeVar("ComputeT", bound=Callable[[TrainedModel, DataSplits, MetricSettings], object])


def named(function: Callable[..., object]) -> str:
    return getattr(function, "__name__", "")


# --- datasets -------------------------------------------------------------------------------------


def images(seed: int = 0) -> DataSplits:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 8, size=(120, 1, 4, 4)).astype(np.uint8)
    labels = rng.integers(0, 3, size=120)
    return DataSplits(
        train=Split(x=x[:100], context={"label": labels[:100]}),
        test=Split(x=x[100:], context={"label": labels[100:]}),
    )


def dataset(check: str | None = None, **facts: Any) -> Callable[[LoaderT], LoaderT]:
    """Registers a loader; a mutant says which check must catch it."""

    def register(load: LoaderT) -> LoaderT:
        name = named(load).replace("_", "-")
        spec = DatasetSpec(
            name=name,
            modality="image",
            event_shape=(1, 4, 4),
            levels=8,
            num_train=100,
            num_test=20,
            context={"label": ContextInput(shape=(), num_classes=3)},
            summary="for tests of the contract",
            licence="generated",
            load=f"{__name__}:{named(load)}",
        )
        DATASETS.append(dataclasses.replace(spec, **facts))
        if check is not None:
            INTENDED_DATASETS[name] = check
        return load

    return register


@dataset()
def sound_images(data_dir: Path) -> DataSplits:
    return images()


@dataset()
def not_prepared(data_dir: Path) -> DataSplits:
    raise DataMissingError("nothing in the data folder; run flowbench data prepare not-prepared")


def convert(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    packed = np.load(files["images.npz"])
    splits: tuple[SplitName, ...] = ("train", "test")
    for split in splits:
        yield split, Split(x=packed[split], context={"label": packed[f"{split}_label"]})


@dataset(load=None, convert=f"{__name__}:convert", files=(RemoteFile(name="images.npz"),))
def to_be_prepared(data_dir: Path) -> DataSplits:
    raise AssertionError("its converter is called instead")


@dataset("load")
def damaged(data_dir: Path) -> DataSplits:
    raise DataError("the archive is cut off")


@dataset("load")
def leaves_the_process(data_dir: Path) -> DataSplits:
    sys.exit(0)


@dataset("disjoint")
def test_overlaps_train(data_dir: Path) -> DataSplits:
    splits = images()
    both = np.concatenate([splits.test.x[:-1], splits.train.x[:1]])
    return dataclasses.replace(splits, test=dataclasses.replace(splits.test, x=both))


@dataset("form", num_train=101)
def wrong_count(data_dir: Path) -> DataSplits:
    return images()


@dataset("form", levels=7)
def value_out_of_range(data_dir: Path) -> DataSplits:
    return images()


@dataset("form")
def scaled_to_unit_interval(data_dir: Path) -> DataSplits:
    splits = images()
    return dataclasses.replace(
        splits,
        train=dataclasses.replace(splits.train, x=splits.train.x / 8.0),
        test=dataclasses.replace(splits.test, x=splits.test.x / 8.0),
    )


@dataset("form")
def labels_missing(data_dir: Path) -> DataSplits:
    splits = images()
    return DataSplits(train=Split(x=splits.train.x), test=Split(x=splits.test.x))


@dataset("stable")
def another_split_at_every_load(data_dir: Path) -> DataSplits:
    return images(seed=next(COUNTER))


@dataset("stable")
def seeded_by_the_process(data_dir: Path) -> DataSplits:
    np.random.seed(0)  # noqa: NPY002
    return images()


@dataset("stable", sha256="0" * 64)
def not_what_is_pinned(data_dir: Path) -> DataSplits:
    return images()


@dataset("spread")
def test_scaled_twice(data_dir: Path) -> DataSplits:
    splits = images()
    # Bright but for a few pixels: in range, and of another scale than train.
    x = np.full_like(splits.test.x, 7)
    x[:, 0, 0, :2] = splits.test.x[:, 0, 0, :2] // 2 + 4
    return dataclasses.replace(splits, test=dataclasses.replace(splits.test, x=x))


@dataset("facts", licence="")
def without_licence(data_dir: Path) -> DataSplits:
    return images()


@dataset("facts", event_shape=(4, 4))
def shape_of_another_modality(data_dir: Path) -> DataSplits:
    return images()


@dataset("load")
def crashes(data_dir: Path) -> DataSplits:
    raise KeyError("train")


# --- metrics --------------------------------------------------------------------------------------


def metric(check: str | None = None, **facts: Any) -> Callable[[ComputeT], ComputeT]:
    """Registers a metric; a mutant says which check must catch it."""

    def register(compute: ComputeT) -> ComputeT:
        spec = MetricSpec(
            name=named(compute),
            compute=f"{__name__}:{named(compute)}",
            unit="nats",
            direction="lower",
            summary="for tests of the contract",
            needs=frozenset({"likelihood"}),
        )
        METRICS.append(dataclasses.replace(spec, **facts))
        if check is not None:
            INTENDED_METRICS[spec.name] = check
        return compute

    return register


def value(name: str, number: float | None, **more: Any) -> list[MetricValue]:
    given: dict[str, Any] = {"unit": "nats", "direction": "lower", **more}
    return [MetricValue(name=name, value=number, **given)]


def mean_nll(trained: TrainedModel) -> float:
    return float(-trained.likelihood("test").log_prob.mean())


@metric()
def sound_nll(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("sound_nll", mean_nll(trained))


@metric(needs=frozenset({"samples"}), unit="", direction="higher")
def sound_spread(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    x = trained.samples().x.reshape(len(trained.samples().x), -1)
    return value("sound_spread", float(x.std(axis=0).mean()), unit="", direction="higher")


@metric(needs=frozenset(), exclusive=True, unit="ms")
def sound_unavailable(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    reason = "needs a clock; give one"
    return value("sound_unavailable", None, unit="ms", status="unavailable", reason=reason)


@metric("values")
def not_a_number(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("not_a_number", math.nan)


@metric("values")
def no_reason_given(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("no_reason_given", None, status="unavailable")


@metric("values")
def zero_for_unavailable(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("zero_for_unavailable", 0.0, status="unavailable", reason="no Inception weights")


@metric("values")
def a_bare_float(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> float:
    return mean_nll(trained)


@metric("values")
def named_otherwise(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("nll", mean_nll(trained))


@metric("names")
def unit_differs(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("unit_differs", mean_nll(trained), unit="bits")


@metric("direction")
def called_better_when_worse(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("called_better_when_worse", -mean_nll(trained))


@metric("needs", needs=frozenset())
def needs_not_declared(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("needs_not_declared", mean_nll(trained))


@metric("values")  # which are read-only
def sorts_in_place(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    result = trained.likelihood("test")
    result.log_prob.sort()
    return value("sorts_in_place", float(-np.median(result.log_prob)))


@metric("inputs")
def uses_the_global_generator(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    picked = np.random.permutation(10)  # noqa: NPY002
    return value("uses_the_global_generator", mean_nll(trained) + 0.0 * picked[0])


@metric("batch_size")
def mean_of_batch_means(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    log_prob, size = trained.likelihood("test").log_prob, settings.batch_size
    means = [log_prob[i : i + size].mean() for i in range(0, len(log_prob), size)]
    return value("mean_of_batch_means", float(-np.mean(means)))


@metric("repeats")
def unseeded_noise(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    picked = np.random.default_rng().integers(0, 64, size=8)
    return value("unseeded_noise", float(-trained.likelihood("test").log_prob[picked].mean()))


@metric("order")
def first_examples_only(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("first_examples_only", float(-trained.likelihood("test").log_prob[:10].mean()))


@metric(invariances=frozenset({"batch_size"}))
def sound_first_examples(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """What depends on the order, and says so."""
    return value("sound_first_examples", float(-trained.likelihood("test").log_prob[:10].mean()))


@metric(invariances=frozenset({"order"}))
def sound_batches(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """What depends on the batch size, and says so."""
    return value("sound_batches", mean_nll(trained) / settings.batch_size)


MEAN_OF_TWO = (ClosedForm(log_prob=[-1.0, -3.0], expected=2.0),)


@metric(closed_forms=f"{__name__}:MEAN_OF_TWO")
def sound_known(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("sound_known", mean_nll(trained))


@metric("closed_form", closed_forms=f"{__name__}:MEAN_OF_TWO")
def in_bits(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    return value("in_bits", mean_nll(trained) / math.log(2))


@metric("closed_form", closed_forms=f"{__name__}:NO_SUCH_NAME")
def names_no_closed_form(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("names_no_closed_form", mean_nll(trained))


NUMBERS = (2.0,)


@metric("closed_form", closed_forms=f"{__name__}:NUMBERS")
def bare_number_for_a_case(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    return value("bare_number_for_a_case", mean_nll(trained))


@hookimpl
def register_datasets() -> list[DatasetSpec]:
    return DATASETS


@hookimpl
def register_metrics() -> list[MetricSpec]:
    return METRICS
