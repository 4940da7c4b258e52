"""Every bijection goes through the transforms of `torch.func` and can be differentiated twice."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from flowbench.api import DatasetInfo, InvertibleModel, Latents
from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.build import build_model
from flowbench.registry.configs import configure
from flowbench_models import bijections
from flowbench_models.augmented.denseflow.model import FlowUnit
from flowbench_models.augmented.denseflow.networks import PlainConvNet
from flowbench_models.bijections.autoregressive import Autoregressive, InverseAutoregressive
from flowbench_models.bijections.base import (
    Affine,
    Bijection,
    BoundedAffine,
    Composition,
    ConditionalBijection,
    ElementwiseMap,
    HalfCoupling,
    Shift,
    SigmoidAffine,
)
from flowbench_models.bijections.batch_norm import BatchNorm
from flowbench_models.bijections.channels import (
    ActNorm,
    ChannelGaussian,
    FlowStep,
    FlowSteps,
    FullConv1x1,
    InvertibleConv1x1,
    Permutation,
    PLUConv1x1,
    Squeeze,
)
from flowbench_models.bijections.dequantization import DenseDequantizer, LevelScaling
from flowbench_models.bijections.lu import LinearSteps, LULinear
from flowbench_models.bijections.mixtures import MixtureOfLogistics
from flowbench_models.bijections.splines import RationalQuadraticSpline
from flowbench_models.continuous.solved import SolvedModel
from flowbench_models.coupling.glow.model import GlowConvNet, GlowSteps, TopPrior
from flowbench_models.coupling.nanoflow.config import NanoFlowConfig
from flowbench_models.coupling.nanoflow.model import NanoFlowSteps
from flowbench_models.coupling.nice import DiagonalScaling
from flowbench_models.coupling.realnvp.model import (
    MaskedCoupling,
    TanhAffine,
    checkerboard_mask,
)
from flowbench_models.nets.convolution import ZeroConv2d
from flowbench_models.nets.made import MADE
from tests.plugins.flowbench_models.fixtures import ModuleT, Perturb
from tests.plugins.flowbench_models.loss_curves import PLANAR, SMALL

# torch imports its own scripts for forward-mode derivatives.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

SHAPE = (4, 2, 2)


def _step() -> FlowStep:
    coupling = HalfCoupling(SigmoidAffine(), GlowConvNet(2, 4, width=3), swap=False)
    return FlowStep(ActNorm(4), PLUConv1x1(4), coupling)


def _module() -> FlowStep:
    net = PlainConvNet(2, 4, width=3)
    coupling = HalfCoupling(BoundedAffine(), net, swap=False, exchange=True)
    return FlowStep(ActNorm(4), FullConv1x1(4), coupling)


def _nanoflow() -> NanoFlowSteps:
    return NanoFlowSteps(NanoFlowConfig(steps=2, width=3), SHAPE, level=0)


BIJECTIONS: dict[type[Bijection], Callable[[], Bijection]] = {
    ActNorm: lambda: ActNorm(4),
    BatchNorm: lambda: BatchNorm(4),
    ChannelGaussian: lambda: ChannelGaussian(4),
    Composition: lambda: Composition([ActNorm(4), FullConv1x1(4)]),
    FlowStep: _step,
    FlowSteps: lambda: FlowSteps([_step(), _step()]),
    FlowUnit: lambda: FlowUnit([_module(), _module()]),
    FullConv1x1: lambda: FullConv1x1(4),
    GlowSteps: lambda: GlowSteps([_step(), _step()]),
    HalfCoupling: lambda: HalfCoupling(Shift(), ZeroConv2d(2, 2), swap=True),
    LevelScaling: lambda: LevelScaling(17, alpha=0.05),
    MaskedCoupling: lambda: MaskedCoupling(
        TanhAffine(0.5), ZeroConv2d(4, 8), checkerboard_mask(2, 2, even=True)
    ),
    NanoFlowSteps: _nanoflow,
    LULinear: lambda: LULinear(4),
    PLUConv1x1: lambda: PLUConv1x1(4),
    Permutation: lambda: Permutation([2, 0, 3, 1]),
    Squeeze: Squeeze,
    TopPrior: lambda: TopPrior(4),
}


def _autoregressive() -> Autoregressive:
    return Autoregressive(SigmoidAffine(), MADE(4, 5, 2, num_parameters=2, residual=True))


OF_VECTORS: dict[type[Bijection], Callable[[], Bijection]] = {
    Autoregressive: _autoregressive,
    DiagonalScaling: lambda: DiagonalScaling(4),
    InverseAutoregressive: lambda: InverseAutoregressive(_autoregressive()),
    LinearSteps: lambda: LinearSteps([LULinear(4), _autoregressive(), LULinear(4)]),
}
LAWS: dict[type[ElementwiseMap], Callable[[], ElementwiseMap]] = {
    Affine: Affine,
    BoundedAffine: BoundedAffine,
    MixtureOfLogistics: lambda: MixtureOfLogistics(2),
    RationalQuadraticSpline: lambda: RationalQuadraticSpline(4, 2.0),
    Shift: Shift,
    SigmoidAffine: SigmoidAffine,
    TanhAffine: lambda: TanhAffine(0.5),
}
ABSTRACT = {ConditionalBijection, InvertibleConv1x1}


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for subclass in base.__subclasses__():
        if subclass.__module__.startswith("flowbench_models."):
            yield subclass
            yield from _subclasses(subclass)


def _shared(base: type[Any]) -> set[type[Any]]:
    """What models share; a model's own parts are looked at through its density, too."""
    package = "flowbench_models.bijections."
    found = (kind for kind in _subclasses(base) if kind.__module__.startswith(package))
    # Not those of a docstring's example, which may have run in this process.
    return {kind for kind in found if kind.__name__ in vars(sys.modules[kind.__module__])}


