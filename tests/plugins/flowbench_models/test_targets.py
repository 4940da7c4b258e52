"""Flows that are fitted to a density known up to a factor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from flowbench.api import Batch, DatasetInfo, InvertibleModel, Step, split_info
from flowbench.cli.app import app
from flowbench.registry.build import build_model
from flowbench.registry.configs import configure
from flowbench.runner.attempt import ResultsDir
from flowbench.runner.describe import describe_model
from flowbench_datasets.target_densities import two_modes_log_density
from flowbench_models.bijections.channels import ActNorm
from tests.plugins.flowbench_models.fixtures import Perturb
from tests.plugins.flowbench_models.loss_curves import PLANAR, SMALL
from tests.plugins.trained import registry

FIT = ["iaf", "iaf:overview", "realnvp", "realnvp:overview", "maf", "nsf", "nsf:vector-ar"]
TARGET = registry().dataset("target-two-modes").spec.info(2_000)


def built(choice: str, data: DatasetInfo) -> InvertibleModel:
    config = configure(registry(), choice, data, {}).config.model_dump(mode="json")
    model = build_model(registry(), choice.partition(":")[0], config, data)
    assert isinstance(model, InvertibleModel)
    return model


@pytest.mark.parametrize(
    ("choice", "data"),
    [*((choice, PLANAR) for choice in FIT), *((m, SMALL) for m in ("realnvp", "glow", "iaf"))],
    ids=str,
)
def test_the_ladj_of_the_way_back_is_that_of_the_way_forth(
    choice: str, data: DatasetInfo, perturb: Perturb
) -> None:
    model = perturb(built(choice, data), 0.05).eval()
    noise = torch.Generator().manual_seed(0)
    latents = tuple(
        z.double()
        for z in model.sample_base(3, temperature=1.0, generator=noise, device=torch.device("cpu"))
    )
    with torch.no_grad():
        x, ladj = model.from_latent_with_ladj(latents)
        torch.testing.assert_close(x, model.from_latent(latents))
        torch.testing.assert_close(ladj, model.to_latent(x)[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("choice", FIT)
def test_the_divergence_has_a_gradient_for_every_parameter(choice: str, perturb: Perturb) -> None:
    configured = configure(registry(), choice, TARGET, {})
    assert configured.unsupported(TARGET) is None
    model = perturb(built(choice, TARGET), 0.05)
    step = Step(
        progress=torch.tensor(1.0),
        phase=0,
        group="all",
        generator=torch.Generator().manual_seed(0),
        seed=0,
    )
    batch = Batch(x=torch.zeros(64, 2, dtype=torch.float64), log_density=two_modes_log_density)
    split_info(model.loss(batch, step))[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("choice", ["iaf:overview", "realnvp:overview"])
def test_as_the_overview_asks_the_base_is_a_gaussian_with_learned_mean_and_spread(
    choice: str,
) -> None:
    model = built(choice, TARGET)
    last = [module for module in model.modules() if isinstance(module, ActNorm)][-1]
    with torch.no_grad():  # the flow without what lies before its last norm
        for parameter in model.parameters():
            parameter.zero_()
        last.shift.copy_(torch.tensor([3.0, -1.0]))
        last.log_scale.copy_(torch.tensor([0.5, -0.5]))
        x = model.from_latent((torch.zeros(1, 2),))
        wide = model.from_latent((torch.ones(1, 2),)) - x
    torch.testing.assert_close(x.sort().values, torch.tensor([[-3.0, 1.0]]))
    expected = torch.tensor([[-0.5, 0.5]]).exp().sort().values
    torch.testing.assert_close(wide.sort().values, expected)


@pytest.mark.parametrize("name", ["glow", "histogram", "nice"])
def test_models_that_learn_from_examples_alone_say_so(name: str) -> None:
    reason = configure(registry(), name, TARGET, {}).unsupported(TARGET)
    assert reason is not None
    if "vector" in registry().model(name).spec.modalities:
        assert reason.startswith(f"{name} learns from examples, and target-two-modes is a density")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("choice", ["iaf", "realnvp"])
def test_a_run_finds_the_normaliser_of_a_target(choice: str, tmp_path: Path) -> None:
    command = ["run", "--models", choice, "--datasets", "target-wave", "--budget", "300steps"]
    command += ["--metrics", "log_normaliser,elbo,effective_samples"]
    done = CliRunner().invoke(app, [*command, "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (job,) = (tmp_path / "runs").iterdir()
    (attempt,) = ResultsDir(tmp_path).attempts(job.name)
    record = attempt.record()
    assert record is not None
    values = {m.name: m for m in record.measurements}
    estimate, truth = values["log_normaliser"], 1.6147
    assert estimate.value is not None
    assert estimate.stderr is not None
    assert abs(estimate.value - truth) < 5 * estimate.stderr + 0.002
    assert 0.0 < (values["elbo_gap"].value or 0.0) < 0.25
    assert (values["effective_samples"].value or 0.0) > 0.2
    # The curve is the bound that training maximises, from other draws than the test's.
    *_, last = (json.loads(line) for line in (attempt.path / "curves.jsonl").read_text().split())
    elbo = values["elbo"].value
    assert elbo is not None
    assert min(v for k, v in last.items() if k.startswith("nll")) == pytest.approx(-elbo, abs=0.1)


@pytest.mark.parametrize(("name", "fits"), [("realnvp", True), ("iaf", True), ("glow", False)])
def test_show_says_whether_a_model_fits_targets(name: str, fits: bool) -> None:
    assert describe_model(registry(), name, None, {})["fits_targets"] is fits
