"""Displacements by the colour wheel, and the sheet of frames, displacements and reconstructions."""

import numpy as np
import pytest

from hf_vidmodels.visualization.motion_fields import colour_displacements, draw_motion, motion_frames


def field(x, y, frames=2):
    return np.broadcast_to(np.array([x, y], np.float32)[None, :, None, None], (frames, 2, 4, 6)).copy()


def test_directions_have_hues_of_their_own_and_nothing_that_moves_is_white():
    colours = [colour_displacements(field(*way))[0, 0, 0] for way in ((3, 0), (-3, 0), (0, 3), (0, -3))]
    assert len({tuple(colour) for colour in colours}) == 4
    assert (colour_displacements(field(0, 0)) == 255).all()
    right = colours[0]
    assert right[0] > 200 and right[1] < 100


def test_all_frames_are_coloured_on_one_scale():
    moving = np.concatenate((field(8, 0, 1), field(2, 0, 1)))
    fast, slow = colour_displacements(moving)[:, 0, 0].astype(int)
    assert (slow >= fast).all() and slow.sum() > fast.sum() + 100
    assert (colour_displacements(field(2, 0), greatest=8.0)[0, 0, 0] == slow).all()
    assert (colour_displacements(field(99, 0), greatest=8.0)[0, 0, 0] == fast).all()


def test_a_sheet_shows_frames_displacements_and_reconstructions():
    frames = np.random.default_rng(0).random((3, 3, 4, 6), dtype=np.float32)
    mask = np.ones((3, 1, 4, 6), np.float32)
    mask[0, 0, 0] = 0
    figure = draw_motion(frames, field(1, 1, 3), frames, mask, title="a <video>", times=[0.0, 0.1, 0.2])
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 4 * 3 + 1
    assert figure.axes[0].get_title() == "0.00 s"
    made = figure.axes[2 * 4].images[0].get_array()
    assert (made[0] == 128).all() and np.allclose(made[1:], (frames[0].transpose(1, 2, 0) * 255).round()[1:], atol=1)
    beside = motion_frames(frames, field(1, 1, 3), frames, mask)
    assert beside.shape == (3, 4, 18, 3) and beside.dtype == np.uint8


@pytest.mark.parametrize("wrong", [np.zeros((2, 3, 4, 4)), np.full((1, 2, 4, 4), np.nan)])
def test_what_is_no_displacement_is_refused(wrong):
    with pytest.raises(ValueError, match=r"displacements must be numbers \(T, 2, H, W\)"):
        colour_displacements(wrong)


def test_frames_without_their_displacements_are_refused():
    frames = np.zeros((3, 3, 4, 6), np.float32)
    with pytest.raises(ValueError, match="of the same frames"):
        draw_motion(frames, field(1, 1, 2), frames, np.ones((3, 1, 4, 6)))
