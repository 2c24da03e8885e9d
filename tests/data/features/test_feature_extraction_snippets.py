from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_vidmodels.data.features.snippets import batched, iterate_snippets, sample_positions

numbers = st.integers(1, 12)


def cut(num_frames, length, stride):
    frames = [np.full((1, 1, 3), index) for index in range(num_frames)]
    return [[int(frame[0, 0, 0]) for frame in snippet] for snippet in iterate_snippets(frames, length, stride)]


@given(st.integers(0, 60), numbers, numbers)
def test_snippets_are_the_windows_of_the_frames_and_one_padded_end(num_frames, length, stride):
    snippets = cut(num_frames, length, stride)
    full = [list(range(k, k + length)) for k in range(0, num_frames - length + 1, stride)]
    assert snippets[: len(full)] == full
    rest = list(range(len(full) * stride, num_frames))
    if rest and (not full or len(rest) >= ceil(length / 2)):
        assert snippets[len(full) :] == [rest + [num_frames - 1] * (length - len(rest))]
    else:
        assert len(snippets) == len(full)


def test_half_a_snippet_is_filled_up_and_less_is_dropped():
    assert cut(12, 8, 8)[1] == [8, 9, 10, 11, 11, 11, 11, 11]
    assert len(cut(11, 8, 8)) == 1


def test_a_video_shorter_than_a_snippet_is_one_snippet():
    assert cut(1, 4, 4) == [[0, 0, 0, 0]]


def test_frames_are_taken_only_when_their_snippet_is():
    taken = []

    def frames():
        for index in range(100):
            taken.append(index)
            yield np.zeros((1, 1, 3))

    snippets = iterate_snippets(frames(), 8, 8)
    next(snippets)
    assert len(taken) == 8


@pytest.mark.parametrize(("length", "stride"), [(0, 8), (8, 0)])
def test_snippets_need_frames_and_a_step(length, stride):
    with pytest.raises(ValueError, match="at least 1 frame"):
        iterate_snippets([], length, stride)


@given(st.integers(1, 40), st.integers(1, 40))
def test_sampled_positions_are_even_and_inside(length, count):
    positions = sample_positions(length, count)
    assert len(positions) == count
    assert positions == sorted(positions) and positions[0] >= 0 and positions[-1] < length
    steps = np.diff(positions)
    assert count == 1 or steps.max() - steps.min() <= 1
    if count == length:
        assert positions == list(range(length))


def test_batches_keep_every_item_in_order():
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
