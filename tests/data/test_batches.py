from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowbench.api import Split
from flowbench.api.training import Augmentation
from flowbench.data import batches
from flowbench.data.batches import TrainBatches, eval_batches
from flowbench.data.rows import take_rows
from flowbench.errors import ConfigError, DataError

CPU = torch.device("cpu")


def numbered(num: int) -> Split:
    """Images that hold their own position, so that every batch tells which examples it is."""
    x = np.zeros((num, 1, 2, 3), dtype=np.uint8)
    x[:, 0, 0, 0], x[:, 0, 1, 2] = np.arange(num), 255
    return Split(x=x, context={"label": np.arange(num)})


def positions(stream: TrainBatches, num_batches: int) -> list[int]:
    return [int(i) for _ in range(num_batches) for i in stream.next()[1]["label"]]


@pytest.mark.parametrize("batch_size", [1, 7, 10, 16, 25])
def test_every_epoch_has_each_example_once(batch_size: int) -> None:
    stream = TrainBatches(numbered(10), batch_size, 0, CPU)
    seen = positions(stream, 100)
    for start in range(0, len(seen) - 9, 10):
        assert sorted(seen[start : start + 10]) == list(range(10))


def test_all_batches_have_the_same_size_and_type() -> None:
    stream = TrainBatches(numbered(10), 4, 0, CPU)
    for _ in range(6):
        x, context = stream.next()
        assert (x.shape, x.dtype) == ((4, 1, 2, 3), torch.uint8)
        assert context["label"].dtype == torch.int64
        assert torch.equal(x[:, 0, 0, 0].long(), context["label"])


def test_epochs_and_seeds_have_their_own_order() -> None:
    stream = TrainBatches(numbered(100), 50, 0, CPU)
    first, second = positions(stream, 2), positions(stream, 2)
    other = positions(TrainBatches(numbered(100), 50, 1, CPU), 2)
    again = positions(TrainBatches(numbered(100), 50, 0, CPU), 2)
    assert first == again
    assert len({tuple(order) for order in (first, second, other, range(100))}) == 4


def test_counts() -> None:
    stream = TrainBatches(numbered(10), 4, 0, CPU)
    counts = []
    for _ in range(5):
        stream.next()
        counts.append((stream.examples_seen, stream.epoch))
    assert counts == [(4, 0), (8, 0), (12, 1), (16, 1), (20, 2)]


@pytest.mark.parametrize("done", [0, 1, 2, 3, 7])
def test_resuming_goes_on_exactly(done: int) -> None:
    def stream() -> TrainBatches:
        return TrainBatches(numbered(10), 4, 3, CPU, augment=("horizontal_flip",))

    whole = stream()
    for _ in range(done):
        whole.next()
    state = whole.state()
    resumed = stream()
    resumed.next()
    resumed.load_state(state)
    assert resumed.examples_seen == whole.examples_seen
    for _ in range(6):
        (x, context), (x_resumed, context_resumed) = whole.next(), resumed.next()
        assert torch.equal(x, x_resumed)
        assert torch.equal(context["label"], context_resumed["label"])


def test_flips_mirror_the_last_axis_of_half_the_examples() -> None:
    split = Split(x=np.tile(np.arange(3, dtype=np.uint8), (4000, 1, 2, 1)))
    x, _ = TrainBatches(split, 4000, 0, CPU, augment=("horizontal_flip",)).next()
    flipped = x[:, 0, 0, 0] == 2
    assert torch.equal(x[flipped], torch.tensor([2, 1, 0], dtype=torch.uint8).expand_as(x[flipped]))
    assert torch.equal(x[~flipped], torch.arange(3, dtype=torch.uint8).expand_as(x[~flipped]))
    assert abs(float(flipped.float().mean()) - 0.5) < 0.03  # four standard deviations
    plain, _ = TrainBatches(split, 4000, 0, CPU).next()
    assert (plain[:, 0, 0, 0] == 0).all()


