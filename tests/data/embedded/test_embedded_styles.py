import numpy as np
import pytest

from hf_vidmodels.data.embedded.embedded_corpora import compose_embedded_scene
from hf_vidmodels.data.embedded.embedded_motions import SUBPIXELS
from hf_vidmodels.data.embedded.embedded_styles import (
    DETAILS,
    STROKES,
    STYLES,
    StyleParameters,
    draw_strokes,
    write_digit,
)

P = StyleParameters()


@pytest.mark.parametrize("digit", range(len(STROKES)))
def test_classes_of_a_digit_differ_in_one_place_alone(digit):
    for seed in range(20):
        written = [
            write_digit(np.random.default_rng(seed), digit * len(DETAILS) + detail, P)
            for detail in range(len(DETAILS))
        ]
        (plain,), thickness = written[0]
        whole = draw_strokes([plain], thickness)
        for strokes, same in written[1:]:
            assert same == thickness and len(strokes) == 2
            np.testing.assert_array_equal(strokes[0], plain)
            changed = draw_strokes(strokes, thickness) != whole
            rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
            # Texels of 32 across: the detail is small, and it shows.
            assert 3 <= changed.sum() <= 60
            assert max(np.ptp(rows), np.ptp(columns)) <= 11


def test_styles_vary():
    first, second = (draw_strokes(*write_digit(np.random.default_rng(seed), 0, P)) for seed in (0, 1))
    assert (first != second).mean() > 0.1


def test_a_line_covers_what_is_near_it_and_a_point_is_a_dot():
    line = draw_strokes([np.array([[128, 512], [896, 512]])], thickness=128)
    assert line[16, 4:28].min() == 256 and line[15, 4:28].min() == 256
    assert not line[:12].any() and not line[20:].any() and not line[:, 0].any()
    dot = draw_strokes([np.array([[512, 512]])], thickness=128)
    assert dot[15:17, 15:17].min() == 256 and (dot > 0).sum() < 40
    np.testing.assert_array_equal(dot, dot.T)


def test_every_class_comes_and_is_written_on_the_last_sprite():
    scenes = [compose_embedded_scene("styles", "train", number) for number in range(200)]
    assert {scene.sprites[-1].digit for scene in scenes} == set(range(len(STYLES)))
    assert {len(scene.sprites) for scene in scenes} <= {1, 2, 3, 4, 5}


def test_clutter_stays_away_from_the_digit_and_the_digit_inside_the_picture():
    for number in range(50):
        *clutter, digit = compose_embedded_scene("styles", "test", number).sprites
        x, y, size = (int(values[0]) for values in (digit.poses.x, digit.poses.y, digit.poses.size))
        assert size // 2 <= min(x, y) and max(x, y) <= P.size * SUBPIXELS - size // 2
        for piece in clutter:
            apart = max(abs(int(piece.poses.x[0]) - x), abs(int(piece.poses.y[0]) - y))
            assert apart > 0.44 * size
