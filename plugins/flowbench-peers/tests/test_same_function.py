"""With the weights of another library's flow, a flow of flowbench computes the same function.

Log-densities, latents and samples agree in float64 to 1e-10 relative: the splines, masked
conditioners, couplings, LU maps and multi-scale images of flowbench are those of the papers' code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch
from flowbench.api import DatasetInfo, InvertibleModel, Latents
from flowbench_models.bijections.autoregressive import Autoregressive
from flowbench_models.bijections.channels import ActNorm, FlowStep, FlowSteps
from flowbench_models.bijections.lu import LULinear
from flowbench_models.coupling.nsf import NSF, NSFConfig, SplineCoupling
from flowbench_models.coupling.rqnsf import RQNSF, ConvResNet, FlooredSigmoidAffine, RQNSFConfig
from flowbench_models.nets.made import MADE
from flowbench_models.nets.mlp import ResidualMLP
from torch import Tensor, nn

nflows = pytest.importorskip("nflows")
normflows = pytest.importorskip("normflows")

from nflows import transforms  # noqa: E402
from nflows.nn.nets import ConvResidualNet, ResidualNet  # noqa: E402
from nflows.utils import torchutils  # noqa: E402

# nflows inverts its LU maps by it.
pytestmark = pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated:UserWarning")

RELATIVE = 1e-10
WIDTH, BLOCKS, BINS, BOUND = 16, 2, 5, 3.0

SPLINE: dict[str, Any] = {
    "num_bins": BINS,
    "tails": "linear",
    "tail_bound": BOUND,
}


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _vectors(num_dims: int) -> DatasetInfo:
    return _info("vector", (num_dims,), None)


def _info(modality: Any, shape: tuple[int, ...], levels: int | None) -> DatasetInfo:
    return DatasetInfo(
        name="some-data",
        modality=modality,
        event_shape=shape,
        levels=levels,
        num_train=100,
        num_validation=10,
        num_test=10,
    )


def _perturbed(module: nn.Module) -> Any:
    """Moves all weights, so that nothing is trivial, and batch norms' statistics."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.uniform_(-0.5, 0.5)
                layer.running_var.uniform_(0.5, 1.5)
    return module.eval()


# --- weights --------------------------------------------------------------------------------------


def _copy(theirs: Any, ours: nn.Module) -> None:
    ours.load_state_dict(theirs.state_dict(), strict=False)


@torch.no_grad()
def _copy_output(theirs: Any, ours: Any, num_parameters: int) -> None:
    """Of the last layer: theirs gives all parameters of an element, then those of the next."""
    for name in ("weight", "bias"):
        values = getattr(theirs, name)
        values = values.view(-1, num_parameters, *values.shape[1:]).transpose(0, 1)
        getattr(ours, name).copy_(values.reshape(getattr(ours, name).shape))


def _copy_made(theirs: Any, ours: MADE) -> None:
    layers = list(ours.layers)
    _copy(theirs.initial_layer, layers[0])
    inner = [linear for block in theirs.blocks for linear in block.linear_layers]
    for source, target in zip(inner, layers[1:-1], strict=True):
        _copy(source, target)
    _copy_output(theirs.final_layer, layers[-1], ours.num_parameters)


def _copy_residual(theirs: Any, ours: ResidualMLP, num_parameters: int) -> None:
    _copy(theirs.initial_layer, ours.first)
    for source, target in zip(theirs.blocks, ours.blocks, strict=True):
        for linear, same in zip(source.linear_layers, target.children(), strict=True):
            _copy(linear, same)
    _copy_output(theirs.final_layer, ours.last, num_parameters)


def _copy_convolutions(theirs: Any, ours: ConvResNet, num_parameters: int) -> None:
    _copy(theirs.initial_layer, ours.first)
    for source, target in zip(theirs.blocks, ours.blocks, strict=True):
        block = cast(Any, target)
        for norm, same in zip(
            source.batch_norm_layers, (block.norm_in, block.norm_out), strict=True
        ):
            _copy(norm, same)
        for layer, same in zip(source.conv_layers, (block.conv_in, block.conv_out), strict=True):
            _copy(layer, same)
    if num_parameters == 2:  # of the affine law they come as ours do
        _copy(theirs.final_layer, ours.last)
    else:
        _copy_output(theirs.final_layer, ours.last, num_parameters)


@torch.no_grad()
def _copy_lu(permutation: Any, theirs: Any, ours: LULinear, before: Tensor | None = None) -> None:
    """A permutation and an LU map; ``before`` says where their elements are among ours."""
    ours.lower.copy_(theirs.lower_entries)
    ours.upper.copy_(theirs.upper_entries)
    ours.diagonal.copy_(theirs.unconstrained_upper_diag)
    assert ours.bias is not None
    ours.bias.copy_(theirs.bias)
    source = permutation._permutation
    ours.source.copy_(source if before is None else before[source])