def test_every_shared_bijection_and_law_is_here() -> None:
    for module in pkgutil.walk_packages(bijections.__path__, "flowbench_models.bijections."):
        importlib.import_module(module.name)
    assert _shared(Bijection) - ABSTRACT <= {*BIJECTIONS, *OF_VECTORS}
    assert _shared(ElementwiseMap) <= set(LAWS)


# --- what each has to go through ------------------------------------------------------------------

Outputs = tuple[Tensor, ...]


def _batch_of_one(function: Callable[[Tensor], Outputs]) -> Callable[[Tensor], Outputs]:
    """The function of one example."""
    return lambda event: tuple(output.squeeze(0) for output in function(event.unsqueeze(0)))


def _goes_through_every_transform(function: Callable[[Tensor], Outputs], x: Tensor) -> None:
    """Holds a function of batches to its own values and derivatives, found in the plain way."""
    plain = function(x)
    torch.testing.assert_close(vmap(_batch_of_one(function))(x), plain)
    jacobians = torch.autograd.functional.jacobian(function, x)
    torch.testing.assert_close(jacrev(function)(x), jacobians)
    direction = torch.randn_like(x)
    forward: Any = jvp(function, (x,), (direction,))
    primal, tangents = forward
    torch.testing.assert_close(primal, plain)
    for tangent, jacobian in zip(tangents, jacobians, strict=True):
        moved = jacobian.flatten(tangent.ndim) @ direction.flatten()
        torch.testing.assert_close(tangent, moved)
    leaf = x.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(function, leaf, fast_mode=True, atol=1e-4)


def _settled(module: ModuleT, perturb: Perturb, std: float = 0.2) -> ModuleT:
    return perturb(module, std).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", [*BIJECTIONS, *OF_VECTORS], ids=lambda kind: kind.__name__)
def test_a_bijection_goes_through_every_transform(kind: type[Bijection], perturb: Perturb) -> None:
    make = {**BIJECTIONS, **OF_VECTORS}[kind]
    bijection = _settled(make(), perturb)
    shape = (2, 4) if kind in OF_VECTORS else (2, *SHAPE)
    scale = 17.0 if kind is LevelScaling else 1.0
    _goes_through_every_transform(bijection, scale * torch.rand(shape, dtype=torch.float64))


@pytest.mark.parametrize("kind", [*BIJECTIONS, *OF_VECTORS], ids=lambda kind: kind.__name__)
def test_an_inverse_goes_through_every_transform(kind: type[Bijection], perturb: Perturb) -> None:
    make = {**BIJECTIONS, **OF_VECTORS}[kind]
    bijection = _settled(make(), perturb)
    shape = (2, 4) if kind in OF_VECTORS else (2, *SHAPE)
    z = torch.rand(shape, dtype=torch.float64)
    _goes_through_every_transform(lambda value: (bijection.inverse(value),), z)


@pytest.mark.parametrize("kind", [*BIJECTIONS, *OF_VECTORS], ids=lambda kind: kind.__name__)
def test_an_inverse_with_its_ladj_is_that_of_forward(
    kind: type[Bijection], perturb: Perturb
) -> None:
    make = {**BIJECTIONS, **OF_VECTORS}[kind]
    bijection = _settled(make(), perturb)
    shape = (2, 4) if kind in OF_VECTORS else (2, *SHAPE)
    scale = 17.0 if kind is LevelScaling else 1.0
    x = scale * torch.rand(shape, dtype=torch.float64)
    z, ladj = bijection(x)
    torch.testing.assert_close(bijection.inverse_with_ladj(z), (x, ladj))


@pytest.mark.parametrize("kind", LAWS, ids=lambda kind: kind.__name__)
def test_a_law_goes_through_every_transform(kind: type[ElementwiseMap], perturb: Perturb) -> None:
    law = _settled(LAWS[kind](), perturb)
    assert isinstance(law, ElementwiseMap)
    parameters = torch.randn(1, 4 * law.num_parameters, dtype=torch.float64)
    x = torch.randn(2, 4, dtype=torch.float64)
    for function, argument in (
        (lambda value: law(value, parameters.expand(len(value), -1)), x),
        (lambda values: law(x[:1].expand(len(values), -1), values), parameters),
    ):
        _goes_through_every_transform(function, argument)


