import numpy as np
import pytest

from hf_vidmodels.visualization.temporal_mixing import draw_regions, draw_temporal_matrices

MATRICES = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
FRAMES = np.random.default_rng(1).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
SHARES = np.random.default_rng(2).dirichlet(np.ones(3), (3, 2, 4)).transpose(3, 0, 1, 2).astype(np.float32)


def test_a_square_of_the_matrices_is_one_head_reading_one_group():
    figure = draw_temporal_matrices({"pixels behind res3, block 1": MATRICES})
    (panel,) = figure.axes
    shown = panel.images[0].get_array()
    assert shown.shape == (2 * 4, 3 * 4)
    np.testing.assert_allclose(shown[4:8, 8:12], MATRICES[1, 2])
    low, high = panel.images[0].get_clim()
    assert high == -low == pytest.approx(np.abs(MATRICES).max())
    # Lines part the squares.
    assert len(panel.lines) == 1 + 2
    assert panel.get_title().startswith("pixels behind res3, block 1")
    assert "row is the frame that is made, its column the frame that is read" in figure.get_suptitle()


def test_places_without_a_partner_leave_an_empty_panel():
    figure = draw_temporal_matrices({str(place): MATRICES for place in range(3)})
    assert [bool(panel.images) for panel in figure.axes] == [True, True, True, False]


def test_every_frame_is_coloured_by_the_region_with_the_greatest_share():
    figure = draw_regions(FRAMES, {"behind res3": SHARES}, title="clip $1", times=np.arange(6) / 2)
    frames, regions = figure.axes[:6], figure.axes[6:]
    assert [panel.get_title() for panel in frames] == ["0.00 s", "0.50 s", "1.00 s", "1.50 s", "2.00 s", "2.50 s"]
    np.testing.assert_array_equal(frames[3].images[0].get_array(), FRAMES[3])
    # Three maps for six frames: each is shown twice.
    colours = [panel.images[1].get_array() for panel in regions]
    assert len({tuple(colour) for colour in colours[0].reshape(-1, 3)}) == len(np.unique(SHARES[:, 0].argmax(0)))
    np.testing.assert_array_equal(colours[0], colours[1])
    assert not np.array_equal(colours[1], colours[2])
    assert r"clip \$1" in figure.get_suptitle()


def test_long_clips_are_shown_by_eight_frames_from_first_to_last():
    frames = np.zeros((32, 4, 4, 3), np.uint8)
    figure = draw_regions(frames, {"behind res3": np.ones((2, 8, 1, 1), np.float32)})
    assert len(figure.axes) == 16
    assert [figure.axes[number].get_title() for number in (0, 7)] == ["frame 1", "frame 32"]


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: draw_temporal_matrices({}), "no temporal matrices to draw"),
        (lambda: draw_temporal_matrices({"res3": MATRICES[0]}), r"of res3 must be \(heads, groups, T, T\)"),
        (lambda: draw_regions(FRAMES / 255, {"res3": SHARES}), r"frames must be uint8 \(T, H, W, 3\), got float64"),
        (lambda: draw_regions(FRAMES, {"res3": SHARES[0]}), r"regions need shares \(regions, T, H, W\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw()
