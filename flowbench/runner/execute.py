"""One job, start to end: data -> model -> train -> measure."""

from __future__ import annotations

import importlib

import torch

from flowbench.runner.measure import measure
from flowbench.runner.setup import build, open_ground
from flowbench.runner.train import note_trial, train
from flowbench.runner.under_way import Attempt


def execute(attempt: Attempt) -> None:
    """Does the whole job; ``attempt.known`` holds what is known, however it ends.

    Raises:
        Preempted: It was asked to stop.
        DataError: The data are not those that the job was planned with.
    """
    torch.set_num_threads(attempt.order.threads_a_device)
    importlib.import_module("torch._dynamo")  # the first optimizer imports it: two seconds
    ground = open_ground(attempt)
    with ground.device.numerics("float32"):  # of all but training steps, which choose their own
        with attempt.clock.timing("setup"):
            built = build(attempt, ground)
        attempt.clock.switch("other")
        trained = train(attempt, ground, built)
        if attempt.order.trial is not None:  # chosen on validation: test data are left alone
            note_trial(attempt, trained)
            return
        with attempt.clock.timing("eval"):
            measure(attempt, ground, built, trained)
