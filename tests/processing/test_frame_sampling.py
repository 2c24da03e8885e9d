import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_vidmodels.processing.frame_sampling import (
    SAMPLING_STRATEGIES,
    FrameSampling,
    keyframe_window,
    segment_frames,
    span_views,
    strided_views,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"
CASES = json.loads((FIXTURES / "video_resnet" / "sampling" / "cases.json").read_text())
STTS = json.loads((FIXTURES / "stts" / "video_input" / "config.json").read_text())["operators"]


def test_the_published_views_of_slowfast():
    for case in CASES["kinetics"]:
        sampling = FrameSampling("slowfast", case["num_frames"], case["sampling_rate"], case["target_fps"])
        views = sampling.views(case["video_length"], case["video_fps"], case["num_views"])
        assert views.tolist() == case["frame_index"]


def test_the_published_views_of_mvit_reach_the_end():
    sampling = FrameSampling("slowfast", 16, 4, 30.0, use_offset=True)
    cases = STTS["mvit_temporal_sampling_16x4_targetfps30_use_offset"]
    assert len(cases) > 90
    for case in cases:
        views = sampling.views(case["num_frames"], case["fps"], case["num_clips"])
        assert views[case["clip_idx"]].tolist() == case["indices"]


def test_the_published_views_of_video_swin():
    for case in STTS["swin_temporal_sampling_32x2_test"]:
        views = FrameSampling("video_swin", 32, 2).views(case["num_frames"], 30.0, case["num_clips"])
        assert views.tolist() == case["indices"]


def test_the_published_segments():
    for case in CASES["something_something"]:
        assert segment_frames(case["video_length"], case["num_frames"]).tolist() == case["frame_index"]
    for case in STTS["uniform_segment_sampling_test"]:
        sampling = FrameSampling("segments", case["clip_len"])
        assert sampling.views(case["num_frames"], 12.0).tolist() == [case["indices"]]


def test_the_published_views_of_charades():
    for case in CASES["charades"]:
        sampling = FrameSampling("charades", case["num_frames"], case["sampling_rate"])
        assert sampling.views(case["video_length"], 24.0, case["num_views"]).tolist() == case["frame_index"]


def test_the_published_windows_of_ava():
    for case in CASES["ava"]:
        window = keyframe_window(case["center"], case["half_length"], case["rate"], case["total"])
        assert window.tolist() == case["frame_index"]
    with pytest.raises(ValueError, match="one of the frames 0 to 79, got 80"):
        keyframe_window(80, 32, 2, 80)


@given(
    strategy=st.sampled_from(SAMPLING_STRATEGIES),
    length=st.integers(1, 400),
    num_frames=st.integers(1, 40),
    rate=st.integers(1, 8),
    fps=st.sampled_from([math.nan, 8.0, 25.0, 29.97, 60.0]),
    use_offset=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_views_and_clips_lie_in_the_video_and_go_forward(strategy, length, num_frames, rate, fps, use_offset, seed):
    sampling = FrameSampling(strategy, num_frames, rate, use_offset=use_offset)
    views = sampling.views(length, fps, 1 if strategy == "segments" else 4)
    clip = sampling.random_clip(length, fps, np.random.default_rng(seed))
    assert views.shape[1] == num_frames and clip.shape == (num_frames,)
    for frames in (*views, clip):
        assert frames.dtype == np.int64 and frames.min() >= 0 and frames.max() < length
        if strategy != "video_swin" or length >= num_frames * rate:
            assert (np.diff(frames) >= 0).all()
    assert (np.diff(views[:, 0]) >= 0).all()


@pytest.mark.parametrize("strategy", SAMPLING_STRATEGIES)
def test_training_clips_follow_from_their_generator_and_use_the_whole_video(strategy):
    sampling = FrameSampling(strategy, 4, 5)
    clips = [sampling.random_clip(60, 30.0, np.random.default_rng(seed)) for seed in range(300)]
    again = sampling.random_clip(60, 30.0, np.random.default_rng(7))
    assert again.tolist() == clips[7].tolist()
    seen = set(np.concatenate(clips).tolist())
    # The published rule of Video Swin never starts in the last stride before the end.
    assert seen >= set(range(59 if strategy != "video_swin" else 55))


@pytest.mark.parametrize(("strategy", "last"), [("slowfast", 39), ("video_swin", 40), ("charades", 44)])
def test_training_clips_start_anywhere_between_both_ends(strategy, last):
    sampling = FrameSampling(strategy, 4, 5)
    starts = {int(sampling.random_clip(60, 30.0, np.random.default_rng(seed))[0]) for seed in range(600)}
    assert min(starts) == 0 and max(starts) == last and len(starts) > 35


def test_training_segments_reach_both_of_their_ends():
    frames = np.array(
        [FrameSampling("segments", 3).random_clip(10, 1.0, np.random.default_rng(i)) for i in range(200)]
    )
    assert [(int(column.min()), int(column.max())) for column in frames.T] == [(0, 3), (3, 6), (6, 9)]


def test_short_videos_repeat_frames_as_each_protocol_does():
    assert span_views(5, 4, 12.0, 1).tolist() == [[0, 3, 4, 4]]
    assert strided_views(5, 4, 3, 2).tolist() == [[0, 3, 1, 4]] * 2
    assert FrameSampling("charades", 4, 3).views(5, 30.0, 1).tolist() == [[0, 3, 4, 4]]
    assert segment_frames(1, 4).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("strategy", ["slowfast", "video_swin", "charades"])
@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 400), num_clips=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_each_part_of_a_video_gives_one_of_several_clips(strategy, length, num_clips, seed):
    sampling = FrameSampling(strategy, 4, 3, 25.0)
    clips = sampling.random_clips(length, 25.0, num_clips, np.random.default_rng(seed))
    again = sampling.random_clips(length, 25.0, num_clips, np.random.default_rng(seed))
    assert clips.shape == (num_clips, 4) and (clips == again).all()
    assert (np.diff(clips) >= 0).all() and 0 <= clips.min() <= clips.max() < length
    starts, part = clips[:, 0], length / num_clips
    inside = starts[starts < length - 12]
    number = np.arange(len(inside))
    assert (inside > number * part - 1).all() and (inside < (number + 1) * part).all()
    if length >= 12:
        assert (clips[:, -1] - clips[:, 0] >= 9).all()


def test_whole_video_segments_give_no_several_clips():
    with pytest.raises(ValueError, match="covers the whole video with one clip, but 3 were asked"):
        FrameSampling("segments", 4).random_clips(30, 25.0, 3, np.random.default_rng(0))


def test_a_video_without_frame_rate_counts_as_having_the_target_rate():
    sampling = FrameSampling("slowfast", 8, 8, 30.0)
    assert np.array_equal(sampling.views(300, math.nan, 3), sampling.views(300, 30.0, 3))
    assert not np.array_equal(sampling.views(300, 15.0, 3), sampling.views(300, 30.0, 3))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("dense", 8), "sampling_strategy must be one of"),
        (("slowfast", 0), "num_frames must be a positive number, got 0"),
        (("slowfast", 8, -1), "sampling_rate must be a positive number, got -1"),
        (("slowfast", 8, 1, float("nan")), "target_fps must be a positive number, got nan"),
    ],
)
def test_contradicting_numbers_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        FrameSampling(*arguments)


def test_what_cannot_be_sampled_is_refused():
    with pytest.raises(ValueError, match="at least one frame, got 0"):
        FrameSampling("slowfast", 8).views(0, 30.0)
    with pytest.raises(ValueError, match="num_views must be at least 1, got 0"):
        FrameSampling("slowfast", 8).views(9, 30.0, 0)
    with pytest.raises(
        ValueError, match="give one view in time, but 2 were asked; leave num_views at 1, or choose another"
    ):
        FrameSampling("segments", 8).views(9, 30.0, 2)
