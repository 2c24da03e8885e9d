"""What stands over the pictures of a grid."""

import numpy as np
import pytest

from hf_vidmodels.visualization.picture_grid import PicturePanel, draw_picture_grid

PICTURE = np.zeros((20, 30, 3), np.uint8)


def test_a_long_file_name_does_not_hide_the_answer_below_it():
    name = "a_file_name_of_a_camera_" * 4
    figure = draw_picture_grid([PicturePanel(PICTURE, [], f"{name}.jpeg\nspotted owl 0.93")], "runs/owls")
    above, below = figure.axes[0].get_title().splitlines()
    assert len(above) == 40 and name.startswith(above[:-1]) and above.endswith("…")
    assert below == "spotted owl 0.93"


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (400, 150)])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("top", [0.05, 0.2, 0.9])
def test_names_of_boxes_stay_on_the_picture(height, width, left, top):
    picture = np.zeros((height, width, 3), np.uint8)
    box = (left * width, top * height, width - 1, height - 1)
    figure = draw_picture_grid([PicturePanel(picture, [(box, "stand 0.51\nwatch 0.44\nhold 0.40")], "film")], "films")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    seen, name = axes.get_window_extent(), axes.texts[0].get_window_extent()
    assert seen.x0 - 1 <= name.x0 and name.x1 <= seen.x1 + 1
    assert name.y1 <= seen.y1 + 1
