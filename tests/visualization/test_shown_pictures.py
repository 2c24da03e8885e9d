import numpy as np
import pytest
from PIL import Image

from hf_vidmodels.visualization.contact_sheet import draw_contact_sheet
from hf_vidmodels.visualization.figures import new_figure
from hf_vidmodels.visualization.picture_grid import PicturePanel, draw_picture_grid
from hf_vidmodels.visualization.shown_pictures import reduced_picture, show_picture


@pytest.mark.parametrize("shape", [(1080, 1920, 3), (1920, 1080, 3), (1080, 1920)])
def test_a_large_picture_keeps_the_pixels_that_are_seen_twice_over(shape):
    picture = np.linspace(0, 255, np.prod(shape)).reshape(shape)
    picture = picture.astype(np.uint8 if len(shape) == 3 else np.float32)
    small = reduced_picture(picture, 2.0)
    assert 480 <= max(small.shape[:2]) < 2 * 480 and small.dtype == picture.dtype
    assert small.mean() == pytest.approx(picture.mean(), rel=0.01)


def test_a_small_picture_stays_as_it_is():
    picture = np.zeros((300, 400, 3), np.uint8)
    assert reduced_picture(picture, 2.0) is picture


def test_what_is_drawn_over_a_reduced_picture_has_the_coordinates_of_all_its_pixels():
    axes = new_figure().subplots()
    show_picture(axes, Image.new("RGB", (4000, 3000)), 1.0)
    assert axes.images[0].get_array().shape[:2] == (188, 250)
    assert axes.get_xlim() == (-0.5, 3999.5) and axes.get_ylim() == (2999.5, -0.5)


def test_sheets_hold_pictures_as_small_as_they_are_shown():
    picture = np.zeros((1500, 2000, 3), np.uint8)
    box = {"xmin": 0, "ymin": 0, "xmax": 1999, "ymax": 1499}
    explanation = {"label": "a", "heatmap": np.zeros((1500, 2000)), "box": box}
    sheet = draw_contact_sheet([{"image": picture, "title": "a", "explanations": [explanation]}])
    grid = draw_picture_grid([PicturePanel(picture, [((0, 0, 1999, 1499), "all")], "a")], "title")
    shown = [image for figure in (sheet, grid) for axes in figure.axes for image in axes.images]
    assert len(shown) == 4 and all(max(image.get_array().shape) <= 1000 for image in shown)
    assert all(axes.get_xlim() == (-0.5, 1999.5) for figure in (sheet, grid) for axes in figure.axes)
