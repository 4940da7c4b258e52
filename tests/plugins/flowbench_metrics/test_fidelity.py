"""End to end on an Inception-v3 with random weights: its architecture and file format are real."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from torch.utils.data import Dataset

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics import fidelity
from flowbench_metrics import weight_files as files
from flowbench_metrics.extractors import TorchFidelityExtractor, Weights
from flowbench_metrics.features import features_of
from flowbench_metrics.fidelity import (
    FeatureMetric,
    FrechetMetric,
    InceptionScore,
    KernelDistance,
    Neighbourhoods,
    Seen,
    inception_layer,
)
from flowbench_metrics.frechet import moments
from flowbench_metrics.specs import ALL
from tests.plugins.flowbench_metrics.fakes import FakeTrained, number
from tests.plugins.flowbench_metrics.images import (
    Pixels,
    image_info,
    images,
    samples_of,
    splits_of,
)
from tests.plugins.flowbench_metrics.inception import write_random_inception
from tests.plugins.flowbench_metrics.vgg16 import write_even_vgg16

RGB = image_info(channels=3, size=8)
NO_SPLITS = splits_of(*np.zeros((2, 0, 3, 8, 8), dtype=np.uint8))
GREY = image_info(channels=1, size=8, levels=17)


@pytest.fixture(scope="session")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_inception(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def use_random_inception(random_inception: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWBENCH_WEIGHTS", str(random_inception.parent))
    return random_inception


class Images(Dataset[torch.Tensor]):
    def __init__(self, x: np.ndarray) -> None:
        self.x = torch.from_numpy(x)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.x[i]


def measure(
    metric: FeatureMetric, given: TrainedModel, splits: DataSplits, num: int = 70
) -> list[MetricValue]:
    return metric(given, splits, MetricSettings(num_samples=num))


def early_inception(min_samples: int) -> FrechetMetric:
    extractor = inception_layer(64, published=False)
    spec = fidelity.compute_fd_inception_64.spec
    return FrechetMetric(spec, extractor, "64", min_samples=min_samples, name_weights=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num", "rel"),
    # torch-fidelity takes roots of eigenvalues that rounding leaves of a covariance without full
    # rank: with fewer images than features it has fewer digits.
    [(5, 1e-4), pytest.param(70, 1e-6, marks=pytest.mark.long)],
)
def test_torch_fidelity_agrees_on_the_same_images_and_weights(
    trained: type[FakeTrained], use_random_inception: Path, num: int, rel: float
) -> None:
    real, drawn = images(num + 3, 0, RGB, high=200), images(num, 1, RGB, low=30)
    given = trained(data=RGB, samples=samples_of(drawn))
    (value,) = measure(early_inception(num), given, splits_of(real, real[:9]), num)
    theirs = torch_fidelity.calculate_metrics(
        input1=Images(drawn),
        input2=Images(real),
        cuda=False,
        fid=True,
        feature_layer_fid="64",
        feature_extractor_weights_path=str(use_random_inception),
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    assert value.value == pytest.approx(theirs["frechet_inception_distance"], rel=rel)
    assert number(value) > 0.01


def test_the_name_says_whose_weights_and_how_many_samples(
    trained: type[FakeTrained], use_random_inception: Path
) -> None:
    given = trained(data=RGB, samples=samples_of(images(7, 0, RGB)), weights="ema")
    splits = splits_of(images(6, 1, RGB), images(9, 2, RGB))
    (value,) = measure(early_inception(7), given, splits, 7)
    own = str(value.protocol["weights_sha256"])[:8]
    assert value.name == f"fd-inception-v3-compat-64-{own}@7"
    assert not str(files.INCEPTION.sha256).startswith(own)
    assert value.protocol["library"].startswith("torch-fidelity 0.4")
    expected = {"colours": "RGB", "reference": "train", "num_reference": 6, "weights": "ema"}
    assert expected.items() <= value.protocol.items()


def test_the_protocol_says_all_that_moves_a_distance(
    trained: type[FakeTrained], use_random_inception: Path, tmp_path: Path
) -> None:
    facts: dict[str, Any] = {"data": GREY, "data_sha256": "cd" * 32, "data_dir": tmp_path}
    given = trained(**facts, samples=samples_of(images(7, 0, GREY)))
    splits = splits_of(images(6, 1, GREY), images(9, 2, GREY))
    (value,) = measure(early_inception(7), given, splits, 7)
    assert value.protocol == {
        "extractor": "inception-v3-compat",
        "layer": "64",
        "weights_sha256": hashlib.sha256(use_random_inception.read_bytes()).hexdigest(),
        "dtype": "float32",
        "library": f"torch-fidelity {importlib.metadata.version('torch-fidelity')}",
        "rounding": "floor of dequantized values, else the nearest level; clipped",
        "colours": "grey replicated to RGB",
        "levels": "0..16 to 0..255",
        "resize": "bilinear as in TensorFlow 1, to 299x299",
        "reference": "train",
        "num_reference": 6,
        "reference_sha256": "cd" * 32,
        "num_samples": 7,
        "sample": {"temperature": 1.0, "options": {}},
        "weights": None,
    }


def test_fid_refuses_weights_that_are_not_the_published_ones(
    trained: type[FakeTrained], use_random_inception: Path
) -> None:
    given = trained(data=RGB, samples=samples_of(images(70, 0, RGB)))
    splits = splits_of(images(70, 1, RGB), images(9, 2, RGB))
    for metric in (fidelity.compute_fid, fidelity.compute_fid_64, fidelity.compute_kid):
        (value,) = measure(metric, given, splits, num=5_000)
        assert (value.name, value.status) == (metric.spec.name, "unavailable")
        assert "other weights" in str(value.reason)


def test_weights_that_hold_code_are_not_loaded(
    trained: type[FakeTrained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").touch, ())

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"conv": Evil()}))
    monkeypatch.setenv("FLOWBENCH_WEIGHTS", str(path))
    given = trained(data=RGB, samples=samples_of(images(70, 0, RGB)))
    (value,) = measure(
        fidelity.compute_fd_inception_64, given, splits_of(images(70, 1, RGB), images(9, 2, RGB))
    )
    assert value.status == "unavailable"
    assert "no plain file of weights" in str(value.reason)
    assert not (tmp_path / "ran").exists()


def test_grey_levels_are_stretched_and_replicated(trained: type[FakeTrained]) -> None:
    extractor = inception_layer(64)
    raw = torch.tensor([0, 8, 16], dtype=torch.uint8).reshape(3, 1, 1, 1)
    rgb = extractor.images(raw, GREY)
    assert (rgb.dtype, tuple(rgb.shape)) == (torch.uint8, (3, 3, 1, 1))
    assert rgb[:, :, 0, 0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
    assert extractor.protocol(GREY) == {
        "colours": "grey replicated to RGB",
        "levels": "0..16 to 0..255",
        "resize": "bilinear as in TensorFlow 1, to 299x299",
    }


@pytest.mark.parametrize("metric", [m for m in vars(fidelity).values() if hasattr(m, "extractor")])
def test_absent_weights_are_a_reason_with_a_remedy(
    trained: type[FakeTrained],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    metric: FeatureMetric,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("FLOWBENCH_WEIGHTS", raising=False)
    (value,) = measure(metric, trained(data=RGB, data_dir=tmp_path), NO_SPLITS)
    assert (value.status, value.value) == ("unavailable", None)
    remedy = "torch.hub.load" if metric.spec.name == "fd-dinov2" else "flowbench data prepare"
    assert remedy in str(value.reason)
    assert "\n" not in str(value.reason)


@pytest.mark.parametrize(
    "extractor",
    [fidelity.INCEPTION, fidelity.VGG16, fidelity.CLIP, fidelity.DINOV2],
    ids=lambda extractor: extractor.name,
)
def test_torch_fidelity_knows_each_network_and_its_layers(
    extractor: TorchFidelityExtractor,
) -> None:
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    network = FEATURE_EXTRACTORS_REGISTRY[extractor._registered]
    assert set(extractor.layers) <= set(network.get_provided_features_list())
    assert extractor._size == getattr(network, "INPUT_IMAGE_SIZE", 224)  # CLIP's has none


@pytest.mark.slow
def test_precision_and_recall_run_on_vgg16(
    trained: type[FakeTrained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBENCH_WEIGHTS", str(write_even_vgg16(tmp_path)))
    extractor = TorchFidelityExtractor(
        "vgg16",
        "vgg16",
        fidelity.VGG16.layers,
        files.VGG16,
        "vgg16-weights",
        size=224,
        published=False,
    )
    x = images(5, 0, RGB, low=200)
    given = trained(data=RGB, samples=samples_of(x[:4]), data_dir=tmp_path)
    for spec in (fidelity.compute_precision.spec, fidelity.compute_recall.spec):
        metric = Neighbourhoods(spec, extractor, "fc2_relu", min_samples=1)
        (value,) = measure(metric, given, splits_of(x, x), 4)
        assert value.value == 1.0  # every sample is a reference image
    weights = extractor.weights(tmp_path)
    seen = features_of(given, extractor, weights, given.samples(), [x[:4]])["fc2_relu"]
    assert seen.shape == (4, 4096)
    assert len(np.unique(seen[:, 0])) == 4


def test_each_metric_computes_the_spec_that_refers_to_it() -> None:
    for spec in ALL:
        module, _, name = spec.compute.partition(":")
        if module == fidelity.__name__:
            assert getattr(fidelity, name).spec is spec


# --- by hand, in the pixels themselves ------------------------------------------------------------

TINY = image_info()  # four pixels
SPEC = fidelity.compute_fid.spec


def pixel_distance(**changes: Any) -> FrechetMetric:
    return FrechetMetric(SPEC, Pixels(), "pixels", **{"min_samples": 4, **changes})


def test_a_shift_moves_the_distance_by_its_square(trained: type[FakeTrained]) -> None:
    real = images(100, 0, TINY, high=100)
    given = trained(data=TINY, samples=samples_of(real + np.uint8(3)))
    (value,) = measure(pixel_distance(), given, splits_of(real, real))
    assert value.value == pytest.approx(4 * 3**2)


@pytest.mark.parametrize(("num", "name"), [(50, "fid"), (49, "fid@49"), (60, "fid@60")])
def test_the_plain_name_is_that_of_the_standard_number(
    trained: type[FakeTrained], num: int, name: str
) -> None:
    real = images(100, 0, TINY)
    given = trained(data=TINY, samples=samples_of(real[:num]))
    (value,) = measure(pixel_distance(num_samples=50), given, splits_of(real, real), num)
    assert (value.name, value.num_examples) == (name, num)
    assert fidelity.NUM_SAMPLES == 50_000


def test_another_reference_split(trained: type[FakeTrained]) -> None:
    train, test = images(40, 0, TINY, high=50), images(40, 0, TINY, high=50) + np.uint8(5)
    given = trained(data=TINY, samples=samples_of(test))
    (value,) = measure(pixel_distance(split="test"), given, splits_of(train, test))
    assert value.value == pytest.approx(0.0, abs=1e-9)
    assert value.protocol["reference"] == "test"
    assert fidelity.compute_fid_test.spec.name == "fid-test"


def test_too_few_samples_are_refused_before_any_is_drawn(trained: type[FakeTrained]) -> None:
    metric = FrechetMetric(SPEC, Pixels(), "pixels")
    (value,) = measure(metric, trained(data=TINY), NO_SPLITS, 2_047)  # has no samples
    assert (value.name, value.status) == ("fid", "unavailable")
    assert "2,047 samples are too few, it takes 2,048" in str(value.reason)
    assert "fid-64" in str(value.reason)


def seen(
    trained: type[FakeTrained], metric: FeatureMetric, samples: np.ndarray, train: np.ndarray
) -> dict[str, float]:
    from flowbench_metrics.reference import Reference

    given = trained(data=TINY)
    drawn, weights = samples_of(samples), Weights(Path("unused"), "ab")
    reference = Reference(given, splits_of(train, train), "train", metric.extractor, weights)
    found = features_of(given, metric.extractor, weights, drawn, [samples])
    return dict(metric.values(Seen(found, reference)))


def test_kid_of_two_halves_is_near_zero_and_of_others_is_not(
    trained: type[FakeTrained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "KID_SUBSET_SIZE", 200)
    metric = KernelDistance(fidelity.compute_kid.spec, Pixels(), "pixels")
    x = images(2_000, 0, TINY, high=4)
    same = seen(trained, metric, x[:1000], x[1000:])
    # The standard error of a mean over 100 subsets is no larger than their spread.
    assert abs(same[""]) < 2.0 * same["_subset_std"]
    shifted = seen(trained, metric, x[:1000] + np.uint8(1), x[1000:])
    assert shifted[""] > 20.0 * abs(same[""])


def test_kid_takes_a_thousand_reference_images(trained: type[FakeTrained]) -> None:
    metric = KernelDistance(fidelity.compute_kid.spec, Pixels(), "pixels", min_samples=1)
    given = trained(data=TINY, samples=samples_of(images(9, 0, TINY)))
    (value,) = measure(metric, given, splits_of(images(9, 1, TINY), images(9, 2, TINY)))
    assert "1,000 reference images, there are 9" in str(value.reason)


def test_the_inception_score_of_certain_and_of_undecided_classes(
    trained: type[FakeTrained],
) -> None:
    metric = InceptionScore(fidelity.compute_is.spec, Pixels(), "pixels", min_samples=1)
    certain = 200 * np.eye(4, dtype=np.uint8)[np.arange(2_000) % 4].reshape(-1, 1, 2, 2)
    # Splits of 200 hold the four classes in random shares, so that the score falls short of 4.
    assert seen(trained, metric, certain, certain)[""] == pytest.approx(4.0, rel=0.02)
    undecided = np.full_like(certain, 7)
    assert seen(trained, metric, undecided, certain)[""] == pytest.approx(1.0, abs=1e-9)


def test_precision_and_recall_count_who_lies_among_whom(trained: type[FakeTrained]) -> None:
    precision = Neighbourhoods(fidelity.compute_precision.spec, Pixels(), "pixels")
    recall = Neighbourhoods(fidelity.compute_recall.spec, Pixels(), "pixels")
    left, right = images(50, 0, TINY, high=20), images(50, 1, TINY, low=230)
    both = np.concatenate([left, right])
    assert seen(trained, precision, left, both)[""] == 1.0
    assert seen(trained, recall, left, both)[""] == pytest.approx(0.5)
    assert seen(trained, precision, left, right)[""] == 0.0


def test_all_metrics_of_a_job_share_one_pass_over_the_images(
    trained: type[FakeTrained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "KID_SUBSET_SIZE", 100)
    pixels, x = Pixels(), images(500, 0, TINY, high=100)
    metrics: list[FeatureMetric] = [
        FrechetMetric(SPEC, pixels, "pixels", min_samples=1),
        KernelDistance(fidelity.compute_kid.spec, pixels, "pixels", min_samples=1),
        Neighbourhoods(fidelity.compute_precision.spec, pixels, "pixels", min_samples=1),
        Neighbourhoods(fidelity.compute_recall.spec, pixels, "pixels", min_samples=1),
        InceptionScore(fidelity.compute_is.spec, pixels, "pixels", min_samples=1),
    ]
    given = trained(data=TINY, samples=samples_of(x[:200]))
    splits = splits_of(x[:300], x[300:])
    for metric in metrics:
        (value, *_) = measure(metric, given, splits, 200)
        assert value.status == "ok", value.reason
    assert pixels.num_images == 200 + 300


def test_metrics_of_one_network_take_the_same_features() -> None:
    of_inception = (fidelity.compute_fid, fidelity.compute_fid_test, fidelity.compute_kid)
    assert {m.extractor for m in (*of_inception, fidelity.compute_is)} == {fidelity.INCEPTION}
    of_vgg16 = (fidelity.compute_precision, fidelity.compute_recall, fidelity.compute_fd_vgg16)
    assert {m.extractor for m in of_vgg16} == {fidelity.VGG16}


def test_samples_that_are_the_reference_have_distance_zero(trained: type[FakeTrained]) -> None:
    x = images(300, 0, TINY)
    given = trained(data=TINY, samples=samples_of(x[::-1].copy()))
    (value,) = measure(pixel_distance(), given, splits_of(x[:200], x[:9], x[200:]), 300)
    assert value.value == pytest.approx(0.0, abs=1e-9)
    assert value.protocol["num_reference"] == 300


@pytest.mark.slow
def test_values_beside_the_main_one_share_its_ending(trained: type[FakeTrained]) -> None:
    metric = KernelDistance(fidelity.compute_kid.spec, Pixels(), "pixels", min_samples=1)
    x = images(1_200, 0, TINY)
    given = trained(data=TINY, samples=samples_of(x))
    values = measure(metric, given, splits_of(x, x), 1_200)
    assert [v.name for v in values] == ["kid@1200", "kid_subset_std@1200"]
    assert [v.direction for v in values] == ["lower", "none"]
    assert all(math.isfinite(number(v)) for v in values)
    assert moments(x.reshape(-1, 4).astype(float)).mean.shape == (4,)
