from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from flowbench.api import ContextInput, DatasetInfo, Ragged, Split
from flowbench.data.batches import TrainBatches, eval_batches
from flowbench.data.segments import Segments, segments_of
from flowbench.errors import ConfigError, DataError

STRIDE = 4
LENGTHS = np.array([16, 9, 40, 16, 24])
INFO = DatasetInfo(
    name="clips",
    modality="audio",
    event_shape=(1, 14),
    levels=None,
    num_train=5,
    num_validation=5,
    num_test=5,
    context={
        "mel": ContextInput(shape=(2, 4), stride=STRIDE),
        "label": ContextInput(shape=(), num_classes=9),
    },
    ragged=True,
    rate=8000,
)


def clips() -> Split[Ragged]:
    """Each value tells its clip and its place, each of the context the place where it begins."""
    places = [1000 * clip + np.arange(length) for clip, length in enumerate(LENGTHS)]
    frames = [given[::STRIDE] for given in places]
    mel = np.concatenate(frames).astype(np.float32)
    return Split(
        x=Ragged(values=np.concatenate(places)[None].astype(np.float32), lengths=LENGTHS),
        context={
            "mel": Ragged(values=np.stack([mel, -mel]), lengths=np.array([len(f) for f in frames])),
            "label": np.arange(5),
        },
    )


def stream(window: int | None = None, seed: int = 0, **options: Any) -> TrainBatches:
    segments = segments_of(INFO, window)
    return TrainBatches(clips(), 4, seed, "cpu", segments=segments, **options)


def test_a_segment_is_a_stretch_of_one_clip_with_the_context_that_it_needs() -> None:
    batches = stream()
    for _ in range(50):
        x, context = batches.next()
        assert x.shape == (4, 1, 14)
        clip, place = x[:, 0, 0] // 1000, x[:, 0, 0] % 1000
        assert torch.equal(x[:, 0], x[:, :1, 0] + torch.arange(14.0))
        assert torch.equal(context["label"], clip.long())
        # It begins where a value of the context does, and has those of all its values.
        assert torch.equal(place % STRIDE, torch.zeros(4))
        assert context["mel"].shape == (4, 2, 4)
        assert torch.equal(context["mel"][:, 0], x[:, 0, ::STRIDE])
        assert (place + 14 <= torch.from_numpy(LENGTHS)[clip.long()]).all()


def test_every_place_comes_and_those_too_short_never() -> None:
    batches = stream()
    assert batches.num_too_short == 1
    seen = {float(first) for _ in range(400) for first in batches.next()[0][:, 0, 0]}
    starts = segments_of(INFO, None).num_starts(LENGTHS)  # type: ignore[union-attr]
    assert starts.tolist() == [1, 0, 7, 1, 3]
    expected = {1000.0 * c + STRIDE * n for c, num in enumerate(starts) for n in range(num)}
    assert seen == expected


@pytest.mark.parametrize("prefetch", [False, True])
def test_a_stream_goes_on_where_it_stood(prefetch: bool) -> None:
    whole = [stream(prefetch=prefetch)]
    expected = [whole[0].next()[0] for _ in range(7)]
    first = stream(prefetch=prefetch)
    for _ in range(3):
        first.next()
    second = stream(prefetch=prefetch)
    second.load_state(first.state())
    for x in expected[3:]:
        assert torch.equal(second.next()[0], x)
    assert not torch.equal(stream(seed=1).next()[0], expected[0])


def test_a_pass_has_each_clip_whole_beside_those_of_its_length() -> None:
    split = clips()
    passed = list(eval_batches(split, 8, "cpu"))
    assert [rows.tolist() for rows, _ in passed] == [[1], [0, 3], [4], [2]]
    for rows, (x, context) in passed:
        for row, clip, mel in zip(rows, x, context["mel"], strict=True):
            assert np.array_equal(clip, split.x.example(row))
            assert np.array_equal(mel, split.context["mel"].example(row))
    assert [len(rows) for rows, _ in eval_batches(split, 1, "cpu")] == [1] * 5


def test_a_segment_of_another_length_can_be_asked_for() -> None:
    x, context = stream(window=24).next()
    assert x.shape == (4, 1, 24)
    assert context["mel"].shape == (4, 2, 6)
    assert segments_of(INFO, 8) == Segments(length=8, strides={"mel": STRIDE})


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(DataError, match="no training example has the 41 values of a segment"):
        stream(window=41)
    with pytest.raises(ConfigError, match=r"training\.window is 8, but the examples of 'clips'"):
        segments_of(replace(INFO, ragged=False), 8)
    assert segments_of(replace(INFO, ragged=False), None) is None
    with pytest.raises(ConfigError, match=r"horizontal_flip needs images .* different lengths"):
        stream(augment=("horizontal_flip",))
    with pytest.raises(DataError, match="lengths that sum to 6; expected"):
        Ragged(values=np.zeros((1, 5)), lengths=np.array([3, 3]))
