"""Sampling settings are obeyed or refused, never passed over."""

from __future__ import annotations

import torch
from torch import Tensor

from flowbench.api.config import SampleSettings
from flowbench.api.models import GenerativeModel
from flowbench.contract.checks import Check, Finding, failed, passed
from flowbench.contract.models.subject import ModelSubject, generator
from flowbench.errors import ConfigError

NUM = 4
UNKNOWN = "no_model_has_this_option"


def check_options(subject: ModelSubject) -> Finding:
    """An unknown option is a ConfigError; a temperature changes the samples, or is one too."""
    model = subject.perturbed()
    try:
        _sample(subject, model, SampleSettings(options={UNKNOWN: 1}))
        return failed(f"the unknown sampling option {UNKNOWN!r} was passed over in silence")
    except ConfigError:
        pass
    try:
        cold = _sample(subject, model, SampleSettings(temperature=0.25))
    except ConfigError:
        return passed("unknown options and temperatures are refused")
    if torch.equal(cold, _sample(subject, model, SampleSettings())):
        return failed("temperature 0.25 gives the samples of temperature 1")
    return passed("unknown options are refused, the temperature has an effect")


@torch.no_grad()
def _sample(subject: ModelSubject, model: GenerativeModel, settings: SampleSettings) -> Tensor:
    num = 16 * NUM if subject.is_discrete else NUM  # few integers can be equal by chance
    return model.sample(num, subject.sample_context(num), settings=settings, generator=generator(0))


CHECKS = (
    Check(
        name="sampling_options",
        asks="sample() refuses options it does not know and does not ignore the temperature",
        look_at="call refuse_options(settings) in sample(); a model without a temperature raises "
        "ConfigError when it is not 1",
        run=check_options,
        needs=("determinism",),
    ),
)
