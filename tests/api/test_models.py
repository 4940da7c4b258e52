from __future__ import annotations

import pytest
import torch
from torch import nn

from flowbench.api import DatasetInfo, InvertibleModel, ModelConfig

DATA = DatasetInfo(
    name="v",
    modality="vector",
    event_shape=(3,),
    levels=None,
    num_train=1,
    num_validation=1,
    num_test=1,
)


class Shift(InvertibleModel):
    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.shift = nn.Parameter(torch.zeros(data.event_shape))


class Parameterless(InvertibleModel):
    pass


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_base_is_drawn_in_the_dtype_of_the_parameters(dtype: torch.dtype) -> None:
    model = Shift(ModelConfig(), DATA).to(dtype)
    generator = torch.Generator().manual_seed(0)
    (z,) = model.sample_base(2, temperature=1.0, generator=generator, device=torch.device("cpu"))
    assert (z.dtype, tuple(z.shape)) == (dtype, (2, 3))


def test_without_parameters_in_the_default_dtype() -> None:
    model = Parameterless(ModelConfig(), DATA)
    (z,) = model.sample_base(
        2, temperature=1.0, generator=torch.Generator(), device=torch.device("cpu")
    )
    assert z.dtype == torch.get_default_dtype()
