from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from flowbench.api import DatasetInfo
from flowbench_models.continuous.discrete_matching.model import (
    DiscreteFlowMatching,
    DiscreteFlowMatchingConfig,
)
from tests.plugins.flowbench_models.fixtures import tensor

LAW = torch.tensor([0.5, 0.3, 0.15, 0.05])
NUM = 40_000


def text(levels: int, length: int = 256) -> DatasetInfo:
    return DatasetInfo(
        name="text", modality="sequence", event_shape=(1, length), levels=levels,
        num_train=1, num_validation=1, num_test=1,
    )  # fmt: skip


def config(preset: str) -> DiscreteFlowMatchingConfig:
    values = DiscreteFlowMatchingConfig.presets[preset].values
    return DiscreteFlowMatchingConfig.model_validate(values)


@pytest.mark.parametrize(
    ("preset", "levels", "expected"),
    [
        ("text-small", 27, 1_034_268),
        ("tiny", 27, 181_724),
        ("gpt2", 50_257, 169_627_218),
        ("gpt2-uniform", 50_257, 169_625_681),
    ],
)
def test_parameters_are_those_of_the_released_networks(
    preset: str, levels: int, expected: int
) -> None:
    with torch.device("meta"):
        model = DiscreteFlowMatching(config(preset), text(levels))
    assert model.num_parameters() == expected


class Knowing(DiscreteFlowMatching):
    """Knows the posterior of independent tokens of a law."""

    def log_posterior(self, tokens: Tensor, t: Tensor, temperature: float = 1.0) -> Tensor:
        if self.mask is not None:
            return LAW.log().expand(*tokens.shape, -1)
        here = torch.nn.functional.one_hot(tokens, len(LAW))
        chance = t[:, None, None]
        joint = LAW * (chance * here + (1 - chance) / len(LAW))
        return (joint / joint.sum(dim=-1, keepdim=True)).log()


def knowing(preset: str) -> Knowing:
    torch.manual_seed(0)
    return Knowing(config(preset), text(len(LAW), length=2))


@pytest.mark.parametrize("preset", ["tiny", "tiny-uniform"])
@pytest.mark.parametrize("end", [0.25, 0.75, 1.0])
def test_marginals_of_the_process_are_those_of_the_path(preset: str, end: float) -> None:
    model, noise, steps = knowing(preset), torch.Generator().manual_seed(1), 50
    tokens = model._source(torch.zeros(NUM, 2, dtype=torch.long), noise)
    for place in range(steps):
        tokens = model.step(tokens, end * place / steps, end * (place + 1) / steps, noise)
    found = torch.bincount(tokens.flatten(), minlength=5).float() / tokens.numel()
    source = torch.tensor([0.0, 0, 0, 0, 1]) if preset == "tiny" else torch.tensor([1.0] * 4 + [0])
    source = source / source.sum()
    expected = end * torch.cat((LAW, torch.zeros(1))) + (1 - end) * source
    # Four standard errors of a share, and what steps of this length leave open.
    assert (found - expected).abs().max() < 4 * 0.5 / tokens.numel() ** 0.5 + 0.2 / steps


def test_the_bound_of_masks_is_the_likelihood_where_the_posterior_is_known() -> None:
    model = knowing("tiny")
    x = torch.tensor([[[0, 3]]]).expand(NUM, -1, -1)
    drawn = tensor(model.log_prob(x, generator=torch.Generator().manual_seed(0)))
    error = drawn.std() / NUM**0.5
    assert float((drawn.mean() - LAW[0].log() - LAW[3].log()).abs() / error) < 4
    assert float(error) < 0.05


def test_the_bound_from_uniform_tokens_never_passes_the_entropy() -> None:
    model, noise = knowing("tiny-uniform"), torch.Generator().manual_seed(0)
    x = torch.multinomial(LAW, 2 * NUM, replacement=True, generator=noise).view(NUM, 1, 2)
    drawn = tensor(model.log_prob(x, generator=noise))
    entropy = -2 * float((LAW * LAW.log()).sum())
    assert float(drawn.mean()) < -entropy + 4 * float(drawn.std()) / NUM**0.5
    assert float(drawn.mean()) > -2 * entropy  # and is no empty bound


def test_no_sample_holds_the_mask() -> None:
    model = DiscreteFlowMatching(config("tiny"), text(5, length=8))
    drawn = model.sample(
        3, settings=model.config.sampling(), generator=torch.Generator().manual_seed(0)
    )
    assert tensor(drawn).shape == (3, 1, 8)
    assert 0 <= int(tensor(drawn).min()) <= int(tensor(drawn).max()) < 5


def test_heads_must_have_pairs_of_channels() -> None:
    with pytest.raises(ValidationError, match="multiple of twice the heads, got 12 and 4"):
        DiscreteFlowMatchingConfig(width=12, heads=4)
