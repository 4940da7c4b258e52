from __future__ import annotations

import pytest
import torch

from flowbench_models.bijections import ActNorm, FullConv1x1, PLUConv1x1, mix_channels
from flowbench_models.bijections.folding import fold_mixings


@pytest.mark.parametrize("kind", [FullConv1x1, PLUConv1x1])
def test_folded_maps_equal_actnorm_then_convolution(kind, perturb) -> None:
    norms, convolutions = [ActNorm(3) for _ in range(2)], [kind(3) for _ in range(2)]
    perturb(torch.nn.ModuleList([*norms, *convolutions]))
    mixings = fold_mixings(norms, convolutions)
    x = folded = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    ladj = torch.zeros(2, dtype=torch.float64)
    for norm, convolution in zip(norms, convolutions, strict=True):
        for layer in (norm, convolution):
            x, term = layer(x)
            ladj = ladj + term
    for matrix, offset in zip(mixings.matrices, mixings.offsets, strict=True):
        folded = mix_channels(folded, matrix, offset)
    torch.testing.assert_close(folded, x)
    torch.testing.assert_close((8 * mixings.log_abs_det).expand(2), ladj)
