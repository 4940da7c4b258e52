from __future__ import annotations

import torch
import torch.nn.functional as F

from flowbench_models.bijections import ActNorm
from flowbench_models.nets.convnet import ZeroConv2d
from flowbench_models.nets.shared_estimator import (
    FlowIndication,
    SharedEstimator,
    fold_projections,
)


def _estimator(perturb) -> tuple[SharedEstimator, list[FlowIndication]]:
    estimator = SharedEstimator(3, width=4, hidden_kernels=(3, 1, 3))
    indications = [FlowIndication((2, 4, 4), gate_rows=3, width=4) for _ in range(2)]
    perturb(torch.nn.ModuleList([estimator, *indications]))
    return estimator, indications


def test_folded_network_equals_convolution_norm_gate_relu(perturb) -> None:
    estimator, indications = _estimator(perturb)
    h = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    for kernels, indication in zip(estimator.fold(indications, 2), indications, strict=True):
        expected = h
        for layer, gate in zip(estimator.conv_layers(), indication.gates, strict=True):
            padding = layer.weight.shape[-1] // 2
            normalised, _ = layer.norm(F.conv2d(expected, layer.weight, padding=padding))
            expected = F.relu(gate.exp().view(1, -1, 1, 1) * normalised)
        torch.testing.assert_close(estimator(kernels, h), expected)


def test_without_indications_all_steps_share_their_kernels() -> None:
    estimator = SharedEstimator(3, width=4, hidden_kernels=(3, 1))
    first, second = estimator.fold([], 2)
    assert first is second


def test_fresh_gates_are_open(perturb) -> None:
    estimator = SharedEstimator(3, width=4, hidden_kernels=(3, 1))
    indication = FlowIndication((2, 4, 4), gate_rows=6, width=4)
    (gated,) = estimator.fold([indication], 1)
    (plain,) = estimator.fold([], 1)
    torch.testing.assert_close(gated, plain)


def test_embedding_is_normalised_over_positions() -> None:
    indication = FlowIndication((2, 8, 8), gate_rows=1, width=1)
    with torch.no_grad():
        indication.embedding.mul_(5.0).add_(3.0)
    indication.initialize()
    assert isinstance(indication.norm, ActNorm)
    (image,) = FlowIndication.embeddings([indication])
    std, mean = torch.std_mean(image, dim=(1, 2), correction=0)
    torch.testing.assert_close(mean, torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(std, torch.ones(2), rtol=0, atol=1e-4)


def test_embedding_of_a_single_position_is_left_alone() -> None:
    indication = FlowIndication((2, 1, 1), gate_rows=1, width=1)
    indication.initialize()
    torch.testing.assert_close(FlowIndication.embeddings([indication]), indication.embedding)
    assert not indication.norm.log_scale.any()


def test_only_the_first_step_initialises_the_shared_norms() -> None:
    estimator = SharedEstimator(3, width=4, hidden_kernels=(3, 1))
    first, second = torch.randn(2, 3, 4, 4), 9.0 + torch.randn(2, 3, 4, 4)
    estimator.initialize(first, None)
    state = {key: value.clone() for key, value in estimator.state_dict().items()}
    h = estimator.initialize(second, None)
    torch.testing.assert_close(estimator.state_dict(), state)
    (kernels,) = estimator.fold([], 1)
    torch.testing.assert_close(h, estimator(kernels, second))


def test_initialising_runs_through_the_gates(perturb) -> None:
    estimator, indications = _estimator(perturb)
    h = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    out = estimator.initialize(h, indications[0])
    torch.testing.assert_close(out, estimator(estimator.fold(indications, 2)[0], h))


def test_shared_projection_is_folded_once(perturb) -> None:
    projection, other = ZeroConv2d(2, 3, 1), ZeroConv2d(2, 3, 1)
    perturb(torch.nn.ModuleList([projection, other]))
    first, second = fold_projections([projection, projection])
    assert first[0] is second[0]
    separate = fold_projections([projection, other])
    torch.testing.assert_close(separate[0], first)
    torch.testing.assert_close(separate[1], ZeroConv2d.fold([other])[0])


def test_dropout_acts_in_training_alone(perturb) -> None:
    estimator = perturb(SharedEstimator(3, width=8, hidden_kernels=(3, 1), dropout=0.5))
    (kernels,) = estimator.fold([], 1)
    h = torch.randn(4, 3, 4, 4, dtype=torch.float64)
    assert not torch.equal(estimator(kernels, h), estimator(kernels, h))
    estimator.eval()
    assert torch.equal(estimator(kernels, h), estimator(kernels, h))
