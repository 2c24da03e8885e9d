"""What stands over the pictures of a grid."""

import numpy as np

from hf_vidmodels.visualization.picture_grid import PicturePanel, draw_picture_grid

PICTURE = np.zeros((20, 30, 3), np.uint8)


def test_a_long_file_name_does_not_hide_the_answer_below_it():
    name = "a_file_name_of_a_camera_" * 4
    figure = draw_picture_grid([PicturePanel(PICTURE, [], f"{name}.jpeg\nspotted owl 0.93")], "runs/owls")
    above, below = figure.axes[0].get_title().splitlines()
    assert len(above) == 40 and name.startswith(above[:-1]) and above.endswith("…")
    assert below == "spotted owl 0.93"
