from __future__ import annotations

import numpy as np
import pytest
import torch

from flowbench.api import DensityModel
from flowbench.evaluation.harness import likelihood_kind
from flowbench.evaluation.likelihood import evaluate_likelihood
from tests.plugins.trained import loaded, trained

REPEATS = 16


@pytest.mark.slow
@pytest.mark.long
def test_the_draw_error_of_an_untrained_bound_is_what_repeating_it_shows() -> None:
    given = trained("denseflow", "digits", 0)
    model, kind = given.model, likelihood_kind(given.model)
    assert isinstance(model, DensityModel)
    assert kind is not None
    results = [
        evaluate_likelihood(
            model,
            given._harness.preprocessor,
            loaded("digits").splits.test,
            name="test",
            likelihood=kind,
            draws=16,
            generator=torch.Generator().manual_seed(seed),
            batch_size=256,
        )
        for seed in range(REPEATS)
    ]
    truth = np.std([result.log_prob.mean() for result in results], ddof=1)
    said = np.mean([result.draw_stderr for result in results])
    off = 3 / np.sqrt(2 * REPEATS)  # three standard errors of what so many repeats show
    assert said == pytest.approx(truth, rel=off)
