"""Data to latents and back, and the other way round."""

from __future__ import annotations

import torch

from flowbench.api.models import Context, InvertibleModel, Latents
from flowbench.contract.checking.checks import Finding, check, failed, within
from flowbench.contract.models.subject import ModelSubject, generator
from flowbench.contract.models.tolerances import ROUND_TRIP, relative_error, same
from flowbench.errors import NotInvertibleError

NUM = 4


@check(
    "the order of layers in the inverse, split priors that are applied one way only, permutations "
    "that are not undone, the stopping rule of an iterative inverse",
    needs=("precision",),
)
@torch.no_grad()
def round_trip(subject: ModelSubject) -> Finding:
    """from_latent(to_latent(x)) = x and to_latent(from_latent(z)) = z, in float64.

    So is the ladj of from_latent_with_ladj that of to_latent.
    """
    model = subject.perturbed_flow(torch.float64)
    try:
        errors = {"x -> latents -> x": _from_data(subject, model)}
        if model.sample_aux(subject.inputs(1, torch.float64).x, generator=generator(0)) is None:
            # Any latent near that of an integer maps to it: there is no way back.
            if not subject.is_discrete:
                errors["latents -> x -> latents"] = _from_base(subject, model)
                # By default it calls the other two.
                if type(model).from_latent_with_ladj is not InvertibleModel.from_latent_with_ladj:
                    errors["ladj of from_latent_with_ladj"] = _ladj_back(subject, model)
    except NotInvertibleError as exc:
        return failed(f"the inverse failed: {exc}")
    worst = max(errors, key=lambda name: errors[name])
    tolerance = same(subject.kind, ROUND_TRIP)
    return within(errors[worst], tolerance, f"largest error in float64, relative ({worst})")


def _from_data(subject: ModelSubject, model: InvertibleModel) -> float:
    inputs = subject.inputs(NUM, torch.float64)
    aux = model.sample_aux(inputs.x, generator=generator(0))
    latents, _ = model.to_latent(inputs.x, inputs.context, aux=aux)
    restored = model.from_latent(latents, inputs.context)
    # Integers come back as integers; both sides are compared as numbers.
    return relative_error(restored.double(), inputs.x.double())


def _from_base(subject: ModelSubject, model: InvertibleModel) -> float:
    noise, context = _drawn(subject, model)
    latents, _ = model.to_latent(model.from_latent(noise, context), context)
    return max(relative_error(a, b) for a, b in zip(latents, noise, strict=True))


def _ladj_back(subject: ModelSubject, model: InvertibleModel) -> float:
    noise, context = _drawn(subject, model)
    x, ladj = model.from_latent_with_ladj(noise, context)
    wrong_x = relative_error(x, model.from_latent(noise, context))
    return max(wrong_x, relative_error(ladj, model.to_latent(x, context)[1]))


def _drawn(subject: ModelSubject, model: InvertibleModel) -> tuple[Latents, Context | None]:
    drawn = model.sample_base(
        NUM, temperature=1.0, generator=generator(1), device=torch.device("cpu")
    )
    return tuple(z.double() for z in drawn), subject.inputs(NUM, torch.float64).context
