from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from flowbench_datasets.digits import load
from flowbench_metrics import digits_cnn
from flowbench_metrics.digits_cnn import NUM_FEATURES, WEIGHTS, load_digits_cnn

SCRIPT = Path(__file__).parents[3] / "tools" / "train_digits_cnn.py"
NUM_RIGHT = 352  # of the 360 test digits, as the module's docstring says


def test_the_weights_name_the_script_that_made_them() -> None:
    with safe_open(WEIGHTS, framework="pt") as stored:
        assert stored.metadata() == {
            "script_sha256": hashlib.sha256(SCRIPT.read_bytes()).hexdigest()
        }
    assert WEIGHTS.stat().st_size < 200_000


def test_its_accuracy_on_test_digits_is_as_stated() -> None:
    test = load(Path("unused")).test
    right = load_digits_cnn()(torch.from_numpy(test.x)).argmax(dim=1).numpy()
    assert (right == test.context["label"]).sum() == NUM_RIGHT
    assert f"{NUM_RIGHT} of the {len(test)} test digits" in str(digits_cnn.__doc__)


def test_features_are_those_that_the_classes_are_read_from() -> None:
    network = load_digits_cnn()
    x = torch.from_numpy(load(Path("unused")).test.x[:5])
    features = network.features(x)
    assert (tuple(features.shape), features.dtype) == ((5, NUM_FEATURES), torch.float64)
    torch.testing.assert_close(network.classifier(features.relu()), network(x))


@pytest.mark.slow
@pytest.mark.long
def test_the_script_gives_weights_of_the_same_accuracy(tmp_path: Path) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("train_digits_cnn", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    splits = script.load_digits()
    network = script.train(splits.train)
    x, labels = script.tensors(splits.test)
    right = int((network(x).argmax(dim=1) == labels).sum())
    assert abs(right - NUM_RIGHT) <= 4  # another processor adds in another order
    assert np.isfinite(network.features(x).detach().numpy()).all()
