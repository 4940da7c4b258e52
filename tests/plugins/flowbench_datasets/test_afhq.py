from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from flowbench_datasets.afhq import convert
from tests.plugins.flowbench_datasets.collect import collect


def test_classes_are_labelled_and_images_halved(tmp_path: Path) -> None:
    kinds = {"train": ["cat", "wild", "dog", "cat"], "val": ["dog"]}
    for split, names in kinds.items():
        for number, kind in enumerate(names):
            path = tmp_path / "afhq" / split / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((512, 512, 3), 50 * number, dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    splits = collect(convert({"afhq.zip": tmp_path / "afhq"}))
    assert splits["train"].x.shape == (4, 3, 256, 256)
    assert splits["train"].context["label"].tolist() == [0, 0, 1, 2]
    assert splits["train"].x[:, 0, 0, 0].tolist() == [0, 150, 100, 50]
    assert splits["test"].context["label"].tolist() == [1]