@torch.no_grad()
def _copy_actnorm(theirs: Any, ours: ActNorm) -> None:
    """Theirs scales, then shifts; ours shifts first."""
    ours.log_scale.copy_(theirs.log_scale)
    ours.shift.copy_(theirs.shift / theirs.log_scale.exp())
    ours.initialized.fill_(True)


# --- what is held to be the same ------------------------------------------------------------------


def _close(ours: Tensor, theirs: Tensor) -> None:
    scale = float(theirs.detach().abs().max())
    torch.testing.assert_close(ours, theirs, rtol=RELATIVE, atol=RELATIVE * scale)


def _assert_same(
    model: InvertibleModel, theirs: Any, x: Tensor, latents_of: Any = lambda z: z[0]
) -> None:
    """Latents, log-densities and samples of the two."""
    z, ladj = theirs(x)
    ours, our_ladj = model.to_latent(x)
    flat = latents_of(ours)
    _close(flat, z)
    _close(our_ladj, ladj)
    base = -0.5 * (z.square().flatten(1).sum(dim=1) + z[0].numel() * math.log(2 * math.pi))
    log_prob = model.log_prob(x)
    assert isinstance(log_prob, Tensor)
    _close(log_prob, base + ladj)
    noise = tuple(torch.randn_like(latent) for latent in ours)
    _close(model.from_latent(noise), theirs.inverse(latents_of(noise))[0])


def _spread(num_dims: int) -> Tensor:
    """Examples within the splines, beyond them, and on their bounds."""
    x = 2.0 * torch.randn(64, num_dims)
    x[0], x[1] = BOUND, -BOUND
    return x


# --- splines over vectors -------------------------------------------------------------------------


def _linear(num_dims: int) -> Any:
    return transforms.CompositeTransform(
        [transforms.RandomPermutation(num_dims), transforms.LULinear(num_dims, identity_init=True)]
    )


@pytest.mark.parametrize("num_dims", [1, 2, 5])
def test_autoregressive_nsf_is_that_of_nflows(num_dims: int) -> None:
    config = NSFConfig(
        transform="autoregressive", steps=3, width=WIDTH, blocks=BLOCKS, bins=BINS, bound=BOUND
    )
    model = NSF(config, _vectors(num_dims)).double().eval()
    layers = []
    for _ in range(3):
        layers += [
            _linear(num_dims),
            transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                num_dims, WIDTH, num_blocks=BLOCKS, **SPLINE
            ),
        ]
    theirs = _perturbed(transforms.CompositeTransform([*layers, _linear(num_dims)]))
    for source, target in zip(theirs._transforms, model.flow.parts(), strict=True):
        if isinstance(target, LULinear):
            permutation, linear = source._transforms
            _copy_lu(permutation, linear, target)
        else:
            assert isinstance(target, Autoregressive)
            _copy_made(source.autoregressive_net, target.net)
    _assert_same(model, theirs, _spread(num_dims))


@pytest.mark.parametrize("num_dims", [2, 5])
def test_coupling_nsf_is_that_of_nflows(num_dims: int) -> None:
    config = NSFConfig(steps=3, width=WIDTH, blocks=BLOCKS, bins=BINS, bound=BOUND)
    model = NSF(config, _vectors(num_dims)).double().eval()

    def net(num_inputs: int, num_outputs: int) -> Any:
        return ResidualNet(num_inputs, num_outputs, WIDTH, num_blocks=BLOCKS)

    layers = []
    for index in range(3):
        mask = torchutils.create_alternating_binary_mask(num_dims, even=index % 2 == 0)
        layers += [
            _linear(num_dims),
            transforms.PiecewiseRationalQuadraticCouplingTransform(
                mask, net, apply_unconditional_transform=True, **SPLINE
            ),
        ]
    theirs = _perturbed(transforms.CompositeTransform([*layers, _linear(num_dims)]))
    linears = [layer for layer in model.flow.parts() if isinstance(layer, LULinear)]
    couplings = [layer for layer in model.flow.parts() if isinstance(layer, SplineCoupling)]
    by_parity = torch.cat((torch.arange(0, num_dims, 2), torch.arange(1, num_dims, 2)))
    for index, (source, target) in enumerate(zip(theirs._transforms[::2], linears, strict=True)):
        # Behind a coupling ours has even elements first; the next permutation takes that up.
        permutation, linear = source._transforms
        _copy_lu(permutation, linear, target, by_parity.argsort() if index else None)
    for source, coupling in zip(theirs._transforms[1::2], couplings, strict=True):
        _copy_residual(source.transform_net, cast(ResidualMLP, coupling.conditioner), 3 * BINS - 1)
        own = source.unconditional_transform
        parts = (own.unnormalized_widths, own.unnormalized_heights, own.unnormalized_derivatives)
        coupling.own.data.copy_(torch.cat(parts, dim=1).T)
    _assert_same(model, theirs, _spread(num_dims))


