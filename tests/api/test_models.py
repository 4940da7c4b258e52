from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from flowbench.api import (
    Batch,
    ConfigError,
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    ModelConfig,
    NoLikelihood,
    Step,
    WithInfo,
    split_info,
    standard_normal_log_prob,
)

DATA = DatasetInfo(
    name="v",
    modality="vector",
    event_shape=(3,),
    levels=None,
    num_train=1,
    num_validation=1,
    num_test=1,
)


class Shift(InvertibleModel):
    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.shift = nn.Parameter(torch.zeros(data.event_shape))


class Parameterless(InvertibleModel):
    pass


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_base_is_drawn_in_the_dtype_of_the_parameters(dtype: torch.dtype) -> None:
    model = Shift(ModelConfig(), DATA).to(dtype)
    generator = torch.Generator().manual_seed(0)
    (z,) = model.sample_base(2, temperature=1.0, generator=generator, device=torch.device("cpu"))
    assert (z.dtype, tuple(z.shape)) == (dtype, (2, 3))


def test_without_parameters_in_the_default_dtype() -> None:
    model = Parameterless(ModelConfig(), DATA)
    (z,) = model.sample_base(
        2, temperature=1.0, generator=torch.Generator(), device=torch.device("cpu")
    )
    assert z.dtype == torch.get_default_dtype()


class Shifted(Shift):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> WithInfo:
        return -(x - self.shift).square().sum(1), {"num_function_evaluations": torch.tensor(7.0)}


def step(group: str = "all") -> Step:
    return Step(progress=torch.zeros(()), phase=0, group=group, generator=None, seed=0)


def test_info_stands_beside_a_tensor_or_not_at_all() -> None:
    values, info = split_info(Shifted(ModelConfig(), DATA).log_prob(torch.ones(2, 3)))
    assert torch.equal(values, torch.full((2,), -3.0))
    assert set(info) == {"num_function_evaluations"}
    assert split_info(values) == (values, {})


def test_the_loss_of_a_density_is_bits_per_dimension_without_its_info() -> None:
    loss = Shifted(ModelConfig(), DATA).loss(Batch(x=torch.ones(2, 3)), step())
    assert isinstance(loss, Tensor)
    assert loss.item() == pytest.approx(1 / math.log(2))


def test_the_reason_for_no_likelihood_is_given() -> None:
    with pytest.raises(ValidationError):
        NoLikelihood(reason="")


