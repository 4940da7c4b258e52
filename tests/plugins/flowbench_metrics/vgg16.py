"""A VGG-16 whose layers take averages: the published one's architecture, in a small file."""

from __future__ import annotations

from pathlib import Path

import torch

from flowbench_metrics.weight_files import VGG16


def write_even_vgg16(folder: Path) -> Path:
    """Writes weights of the right names and shapes under the published file's name."""
    from torchvision.models import vgg16

    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vgg16().state_dict().items()}
    # One number stands for all of a tensor, also in the file: it would have 550 MB otherwise.
    even = {
        name: torch.full((1,), 1.0 / shape[1:].numel() if len(shape) > 1 else 0.0).expand(shape)
        for name, shape in shapes.items()
    }
    path = folder / VGG16.name
    torch.save(even, path)
    return path