def test_a_dequantizer_goes_through_every_transform_of_its_noise(
    perturb: Perturb,
) -> None:
    dequantizer = _settled(
        DenseDequantizer(
            (1, 4, 4),
            levels=17,
            steps=1,
            width=2,
            depth=1,
            growth=2,
            num_context=2,
            context_depth=1,
            context_growth=2,
        ),
        perturb,
    )
    levels = torch.randint(17, (1, 1, 4, 4)).double()
    noise = torch.randn(2, 4, 2, 2, dtype=torch.float64)
    _goes_through_every_transform(
        lambda value: dequantizer(levels.expand(len(value), -1, -1, -1), value), noise
    )


# --- models, and so the parts that only they have -------------------------------------------------

REGISTRY = load_registry(PluginSelection(only=("flowbench",)))

Variant = tuple[str, DatasetInfo, dict[str, Any]]

DENSEFLOW = {"units": [2, 1], "modules": [1, 1], "width": 4, "dense_growth": 2}
TARFLOW = {"blocks": 2, "layers": 1, "width": 8, "head_dim": 4}
# A term of a series is a gradient: of few blocks and terms, it can be differentiated twice more.
RESIDUAL = {"blocks": [1, 1], "width": 4, "dense_blocks": 1, "evaluation_terms": 1}
OF_SERIES = {name: RESIDUAL for name in ("residual-flow", "iresnet", "idensenet")}
DEFAULTS: dict[str, Variant] = {
    f"{name} as it comes": (
        name,
        SMALL if "image" in entry.spec.modalities else PLANAR,
        OF_SERIES.get(name, {}),
    )
    for name, entry in REGISTRY.models.items()
    if entry.spec.modalities & {"image", "vector"}  # the transform of another is no matrix of these
}
VARIANTS: dict[str, Variant] = {
    "realnvp of vectors": ("realnvp", PLANAR, {"width": 8, "couplings": 2}),
    "maf of pixels, batch norm": ("maf", SMALL, {"width": 8, "transforms": 2, "norm": "batch"}),
    "maf of vectors": ("maf", PLANAR, {"width": 8}),
    "iaf of vectors": ("iaf", PLANAR, {"width": 8}),
    "nsf, couplings": ("nsf", PLANAR, {"width": 8, "steps": 2}),
    "nsf, autoregressive": (
        "nsf",
        PLANAR,
        {"width": 8, "steps": 2, "transform": "autoregressive"},
    ),
    "residual-flow of vectors": ("residual-flow", PLANAR, {"dense_blocks": 2, "dense_width": 8}),
    "rqnsf, batch norm": (
        "rqnsf",
        SMALL,
        {"levels": 1, "steps": 1, "width": 4, "batch_norm": True, "multi_scale": False},
    ),
    "realnvp, batch norm": (
        "realnvp",
        SMALL,
        {"network": "resnet", "norm": "batch", "width": 4, "blocks": 1, "scales": 2},
    ),
    "denseflow, uniform": (
        "denseflow",
        SMALL,
        {**DENSEFLOW, "dequantization": "uniform", "logit_alpha": None},
    ),
    "tarflow, couplings": ("tarflow", SMALL, {**TARFLOW, "block": "coupling"}),
}
MODELS = DEFAULTS | VARIANTS


@pytest.mark.parametrize("case", MODELS)
def test_the_density_of_a_model_goes_through_every_transform(case: str, perturb: Perturb) -> None:
    name, data, overrides = MODELS[case]
    config = configure(REGISTRY, name, data, overrides).config
    if config.preprocessing.support == "discrete":
        pytest.skip(f"{name} has integers, by which nothing is differentiated")
    model = _settled(build_model(REGISTRY, name, config.model_dump(), data), perturb, std=0.02)
    if not isinstance(model, InvertibleModel):
        pytest.skip(f"{name} has no map to a latent")
    if isinstance(model, SolvedModel) and not model.traces_exactly:
        pytest.skip(f"{name} draws the probes of its trace within, where vmap allows no draws")
    x = torch.rand(2, *data.event_shape, dtype=torch.float64)
    noises = model.sample_aux(x[:1], generator=torch.Generator().manual_seed(0))

    def log_prob(value: Tensor) -> Outputs:
        aux: Latents | None = None
        if noises is not None:
            aux = tuple(noise.expand(len(value), *noise.shape[1:]) for noise in noises)
        latents, ladj = model.to_latent(value, aux=aux)
        return (model.base_log_prob(latents) + ladj,)

    # Attention's fused kernels have no batching rule, no second and no forward-mode derivative.
    with sdpa_kernel(SDPBackend.MATH):
        _goes_through_every_transform(log_prob, x)
