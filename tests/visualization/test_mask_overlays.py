import numpy as np
import pytest
from PIL import Image

from hf_vidmodels.visualization.mask_overlays import (
    GREATEST_SIDE,
    LEAST_SIDE,
    draw_instances,
    instance_colours,
    paint_masks,
    tile_drawings,
)

GREY = np.full((40, 60, 3), 100, np.uint8)


def square(x0, y0, x1, y1):
    mask = np.zeros((40, 60), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_small_pictures_are_enlarged_by_whole_steps_and_large_ones_reduced():
    assert draw_instances(GREY, []).size == (660, 440)
    assert draw_instances(np.zeros((1000, 700, 3), np.uint8), []).size == (700, 1000)
    assert draw_instances(Image.new("L", (4000, 1000)), []).size == (GREATEST_SIDE, 400)
    assert max(draw_instances(np.zeros((1, 1, 3), np.uint8), []).size) == LEAST_SIDE


def test_masks_are_tinted_inside_and_outlined_at_their_edge():
    colour = (255, 0, 0)
    painted = paint_masks(GREY, [square(10, 5, 30, 25)], [colour])
    assert tuple(painted[5, 10]) == tuple(painted[24, 29]) == colour
    assert tuple(painted[15, 20]) == (170, 55, 55)
    assert (painted[~square(10, 5, 30, 25)] == 100).all() and (GREY == 100).all()


def test_a_mask_lies_where_its_object_is_in_the_enlarged_drawing():
    drawing = np.asarray(draw_instances(GREY, [[10, 5, 30, 25]], [square(10, 5, 30, 25)]))
    step = drawing.shape[1] // 60
    changed = (drawing != 100).any(axis=2).reshape(40, step, 60, step).all(axis=(1, 3))
    np.testing.assert_array_equal(changed, square(10, 5, 30, 25))


def test_boxes_without_masks_are_solid_and_beyond_the_edge_are_cut():
    drawing = np.asarray(draw_instances(GREY, [[-20, -20, 300, 300], [20, 10, 30, 20]]))
    first, second = instance_colours(2)
    assert tuple(drawing[0, 300]) == tuple(drawing[-1, 300]) == tuple(drawing[200, 0]) == first
    assert tuple(drawing[110, 250]) == second and tuple(drawing[150, 250]) == (100, 100, 100)


def test_every_instance_has_a_colour_of_its_own():
    colours = np.array(instance_colours(60))
    distances = np.abs(colours[:, None] - colours[None]).sum(2) + 1000 * np.eye(60)
    assert distances.min() > 5 and len({tuple(colour) for colour in colours}) == 60
    assert distances.diagonal(1).min() > 150


def test_names_and_scores_are_written_and_do_not_cover_each_other():
    boxes = [[20, 10, 40, 30]] * 3
    plain, named, scored = (
        np.asarray(draw_instances(GREY, boxes, names=names, scores=scores))
        for names, scores in (([None] * 3, None), (["cat"] * 3, None), (["cat"] * 3, [0.5, 0.25, None]))
    )
    assert (named != plain).any() and (scored != named).any()
    # The tag of the first instance keeps its whole area of colour although two more have the same corner.
    first = (named == instance_colours(3)[0]).all(axis=2)
    assert first.sum() > 300


def test_a_title_is_written_above_and_shortened_to_the_width():
    drawing = draw_instances(GREY, [], title="long " * 100)
    assert drawing.width == 660 and drawing.height > 440
    assert (np.asarray(drawing)[:25] == 0).any() and (np.asarray(drawing)[-440:] == 100).all()


def test_a_sheet_holds_all_drawings():
    drawings = [Image.new("RGB", (30, height), (0, 0, 0)) for height in (10, 20, 5)]
    sheet = np.asarray(tile_drawings(drawings, columns=2))
    assert sheet.shape == (20 + 8 + 5, 68, 3)
    assert (sheet == 0).all(axis=2).sum() == 30 * 35
    assert np.asarray(tile_drawings(drawings, title="all")).shape[0] > 33
    with pytest.raises(ValueError, match="no drawing"):
        tile_drawings([])


def test_instances_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="got 1 boxes and 2 masks"):
        draw_instances(GREY, [[0, 0, 5, 5]], [square(0, 0, 5, 5)] * 2)
    with pytest.raises(ValueError, match="got 1 boxes and 0 names"):
        draw_instances(GREY, [[0, 0, 5, 5]], names=[])
    with pytest.raises(ValueError, match=r"size of the picture, 40 x 60, got \(5, 5\)"):
        draw_instances(GREY, [[0, 0, 5, 5]], np.zeros((1, 5, 5), bool))
