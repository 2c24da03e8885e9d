import cv2
import numpy as np
import pytest

from feature_extraction_examples import moving_frames
from hf_vidmodels.data.features.optical_flow import flow_pictures

MIDDLE = (slice(None), slice(16, -16), slice(16, -16))


def test_flow_is_the_motion_in_pixels_over_the_bound():
    pictures = flow_pictures(moving_frames(4, size=64), range(4), 20)
    assert pictures.shape == (4, 64, 64, 3) and pictures.dtype == np.float32
    expected = np.array([2, 1, np.sqrt(5)]) / 20
    np.testing.assert_allclose(pictures[MIDDLE].mean((0, 1, 2)), expected, rtol=0.05)
    np.testing.assert_allclose(pictures[MIDDLE], np.broadcast_to(expected, (4, 32, 32, 3)), atol=0.03)


def test_motion_beyond_the_bound_is_clipped():
    frames = moving_frames(2, size=64)
    pictures = flow_pictures(frames, [0], 0.5)
    assert np.abs(pictures).max() == 1 and np.allclose(pictures[MIDDLE], 1)
    assert np.allclose(flow_pictures(frames[::-1].copy(), [0], 0.5)[MIDDLE][..., :2], -1)


def test_the_last_frame_has_the_flow_of_the_one_before_it():
    pictures = flow_pictures(moving_frames(3), [1, 2, 1], 20)
    assert np.array_equal(pictures[0], pictures[1]) and np.array_equal(pictures[0], pictures[2])


def test_a_lone_frame_has_no_flow():
    assert not flow_pictures(moving_frames(1), [0, 0], 20).any()


def test_flow_does_not_depend_on_the_threads_and_leaves_their_number_alone():
    frames = moving_frames(3, size=128)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        expected = flow_pictures(frames, [0, 1], 20)
        cv2.setNumThreads(4)
        assert np.array_equal(flow_pictures(frames, [0, 1], 20), expected)
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)


def test_pictures_too_small_for_flow_are_refused():
    with pytest.raises(ValueError, match="at least 12 pixels, got 8x8"):
        flow_pictures(moving_frames(2, size=8), [0], 20)
