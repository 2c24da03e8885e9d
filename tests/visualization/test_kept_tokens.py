import numpy as np
import pytest

from hf_vidmodels.visualization.kept_tokens import draw_kept_tokens, shade_dropped

FRAMES = np.random.default_rng(0).integers(60, 256, (6, 8, 10, 3), dtype=np.uint8)
REGIONS = [{"frames": [0, 1], "box": (2.0, 1.0, 6.0, 5.0)}, {"frames": [4, 5], "box": (0.0, 0.0, 10.0, 8.0)}]


def test_kept_regions_keep_their_pixels_and_all_else_gets_darker():
    shaded = shade_dropped(FRAMES, REGIONS)
    np.testing.assert_array_equal(shaded[4:], FRAMES[4:])
    np.testing.assert_array_equal(shaded[:2, 1:5, 2:6], FRAMES[:2, 1:5, 2:6])
    outside = np.ones((8, 10), bool)
    outside[1:5, 2:6] = False
    assert (shaded[:2, outside] < FRAMES[:2, outside]).all()
    assert (np.ptp(shaded[2:4], axis=-1) == 0).all() and shaded[2:4].max() < 100


def test_outlines_lie_around_the_kept_region():
    shaded = shade_dropped(FRAMES, REGIONS, outlines=True)
    line = shaded[0, 0, 2:6]
    assert (line == line[0]).all() and (shaded[0, 1:5, 1] == line[0]).all() and (shaded[0, 5, 1:7] == line[0]).all()
    np.testing.assert_array_equal(shaded[0, 1:5, 2:6], FRAMES[0, 1:5, 2:6])


def test_the_strip_says_what_was_kept_when_and_what_was_found():
    times = np.arange(6) / 4
    figure = draw_kept_tokens(FRAMES, REGIONS, [("wave", 0.75), ("$pin", 0.2)], title="clip", times=times)
    head = figure.get_suptitle()
    assert "clip: wave 0.75" in head and r"\$pin" in head
    assert "looked at 4 of 6 frames, there inside the outlines: 40% of the clip" in head
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["0.00 s", "0.25 s", "0.50 s, dropped", "0.75 s, dropped", "1.00 s", "1.25 s"]
    assert [len(axis.patches) for axis in figure.axes] == [1, 1, 0, 0, 1, 1]


def test_a_model_that_keeps_everything_gets_a_plain_strip():
    figure = draw_kept_tokens(FRAMES, None, [("wave", 0.75)])
    assert figure.get_suptitle() == "wave 0.75"
    assert [axis.get_title() for axis in figure.axes][:2] == ["frame 1", "frame 2"]
    assert not any(axis.patches for axis in figure.axes)


@pytest.mark.parametrize(
    ("frames", "regions", "sentence"),
    [
        (FRAMES / 255, None, r"frames must be uint8 \(T, H, W, 3\), got float64"),
        (FRAMES[0], None, r"frames must be uint8 \(T, H, W, 3\), got uint8 of shape \(8, 10, 3\)"),
        (FRAMES, [{"frames": [6], "box": (0, 0, 1, 1)}], "names frame 6, but the clip has 6 frames"),
    ],
)
def test_frames_and_regions_that_do_not_fit_are_refused(frames, regions, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw_kept_tokens(frames, regions, [])
