from __future__ import annotations

import pytest
import torch

from flowbench.api.training import Augmentation
from flowbench.data.augment import augmented, num_draws, shifted


def test_shifted_images_repeat_their_edge() -> None:
    image = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3)
    down = shifted(image, torch.tensor([1]), torch.tensor([0]))
    assert down[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    left = shifted(image, torch.tensor([0]), torch.tensor([-2]))
    assert left[0, 0].tolist() == [[2, 2, 2], [5, 5, 5], [8, 8, 8]]
    assert left.dtype == torch.uint8


def test_zeros_come_in_where_they_are_asked_for() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    moved = shifted(image, torch.tensor([1]), torch.tensor([-1]), zeros=True)
    assert moved[0, 0].tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert moved.dtype == torch.uint8
    draws = torch.tensor([[0.99, 0.5]])  # down by 3 of 32
    row = torch.ones(1, 1, 32, 32)
    assert augmented(row, draws, ("shift_tenth",)).sum() == 32 * 32
    assert augmented(row, draws, ("shift_tenth_zeros",)).sum() == 32 * 29


def test_each_image_of_a_batch_moves_by_itself() -> None:
    x = torch.randint(0, 256, (5, 3, 6, 4))
    down, right = torch.tensor([0, 1, -1, 2, 9]), torch.tensor([0, -1, 1, 0, -9])
    whole = shifted(x, down, right)
    one_by_one = [shifted(x[i : i + 1], down[i : i + 1], right[i : i + 1]) for i in range(5)]
    assert torch.equal(whole, torch.cat(one_by_one))
    assert torch.equal(whole[0], x[0])
    assert (whole[4] == x[4, :, :1, -1:]).all()  # further than its size: one corner everywhere


@pytest.mark.parametrize(
    ("kind", "size", "largest", "share_of_largest"),
    # padded 32 + 2 * 2: uniform in +-1.44, rounded; 64 + 2 * 3: uniform in +-2.8, rounded
    [
        ("shift", 32, 1, (1.44 - 0.5) / 2.88),
        ("shift", 64, 3, (2.8 - 2.5) / 5.6),
        ("shift_tenth", 32, 3, (3.2 - 2.5) / 6.4),
        ("shift_tenth_zeros", 32, 3, (3.2 - 2.5) / 6.4),
    ],
)
def test_shifts_are_those_of_the_released_code(
    kind: Augmentation, size: int, largest: int, share_of_largest: float
) -> None:
    num = 20_000
    x = torch.arange(size).view(1, 1, 1, size).expand(num, 1, size, size)
    draws = torch.rand(num, 2, generator=torch.Generator().manual_seed(0))
    moved = size // 2 - augmented(x, draws, (kind,))[:, 0, size // 2, size // 2]
    assert int(moved.abs().max()) == largest
    share = float((moved == largest).double().mean())
    assert abs(share - share_of_largest) < 4 * (share_of_largest / num) ** 0.5


def test_changes_follow_one_another_and_take_draws_of_their_own() -> None:
    x = torch.arange(8).view(1, 1, 1, 8)
    both: tuple[Augmentation, ...] = ("horizontal_flip", "shift")
    assert num_draws(both) == 3
    right = augmented(x, torch.tensor([[0.1, 0.5, 0.99]]), both)
    assert right.flatten().tolist() == [7, 6, 5, 4, 3, 2, 1, 0]  # 4 % of 8 is less than a pixel
    wide = torch.arange(32).view(1, 1, 1, 32)
    moved = augmented(wide, torch.tensor([[0.1, 0.5, 0.99]]), both)
    assert moved.flatten().tolist() == [31, *range(31, 0, -1)]
    still = augmented(wide, torch.tensor([[0.9, 0.5, 0.5]]), both)
    assert torch.equal(still, wide)
