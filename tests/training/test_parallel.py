"""What several processes do as one, each alone in this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from flowbench.api import Split, mean_over_devices
from flowbench.data.batches import TrainBatches
from flowbench.data.library.splits import LoadedData
from flowbench.errors import ConfigError
from flowbench.registry import Registry
from flowbench.registry.build import build_model, load_dataset
from flowbench.training.parallel import AsOne, SeveralRanks, for_all, meet, meeting_place, own_of
from flowbench.training.ranks import ALONE
from tests.training.test_loop import train_of, weights

NUM = 2
ROWS, WIDE = 4, 3  # of one process
Draw = Callable[[int, torch.Generator], Tensor]


def like(num: int) -> Tensor:
    return torch.linspace(0.1, 0.9, WIDE).expand(num, WIDE).contiguous()


DRAWS: dict[str, Draw] = {
    "rand": lambda n, g: torch.rand(n, WIDE, generator=g),
    "randn of a tuple": lambda n, g: torch.randn((n, WIDE), generator=g),
    "randn of a size": lambda n, g: torch.randn(size=like(n).shape, generator=g),
    "rand of rows": lambda n, g: torch.rand(n, generator=g),
    "randint": lambda n, g: torch.randint(50, (n,), generator=g),
    "randint between": lambda n, g: torch.randint(5, 50, size=(n, 2), generator=g),
    "normal about": lambda n, g: torch.normal(like(n), 1.0, generator=g),
    "normal of a size": lambda n, g: torch.normal(0.0, 1.0, (n, WIDE), generator=g),
    "bernoulli": lambda n, g: torch.bernoulli(like(n), generator=g),
    "multinomial": lambda n, g: torch.multinomial(like(n), 1, generator=g),
    "uniform_": lambda n, g: like(n).uniform_(-1, 1, generator=g),
    "normal_": lambda n, g: torch.empty(n, WIDE).normal_(generator=g),
    "randn_like": lambda n, _: torch.randn_like(like(n)),
    "dropout": lambda n, _: F.dropout(like(n), 0.5),
    "dropout2d": lambda n, _: F.dropout2d(like(n)[:, :, None, None].expand(-1, -1, 2, 2), 0.5),
}


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_processes_draw_what_one_draws(draw: Draw, parts: int) -> None:
    generators = [torch.Generator().manual_seed(3) for _ in range(NUM + 1)]
    torch.manual_seed(3)
    whole = draw(NUM * ROWS, generators[-1])
    after = torch.get_rng_state()
    for index in range(NUM):
        own = partial(own_of, index=index, num=NUM, parts=parts)
        torch.manual_seed(3)
        with AsOne(ROWS, partial(for_all, num=NUM, parts=parts), own):
            found = draw(ROWS, generators[index])
        assert torch.equal(found, own(whole))
        # And go on from the same state.
        assert torch.equal(generators[index].get_state(), generators[-1].get_state())
        assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize(
    "draw",
    [lambda g: torch.rand((), generator=g), lambda g: torch.randn(WIDE, ROWS, generator=g)],
)
def test_what_is_of_no_example_is_drawn_alike(draw: Callable[[torch.Generator], Tensor]) -> None:
    alone, shared = (torch.Generator().manual_seed(3) for _ in range(2))
    own = partial(own_of, index=1, num=NUM, parts=1)
    with AsOne(ROWS, partial(for_all, num=NUM, parts=1), own):
        found = draw(shared)
    assert torch.equal(found, draw(alone))


def test_dropout_that_drops_nothing_draws_nothing() -> None:
    before = torch.get_rng_state()
    with AsOne(ROWS, partial(for_all, num=NUM, parts=1), lambda t: t):
        x = like(ROWS)
        assert F.dropout(x, 0.0) is x
        assert F.dropout(x, 0.5, training=False) is x
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("prefetch", [False, True])
def test_parts_of_a_stream_are_of_its_batches(parts: int, prefetch: bool) -> None:
    """Random changes belong to the example, whichever process has it."""
    x = torch.arange(11 * 2 * 4, dtype=torch.uint8).reshape(11, 1, 2, 4).numpy()
    stream = TrainBatches(
        Split(x=x), 8, 5, "cpu", ("horizontal_flip",), prefetch, room=0 if prefetch else None
    )
    owns = [partial(own_of, index=index, num=NUM, parts=parts) for index in range(NUM)]
    streams = [stream.of_seed(5).of_part(own) for own in owns]
    for _ in range(4):
        whole, _ = stream.next()
        for own, mine in zip(owns, streams, strict=True):
            assert torch.equal(mine.next()[0], own(whole))
            assert (mine.state(), mine.examples_seen) == (stream.state(), stream.examples_seen)


@pytest.fixture
def together() -> Iterator[SeveralRanks]:
    """A group of one process: what it shares is its own."""
    meet(meeting_place(), "cpu", 0, 1)
    yield SeveralRanks(0, lambda progress: progress)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def data(fake_registry: Registry) -> LoadedData:
    return load_dataset(fake_registry, "fake-images", ".")


def test_a_shared_training_is_that_of_one(
    fake_registry: Registry, data: LoadedData, together: SeveralRanks
) -> None:
    found = []
    for ranks in (ALONE, together):
        torch.manual_seed(0)
        values = {"training": {"accumulate": 2, "batch_size": 16, "average": {"decay": 0.9}}}
        model = build_model(fake_registry, "fake-gaussian", values, data.info)
        trainer = train_of(model, data, ranks=ranks)
        trainer.run()
        found.append((weights(model), float(trainer._loss_sum), trainer.num_skipped))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]


def test_several_groups_are_refused(
    fake_registry: Registry, data: LoadedData, together: SeveralRanks
) -> None:
    model = build_model(fake_registry, "fake-gan", {}, data.info)
    with pytest.raises(ConfigError, match=r"several optimizer groups \(critic, generator\)"):
        train_of(model, data, ranks=together)


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 2, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norms_are_those_of_torch(shape: tuple[int, ...], affine: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = 5.0 + torch.randn(shape, generator=generator)
    weight = torch.tensor([1.0, -2.0, 0.5]) if affine else None
    bias = torch.tensor([0.0, 1.0, 2.0]) if affine else None
    found = []
    for shared in (False, True):
        given = x.clone().requires_grad_()
        mean, var = torch.zeros(3), torch.ones(3)
        run = partial(F.batch_norm, given, mean, var, weight, bias, True, 0.2)
        if shared:
            with AsOne(6, lambda t: t, lambda t: t):
                y = run()
        else:
            y = run()
        (y.square() * torch.arange(y.numel()).reshape(shape)).sum().backward()
        assert given.grad is not None
        found.append((y, given.grad, mean, var))
    for before, after in zip(*found, strict=True):
        torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("together")
def test_a_mean_over_devices_has_a_gradient() -> None:
    own = torch.tensor([1.0, 3.0], requires_grad=True)
    with AsOne(2, lambda t: t, lambda t: t):
        mean_over_devices(own.mean()).backward()
    assert own.grad is not None
    assert own.grad.tolist() == [0.5, 0.5]