# --- images ---------------------------------------------------------------------------------------


def _image_level(channels: int, steps: int, spline: bool) -> Any:
    def net(num_inputs: int, num_outputs: int) -> Any:
        return ConvResidualNet(
            num_inputs, num_outputs, WIDTH, num_blocks=BLOCKS, use_batch_norm=True
        )

    mask = torchutils.create_mid_split_binary_mask(channels)
    layers: list[Any] = [transforms.SqueezeTransform()]
    for _ in range(steps):
        coupling = (
            transforms.PiecewiseRationalQuadraticCouplingTransform(mask, net, **SPLINE)
            if spline
            else transforms.AffineCouplingTransform(mask, net)
        )
        layers += [
            transforms.ActNorm(channels),
            transforms.OneByOneConvolution(channels),
            coupling,
        ]
    return transforms.CompositeTransform([*layers, transforms.OneByOneConvolution(channels)])


def _copy_level(theirs: Any, ours: Any, num_parameters: int) -> None:
    sources = iter(theirs._transforms)
    next(sources)  # squeezing
    _, steps, last = ours.parts()
    assert isinstance(steps, FlowSteps)
    for step in steps.steps():
        assert isinstance(step, FlowStep)
        _copy_actnorm(next(sources), step.norm)
        convolution = next(sources)
        _copy_lu(convolution.permutation, convolution, cast(LULinear, step.mixing))
        coupling = next(sources)
        net = cast(ConvResNet, step.coupling.conditioner)
        _copy_convolutions(coupling.transform_net, net, num_parameters)
    convolution = next(sources)
    _copy_lu(convolution.permutation, convolution, last)


CONFIG: dict[str, Any] = {
    "levels": 2,
    "steps": 2,
    "width": WIDTH,
    "blocks": BLOCKS,
    "bins": BINS,
    "bound": BOUND,
}


def _initialised(module: Any) -> Any:
    for layer in module.modules():
        if isinstance(layer, transforms.ActNorm):
            layer.initialized.fill_(True)
    return _perturbed(module)


@pytest.mark.parametrize("coupling", ["spline", "affine"])
def test_image_flow_of_one_scale_is_that_of_nflows(coupling: Any) -> None:
    config = RQNSFConfig(multi_scale=False, coupling=coupling, **CONFIG)
    model = RQNSF(config, _info("image", (3, 8, 8), 256)).double().eval()
    spline = coupling == "spline"
    theirs = _initialised(
        transforms.CompositeTransform([_image_level(12, 2, spline), _image_level(48, 2, spline)])
    )
    (scale,) = model.flow.scales
    for source, target in zip(theirs._transforms, cast(Any, scale).parts(), strict=True):
        _copy_level(source, target, 3 * BINS - 1 if spline else 2)
    _assert_same(model, theirs, 2.0 * torch.randn(4, 3, 8, 8))


def test_multi_scale_image_flow_is_that_of_nflows() -> None:
    model = RQNSF(RQNSFConfig(**CONFIG), _info("image", (3, 8, 8), 256)).double().eval()
    theirs = transforms.MultiscaleCompositeTransform(num_transforms=2)
    levels = [_image_level(12, 2, True), _image_level(24, 2, True)]
    shape = theirs.add_transform(levels[0], (12, 4, 4))
    assert tuple(shape) == (6, 4, 4)
    theirs.add_transform(levels[1], (24, 2, 2))
    _initialised(theirs)
    for source, target in zip(levels, model.flow.scales, strict=True):
        _copy_level(source, target, 3 * BINS - 1)

    def flat(latents: Latents) -> Tensor:
        return torch.cat([latent.flatten(1) for latent in latents], dim=1)

    _assert_same(model, theirs, 2.0 * torch.randn(4, 3, 8, 8), flat)


# --- affine autoregressive flows ------------------------------------------------------------------


@pytest.mark.parametrize("num_dims", [2, 6])
def test_affine_autoregressive_flow_is_that_of_normflows(num_dims: int) -> None:
    theirs = _perturbed(
        normflows.flows.MaskedAffineAutoregressive(num_dims, WIDTH, num_blocks=BLOCKS)
    )
    ours = Autoregressive(
        FlooredSigmoidAffine(), MADE(num_dims, WIDTH, BLOCKS, 2, residual=True)
    ).double()
    _copy_made(theirs.autoregressive_net, ours.net)
    # Theirs gives scale before shift.
    last = cast(Any, ours.net.layers[-1])
    for parameter in last.parameters():
        parameter.data.copy_(torch.cat(parameter.data.chunk(2)[::-1]))
    x = _spread(num_dims)
    z, ladj = theirs(x)
    our_z, our_ladj = ours(x)
    _close(our_z, z)
    _close(our_ladj, ladj)
    _close(ours.inverse(z), theirs.inverse(z)[0])