class Normed(Shift):
    """A batch norm with dropout before it: refit sees the data as evaluation does."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(3)

    def loss(self, batch: Batch, step: Step) -> Tensor:
        total: Tensor = self.norm(self.drop(batch.x)).sum()
        return total


def test_refit_averages_the_statistics_of_all_batches_and_nothing_else() -> None:
    model = Normed(ModelConfig(), DATA)
    x = torch.randn(4, 16, 3)
    before = {name: value.clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        model.refit([Batch(x=part) for part in x], generator=torch.Generator())
    torch.testing.assert_close(model.norm.running_mean, x.mean(dim=(0, 1)))
    torch.testing.assert_close(model.norm.running_var, x.var(dim=1).mean(0))
    assert model.norm.momentum == 0.1
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_parameters_are_counted_and_the_count_can_be_overridden() -> None:
    model = Shift(ModelConfig(), DATA)
    assert (model.num_parameters(), model.num_parameters_training()) == (3, 3)
    model.shift.requires_grad_(False)
    assert model.num_parameters() == 0


class NeverFitting(ModelConfig):
    def unsupported(self, data: DatasetInfo) -> str | None:
        return f"needs images, {data.name} has none"


def test_a_model_refuses_data_that_its_configuration_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="needs images, v has none"):
        Shift(NeverFitting(), DATA)


class Annealed(Shift):
    """Draws noise and reads the step, as a loss may that is to be compiled."""

    def loss(self, batch: Batch, step: Step) -> Tensor:
        noise = torch.randn(batch.x.shape, generator=step.generator)
        error = (batch.x + noise - self.shift).square().mean()
        return error * (1.0 - 0.5 * step.progress) * (2.0 if step.phase else 1.0)


def test_a_step_goes_through_compile_and_nothing_of_it_is_frozen() -> None:
    model, batch = Annealed(ModelConfig(), DATA), Batch(x=torch.ones(4, 3))
    traced = CompileCounter()
    compiled = torch.compile(model.loss, fullgraph=True, backend=traced)
    for seed in range(4):
        at = Step(progress=torch.tensor(seed / 4), phase=0, group="all", generator=None, seed=seed)
        torch.manual_seed(seed)
        expected = model.loss(batch, at)
        torch.manual_seed(seed)
        torch.testing.assert_close(compiled(batch, at), expected)
    assert traced.frame_count == 1


# --- targets --------------------------------------------------------------------------------------


class Scaled(Shift):
    """x = (z + shift) / 2 in three dims."""

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        return (2.0 * x - self.shift,), x.new_full((len(x),), 3 * math.log(2.0))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        return (latents[0] + self.shift) / 2.0


def twice_a_normal(x: Tensor) -> Tensor:
    """ln 2 and the log-density of N(0, 1/4)."""
    return math.log(2.0) + standard_normal_log_prob((2.0 * x,)) + 3 * math.log(2.0)


def loss_of(model: Scaled, progress: float, num: int = 4096) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    where = dataclasses.replace(step(), progress=torch.tensor(progress), generator=generator)
    returned = model.loss(Batch(x=torch.zeros(num, 3), log_density=twice_a_normal), where)
    return split_info(returned)[0]


def test_where_there_is_a_target_the_loss_is_the_divergence_less_the_normaliser() -> None:
    model = Scaled(ModelConfig(), DATA)
    # Fitted exactly the divergence is 0, whatever is drawn.
    torch.testing.assert_close(
        loss_of(model, 1.0), torch.tensor(-math.log(2.0) / (3 * math.log(2)))
    )
    model.shift.data.fill_(0.5)
    divergence = 3 * 0.5 * 0.5**2  # of N(1/4, 1/4) from N(0, 1/4)
    expected = (divergence - math.log(2.0)) / (3 * math.log(2.0))
    assert loss_of(model, 1.0, 1 << 18).item() == pytest.approx(expected, abs=0.005)
    (gradient,) = torch.autograd.grad(loss_of(model, 1.0), [model.shift])
    assert (gradient > 0).all()


def test_the_targets_log_density_comes_in_over_the_part_that_anneal_says() -> None:
    def weight(progress: float, **training: float) -> float:
        model = Scaled(ModelConfig.model_validate({"training": training}), DATA)
        draws = model.sample_base(
            4096,
            temperature=1.0,
            generator=torch.Generator().manual_seed(0),
            device=torch.device("cpu"),
        )
        x, ladj = model.from_latent_with_ladj(draws)
        of_model = standard_normal_log_prob(draws) + ladj
        found = loss_of(model, progress) * 3 * math.log(2.0)
        return ((of_model.mean() - found) / twice_a_normal(x).mean()).item()

    assert weight(0.0) == pytest.approx(0.01, abs=1e-4)
    assert weight(0.25) == pytest.approx(0.505, abs=1e-4)
    assert weight(0.5) == pytest.approx(1.0, abs=1e-4)
    assert weight(0.0, anneal=0.0) == pytest.approx(1.0, abs=1e-4)


def test_by_default_the_way_back_goes_forward_again_for_its_ladj() -> None:
    model, z = Scaled(ModelConfig(), DATA), torch.randn(4, 3)
    x, ladj = model.from_latent_with_ladj((z,))
    torch.testing.assert_close(x, z / 2)
    torch.testing.assert_close(ladj, torch.full((4,), 3 * math.log(2.0)))


def test_the_standard_normal_takes_one_tensor_or_several() -> None:
    x = torch.randn(5, 3, 2)
    whole = standard_normal_log_prob(x)
    assert whole.shape == (5,)
    torch.testing.assert_close(whole, standard_normal_log_prob((x[:, :1], x[:, 1:])))