@pytest.mark.parametrize("prefetch", [False, True])
def test_memory_mapped_data_give_the_same_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefetch: bool
) -> None:
    np.save(tmp_path / "x.npy", numbered(50).x)
    mapped = Split(x=np.load(tmp_path / "x.npy", mmap_mode="r"), context={"label": np.arange(50)})
    resident = TrainBatches(numbered(50), 8, 0, CPU)
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 0)
    streamed = TrainBatches(mapped, 8, 0, CPU, prefetch=prefetch)
    for _ in range(10):
        (x, context), (x_mapped, context_mapped) = resident.next(), streamed.next()
        assert torch.equal(x, x_mapped)
        assert torch.equal(context["label"], context_mapped["label"])


def test_another_stream_has_its_own_order_over_the_same_examples() -> None:
    stream = TrainBatches(numbered(10), 4, 3, CPU, augment=("horizontal_flip",))
    stream.next()
    before, other = stream.state(), stream.of_seed(5)
    alone = TrainBatches(numbered(10), 4, 5, CPU, augment=("horizontal_flip",))
    for _ in range(6):
        assert torch.equal(other.next()[0], alone.next()[0])
    assert stream.state() == before
    assert other._rows is stream._rows


@pytest.mark.parametrize(
    ("room", "is_kept"), [(10 * 6 + 10 * 8, False), (10 * 6 + 10 * 8 + 1, True)]
)
def test_data_are_kept_on_the_device_where_there_is_room(room: int, is_kept: bool) -> None:
    stream = TrainBatches(numbered(10), 4, 3, CPU, room=room)
    assert isinstance(stream._rows, batches._Resident) == is_kept


@pytest.mark.parametrize("prefetch", [False, True])
def test_of_a_cold_file_little_more_is_read_than_what_is_used(
    tmp_path: Path, prefetch: bool
) -> None:
    path, num = tmp_path / "x.npy", 8000
    np.save(path, np.zeros((num, 3, 32, 32), np.uint8))
    mapped = Split(x=np.load(path, mmap_mode="r"))
    stream = TrainBatches(mapped, 16, 0, CPU, prefetch=prefetch, room=0)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = _bytes_read()
    for _ in range(20):
        stream.next()
    read, ahead = _bytes_read() - before, batches.NUM_AHEAD if prefetch else 0
    if not read:
        pytest.skip("the file stays in memory here")
    # Rows of 3 kB lie in one or two pages of 4 kB; a plain map reads 20 times what is used.
    assert read < 4 * (20 + ahead) * 16 * 3072


