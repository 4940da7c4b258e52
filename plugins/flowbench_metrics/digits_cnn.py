"""digits-cnn: a compact classifier of 8x8 digits whose features need no download.

Trained once on the training split of ``digits`` by ``tools/train_digits_cnn.py``, whose SHA-256 the
weights file names. It classifies 352 of the 360 test digits rightly (97.8 %).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

SHAPE = (1, 8, 8)
LEVELS = 17
NUM_CLASSES = 10
NUM_FEATURES = 16  # few, so that 256 samples determine their covariance
WEIGHTS = Path(__file__).with_name("digits_cnn.safetensors")


class DigitsCnn(nn.Module):
    """Three convolutions, a layer of 16 features, and a linear classifier on them."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.embedding = nn.Linear(32 * 4 * 4, NUM_FEATURES)
        self.classifier = nn.Linear(NUM_FEATURES, NUM_CLASSES)

    def features(self, levels: Tensor) -> Tensor:
        """The layer that distances are measured in, before its nonlinearity.

        Args:
            levels: Grey levels 0..16, shape (B, 1, 8, 8).

        Returns:
            Features, shape (B, 16).
        """
        x = 2.0 * levels.to(self.embedding.weight.dtype) / (LEVELS - 1) - 1.0
        embedded: Tensor = self.embedding(self.convolutions(x).flatten(1))
        return embedded

    def forward(self, levels: Tensor) -> Tensor:
        """Class logits.

        Args:
            levels: Grey levels 0..16, shape (B, 1, 8, 8).

        Returns:
            Logits, shape (B, 10).
        """
        logits: Tensor = self.classifier(functional.relu(self.features(levels)))
        return logits


def load_digits_cnn(path: Path = WEIGHTS) -> DigitsCnn:
    """The trained network, in float64 and eval mode.

    Returns:
        The network.
    """
    from safetensors.torch import load_file

    network = DigitsCnn()
    network.load_state_dict(load_file(path))
    return network.to(torch.float64).requires_grad_(False).eval()
