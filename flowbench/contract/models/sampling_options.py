"""Sampling settings are obeyed or refused, never passed over."""

from __future__ import annotations

import torch

from flowbench.api.config import sampling_options
from flowbench.api.protocol import SampleSettings
from flowbench.contract.checks import Check, Finding, failed, passed
from flowbench.contract.models.subject import ModelSubject, draw, generator
from flowbench.errors import ConfigError

NUM = 4


def check_options(subject: ModelSubject) -> Finding:
    """A temperature changes the samples, or the model's options refuse it."""
    model = subject.perturbed()
    try:
        options = sampling_options(subject.config, SampleSettings(temperature=0.25), subject.info)
    except ConfigError:
        return passed("the model's options refuse a temperature")
    num = 16 * NUM if subject.is_discrete else NUM  # few integers can be equal by chance
    with torch.no_grad():
        cold = draw(subject, model, num, generator(0), options)
        warm = draw(subject, model, num, generator(0))
    if torch.equal(cold, warm):
        return failed("temperature 0.25 gives the samples of temperature 1")
    return passed("the temperature has an effect")


CHECKS = (
    Check(
        name="sampling_options",
        asks="sample() does not ignore the temperature",
        look_at="settings.temperature in sample(); a model without a temperature sets "
        "`sampling = NoTemperature` in its config class",
        run=check_options,
        needs=("determinism",),
    ),
)
