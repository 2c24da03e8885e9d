import numpy as np
import pytest

from hf_vidmodels.visualization.action_frames import annotate_frame, draw_action_frames, person_colour
from hf_vidmodels.visualization.followed_people import action_spans, annotated_frames, follow_people, people_shown_at

LEFT, RIGHT = [0.1, 0.2, 0.3, 0.8], [0.5, 0.2, 0.7, 0.8]


def key_frame(time, *people):
    return {
        "timestamp": time,
        "people": [{"person": number, "box": box, "actions": [("walk", score)]} for number, box, score in people],
    }


WALK = [
    key_frame(1.0, (0, LEFT, 0.8)),
    key_frame(2.0, (0, RIGHT, 0.6)),
    key_frame(3.0),
    key_frame(4.0, (1, LEFT, 0.9)),
]


def test_boxes_between_key_times_are_interpolated():
    people = follow_people(WALK)
    (shown,) = people_shown_at(people, 1.5, spacing=1.0)
    np.testing.assert_allclose(shown["box"], [0.3, 0.2, 0.5, 0.8])
    assert shown["person"] == 0


@pytest.mark.parametrize(("time", "seen"), [(0.4, []), (0.6, [0]), (2.4, [0]), (2.6, []), (3.6, [1]), (4.6, [])])
def test_people_are_seen_half_a_spacing_around_their_key_times(time, seen):
    assert [person["person"] for person in people_shown_at(follow_people(WALK), time, spacing=1.0)] == seen


def test_tubes_say_where_people_are_around_key_times():
    frame = key_frame(1.0, (0, LEFT, 0.8))
    frame["people"][0] |= {"tube": np.array([LEFT, RIGHT]), "tube_times": [0.8, 1.2]}
    (shown,) = people_shown_at(follow_people([frame]), 1.1, spacing=1.0)
    np.testing.assert_allclose(shown["box"], [0.4, 0.2, 0.6, 0.8])


def test_key_times_that_follow_each_other_are_one_span():
    spans = action_spans(follow_people([*WALK, key_frame(7.0, (1, LEFT, 0.5))]), spacing=1.0)
    assert spans["names"] == ["person 1: walk", "person 2: walk"]
    assert spans["colours"] == [person_colour(0), person_colour(1)]
    np.testing.assert_allclose(spans["segments"], [[0.5, 2.5], [3.5, 4.5], [6.5, 7.5]])
    np.testing.assert_allclose(spans["scores"], [0.7, 0.9, 0.5])
    assert spans["labels"].tolist() == [0, 1, 1]


def test_nobody_gives_no_spans():
    spans = action_spans(follow_people([key_frame(1.0)]), spacing=1.0)
    assert spans["segments"].shape == (0, 2) and spans["names"] == []


def test_frames_show_people_in_their_colour_and_stay_as_they_are_without():
    frames = [np.zeros((120, 200, 3), np.uint8) for _ in range(3)]
    people = follow_people(WALK)
    drawn = list(annotated_frames(frames, [1.0, 2.0, 3.0], people, spacing=1.0))
    colour = tuple(int(person_colour(0)[place : place + 2], 16) for place in (1, 3, 5))
    np.testing.assert_array_equal(drawn[0][24:97, 20], np.tile(colour, (73, 1)))
    assert drawn[1][50, 100].tolist() == list(colour)
    assert drawn[2] is frames[2]


def test_a_label_stays_on_the_frame():
    person = {"person": 1, "box": [0.9, 0.0, 1.0, 0.1], "actions": [("a very long name of an action", 0.5)]}
    frame = annotate_frame(np.zeros((100, 300, 3), np.uint8), [person])
    assert (frame[:, :250] > 0).any()
    assert frame.shape == (100, 300, 3)


def test_a_sheet_shows_stills_with_their_people():
    films = np.zeros((10, 60, 80, 3), np.uint8)
    films[5:] = 200
    still = {"video": films, "fps": 5.0, "title": "1 s", **key_frame(1.0, (2, LEFT, 0.8))}
    (axes,) = draw_action_frames([still], "film").axes
    assert axes.images[0].get_array().mean() == 200
    (box,) = axes.patches
    np.testing.assert_allclose([*box.get_xy(), box.get_width(), box.get_height()], [8, 12, 16, 36])
    assert [text.get_text() for text in axes.texts] == ["walk 0.80"]


def test_true_boxes_are_white_and_nameless_below_the_people():
    films = np.zeros((10, 60, 80, 3), np.uint8)
    still = {"video": films, "fps": 5.0, "title": "1 s", **key_frame(1.0, (2, LEFT, 0.8))}
    (axes,) = draw_action_frames([still | {"true_boxes": [[0.5, 0.0, 1.0, 0.5]]}], "film").axes
    truth, found = axes.patches
    assert (truth.get_edgecolor(), found.get_edgecolor() == truth.get_edgecolor()) == ((1, 1, 1, 1), False)
    np.testing.assert_allclose([*truth.get_xy(), truth.get_width(), truth.get_height()], [40, 0, 40, 30])
    assert [text.get_text() for text in axes.texts] == ["walk 0.80"]
