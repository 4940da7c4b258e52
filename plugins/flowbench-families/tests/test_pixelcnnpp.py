from __future__ import annotations

import torch
from forms import images

from flowbench_families.pixelcnnpp.config import PixelCNNPPConfig
from flowbench_families.pixelcnnpp.model import PixelCNNPP


def test_counts_are_those_of_the_released_code() -> None:
    values = PixelCNNPPConfig.presets["cifar10"].values
    with torch.device("meta"):
        model = PixelCNNPP(PixelCNNPPConfig.model_validate(values), images(3, 32, 32, 256))
    assert model.num_parameters_training() == 53_659_080
    assert model.num_parameters() == 53_618_660


def test_dropout_is_drawn_in_training_alone() -> None:
    config = PixelCNNPPConfig(width=4, dropout=0.5)
    model = PixelCNNPP(config, images(1, 4, 4, 4))
    x = torch.randint(4, (2, 1, 4, 4))
    assert not torch.equal(model.log_prob(x), model.log_prob(x))
    model.eval()
    assert torch.equal(model.log_prob(x), model.log_prob(x))