def _bytes_read() -> int:
    """What this process had read from disk; 0 where the system does not say it."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def streamed(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> TrainBatches:
    """A stream out of memory maps, as large splits have it."""
    if not (tmp_path / "x.npy").exists():  # another stream's thread may be reading its map
        np.save(tmp_path / "x.npy", split.x)
        np.save(tmp_path / "label.npy", split.context["label"])
    mapped = Split(
        x=np.load(tmp_path / "x.npy", mmap_mode="r"),
        context={"label": np.load(tmp_path / "label.npy", mmap_mode="r")},
    )
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 0)
    return TrainBatches(mapped, 4, 3, CPU, **{"prefetch": True, **options})


@pytest.mark.parametrize("done", [0, 1, 2, 3, 7])
def test_a_checkpoint_knows_what_was_handed_out_and_not_what_lies_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    augment: tuple[Augmentation, ...] = ("horizontal_flip",)
    resident = TrainBatches(numbered(10), 4, 3, CPU, augment=augment)
    stream = streamed(numbered(10), tmp_path, monkeypatch, augment=augment)
    for _ in range(done):
        resident.next()
        stream.next()
    assert stream.state() == resident.state()
    assert (stream.examples_seen, stream.epoch) == (resident.examples_seen, resident.epoch)
    resumed = streamed(numbered(10), tmp_path, monkeypatch, augment=augment)
    resumed.next()
    resumed.load_state(stream.state())
    for _ in range(6):
        (x, context), (x_resumed, context_resumed) = resident.next(), resumed.next()
        assert torch.equal(x, x_resumed)
        assert torch.equal(context["label"], context_resumed["label"])


def test_batches_lie_ready_before_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = streamed(numbered(100), tmp_path, monkeypatch)
    gathered: list[int] = []
    enough = threading.Event()

    def slow_rows(values: np.ndarray, rows: np.ndarray, pin: bool = False) -> torch.Tensor:
        gathered.append(threading.get_ident())
        if len(gathered) >= 2 * (1 + batches.NUM_AHEAD):  # x and label of each batch
            enough.set()
        return torch.from_numpy(np.array(values[rows]))

    monkeypatch.setattr(batches, "take_rows", slow_rows)
    stream.next()
    assert enough.wait(10)
    assert threading.get_ident() not in gathered


def test_an_error_while_gathering_reaches_the_training_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = streamed(numbered(10), tmp_path, monkeypatch)

    def fail(*_: object) -> torch.Tensor:
        raise OSError("the disk is gone")

    monkeypatch.setattr(batches, "take_rows", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        stream.next()


def test_a_batch_is_not_overwritten_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = streamed(numbered(10), tmp_path, monkeypatch)
    kept = [stream.next() for _ in range(5)]
    for x, context in kept:
        assert torch.equal(x[:, 0, 0, 0].long(), context["label"])


@pytest.mark.gpu
def test_batches_arrive_on_the_gpu_out_of_pinned_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = torch.device("cuda")
    rows = take_rows(numbered(10).x, np.array([3, 1]), pin=True)
    assert rows.is_pinned()
    np.save(tmp_path / "x.npy", numbered(50).x)
    mapped = Split(x=np.load(tmp_path / "x.npy", mmap_mode="r"), context={"label": np.arange(50)})
    resident = TrainBatches(numbered(50), 8, 0, cuda, augment=("horizontal_flip",))
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 0)
    stream = TrainBatches(mapped, 8, 0, cuda, augment=("horizontal_flip",))
    for _ in range(20):
        (x, context), (x_mapped, context_mapped) = resident.next(), stream.next()
        assert x_mapped.is_cuda
        assert torch.equal(x, x_mapped)
        assert torch.equal(context["label"], context_mapped["label"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("uint8", torch.uint8),
        ("uint16", torch.int32),
        (">i4", torch.int32),
        ("float32", torch.float32),
    ],
)
def test_types_become_ones_that_torch_can_work_with(given: str, expected: torch.dtype) -> None:
    values = np.array([[1], [200]]).astype(given)
    ((_, (x, _)),) = eval_batches(Split(x=values), 2, CPU)
    assert x.dtype == expected
    assert x.flatten().tolist() == [1, 200]


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_evaluation_takes_each_example_once_and_in_order(batch_size: int) -> None:
    split = numbered(10)
    passed = list(eval_batches(split, batch_size, CPU))
    assert np.concatenate([rows for rows, _ in passed]).tolist() == list(range(10))
    assert torch.equal(torch.cat([x for _, (x, _) in passed]), torch.from_numpy(split.x))
    labels = [context["label"] for _, (_, context) in passed]
    assert torch.cat(labels).tolist() == list(range(10))
    assert [len(rows) for rows, _ in passed[:-1]] == [batch_size] * (len(passed) - 1)


def test_batches_do_not_share_memory_with_the_split() -> None:
    split = numbered(4)
    ((_, (x, _)),) = eval_batches(split, 4, CPU)
    x.zero_()
    TrainBatches(split, 4, 0, CPU).next()[0].zero_()
    assert split.x.max() == 255


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="training split is empty"):
        TrainBatches(Split(x=np.zeros((0, 2))), 4, 0, CPU)
    with pytest.raises(ConfigError, match="batch size is 0, expected 1 or more"):
        TrainBatches(numbered(4), 0, 0, CPU)
    with pytest.raises(ConfigError, match="batch size is -1"):
        list(eval_batches(numbered(4), -1, CPU))
    with pytest.raises(ConfigError, match=r"needs images .* shape \(2,\)"):
        TrainBatches(Split(x=np.zeros((4, 2))), 2, 0, CPU, augment=("horizontal_flip",))
    with pytest.raises(DataError, match=r"position 4 lies outside .* 4 examples"):
        TrainBatches(numbered(4), 2, 0, CPU).load_state({"epoch": 0, "position": 4})
