"""Geometry of crops around boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_vidmodels.processing.box_crops import (
    cut_box_mask,
    cut_picture,
    draw_margins,
    extend_boxes,
    resize_crop,
    shared_margins,
    visible_part,
)

SIDES = st.integers(1, 40)
EDGES = st.integers(-90, 90)


@st.composite
def extended_boxes(draw):
    left, top = draw(EDGES), draw(EDGES)
    return np.array([left, top, left + draw(SIDES), top + draw(SIDES)])


@given(extended_boxes(), SIDES, SIDES)
@settings(max_examples=100, deadline=None)
def test_beyond_its_edges_the_picture_is_repeated(box, height, width):
    picture = np.arange(height * width).reshape(height, width)
    crop = cut_picture(picture, box)
    rows, columns = np.mgrid[box[1] : box[3], box[0] : box[2]]
    np.testing.assert_array_equal(crop, picture[rows % height, columns % width])


@given(extended_boxes(), SIDES, SIDES)
@settings(max_examples=50, deadline=None)
def test_or_its_edge_goes_on(box, height, width):
    picture = np.arange(height * width).reshape(height, width)
    rows, columns = np.mgrid[box[1] : box[3], box[0] : box[2]]
    expected = picture[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    np.testing.assert_array_equal(cut_picture(picture, box, "edge"), expected)


@given(
    st.tuples(*[st.floats(0, 39)] * 2, *[st.floats(1, 30)] * 2),
    SIDES,
    SIDES,
    st.tuples(*[st.floats(0, 1)] * 4),
    st.sampled_from([16, 33]),
    st.sampled_from(["wrap", None]),
)
@settings(max_examples=100, deadline=None)
def test_the_mask_of_a_box_is_that_of_a_resized_picture_of_zeros_and_ones(box, height, width, margins, side, pad_mode):
    box = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]], dtype=np.float32)
    extended = extend_boxes(box[None], np.array(margins))[0]
    mask = np.zeros((height, width), dtype=np.uint8)
    left, top, right, bottom = (int(edge) for edge in box)
    mask[top : bottom + 1, left : right + 1] = 1
    rows, columns = np.mgrid[extended[1] : extended[3], extended[0] : extended[2]]
    crop = mask[rows % height, columns % width]
    if pad_mode is None:
        crop = crop * ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width))
    expected = np.asarray(Image.fromarray(crop.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC))
    ours = cut_box_mask(box, (height, width), extended, side, Image.Resampling.BICUBIC, pad_mode)
    np.testing.assert_array_equal(ours, expected)


def test_margins_move_sides_outwards_in_half_sides_and_round_outwards():
    box = np.array([[10.0, 20.0, 30.0, 60.0]])
    assert extend_boxes(box, 0.0).tolist() == [[10, 20, 31, 61]]
    assert extend_boxes(box, [0.5, 0.0, 0.11, 1.0]).tolist() == [[5, 20, 33, 81]]


def test_opposite_margins_share_what_the_gate_gives_them():
    margins = shared_margins(np.array([0.5, 0.5, 0.5, 0.5]), np.array([1.0, 0.25]), (0.0, 1.2))
    np.testing.assert_allclose(margins, [0.6, 0.15, 0.0, 0.45])


def test_drawn_margins_follow_the_generator_and_stay_in_their_range():
    drawn = np.stack([draw_margins(np.random.default_rng(seed), (0.2, 0.8)) for seed in range(200)])
    assert np.array_equal(drawn[3], draw_margins(np.random.default_rng(3), (0.2, 0.8)))
    assert (drawn >= 0).all()
    assert (drawn[:, :2] + drawn[:, 2:] <= 0.8 + 1e-12).all()
    assert len(np.unique(drawn[:, 0])) == 200


def test_crops_are_resized_as_pillow_does():
    crop = np.random.default_rng(0).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(crop).resize((48, 48), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize_crop(crop, 48, Image.Resampling.BICUBIC), expected)


@pytest.mark.parametrize(
    ("box", "in_picture", "in_crop"),
    [
        ((2, 3, 5, 9), (slice(3, 9), slice(2, 5)), (slice(0, 6), slice(0, 3))),
        ((-4, -2, 30, 40), (slice(0, 20), slice(0, 10)), (slice(2, 22), slice(4, 14))),
    ],
)
def test_the_visible_part_is_found_in_picture_and_crop(box, in_picture, in_crop):
    assert visible_part(np.array(box), (20, 10)) == (in_picture, in_crop)
