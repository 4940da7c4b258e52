"""Shapes and dtypes of everything that a model returns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowbench.api.models import DensityModel, GenerativeModel, InvertibleModel
from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.models.subject import (
    Inputs,
    ModelSubject,
    draw,
    generator,
    loss,
    step,
)

# A batch of one shows an axis that is squeezed, another a size that is fixed.
BATCHES = (1, 3)


@check(
    "reductions over the batch axis or a kept last axis; log_prob and ladj are summed "
    "over event dims, shape (B,); latent_shapes() when there is more than one latent",
    needs=("construction",),
)
def shapes(subject: ModelSubject) -> Finding:
    """Shapes and dtypes of log_prob, to_latent, from_latent, sample and loss."""
    model = subject.build()
    for num in BATCHES:
        problem = _problem(subject, model, num)
        if problem is not None:
            return failed(problem)
    return passed(f"batches of {' and '.join(map(str, BATCHES))}")


def _problem(subject: ModelSubject, model: GenerativeModel, num: int) -> str | None:
    inputs = subject.inputs(num)
    # Causes first: a density is made of latents, and the loss of the density.
    problem = _latent_problem(model, inputs) if isinstance(model, InvertibleModel) else None
    if problem is None and isinstance(model, DensityModel):
        problem = _density_problem(model, inputs)
    return problem or _sample_problem(subject, model, num) or _loss_problem(subject, model)


def _sample_problem(subject: ModelSubject, model: GenerativeModel, num: int) -> str | None:
    with torch.no_grad():
        x = draw(subject, model, num)
    problem = _mismatch("sample", x, (num, *subject.info.event_shape))
    if problem is None and subject.is_discrete and x.is_floating_point():
        return f"sample returned {x.dtype}; a model of discrete support returns integers"
    if problem is None and not subject.is_discrete and not x.is_floating_point():
        return f"sample returned {x.dtype}; expected floating-point values of the model's space"
    return problem


def _density_problem(model: DensityModel, inputs: Inputs) -> str | None:
    with torch.no_grad():
        returned = model.log_prob(inputs.x, inputs.context, generator=generator(0))
    values, problem = _parts("log_prob", returned, len(inputs.x))
    problem = problem or _mismatch("log_prob", values, (len(inputs.x),))
    if problem is None and isinstance(values, Tensor) and not values.is_floating_point():
        return f"log_prob returned {values.dtype}; expected floating-point nats"
    return problem


def _parts(what: str, returned: object, num: int) -> tuple[object, str | None]:
    """A value, and what is wrong with the diagnostics beside it."""
    if not isinstance(returned, tuple):
        return returned, None
    if len(returned) != 2 or not isinstance(returned[1], Mapping):
        return None, f"{what} is a tuple; expected a tensor, or a tensor and a mapping of tensors"
    for name, value in returned[1].items():
        if not isinstance(value, Tensor) or value.shape not in ((), (num,)):
            return None, f"info {name!r} of {what} is no tensor of shape () or ({num},)"
    return returned[0], None


def _latent_problem(model: InvertibleModel, inputs: Inputs) -> str | None:
    num = len(inputs.x)
    with torch.no_grad():
        aux = model.sample_aux(inputs.x, generator=generator(0))
        returned: object = model.to_latent(inputs.x, inputs.context, aux=aux)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            return (
                "to_latent returned no pair; return (z,), ladj: all latents, and the "
                "log-determinants of all layers added up, shape (B,)"
            )
        latents, ladj = returned
        if not isinstance(latents, tuple):
            return f"to_latent returned a {type(latents).__name__} of latents; return (z,), ladj"
        shapes = tuple(tuple(z.shape) for z in latents)
        expected = tuple((num, *shape) for shape in model.latent_shapes())
        if shapes != expected:
            return f"to_latent returned latents of shapes {shapes}; latent_shapes() says {expected}"
        problem = _mismatch("ladj of to_latent", ladj, (num,))
        x = model.from_latent(latents, inputs.context)
    return problem or _mismatch("from_latent", x, tuple(inputs.x.shape))


def _loss_problem(subject: ModelSubject, model: GenerativeModel) -> str | None:
    # In training mode, in which batch norms need more than one row.
    batch = subject.batch(4)
    model.train()
    for group in model.optimizer_groups():
        problem = _mismatch(f"loss of group {group!r}", loss(model, batch, step(group)), ())
        if problem is not None:
            return problem
    model.eval()
    return None


def _mismatch(what: str, value: object, expected: tuple[int, ...]) -> str | None:
    if not isinstance(value, Tensor):
        return f"{what} is a {type(value).__name__}; expected a tensor of shape {expected}"
    if tuple(value.shape) != expected:
        return f"{what} has shape {tuple(value.shape)}; expected {expected}"
    if value.device.type != "cpu":
        return f"{what} is on {value.device}; leave out .cuda(): the harness chooses the device"
    return None
