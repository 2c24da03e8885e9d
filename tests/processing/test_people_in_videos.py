import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from action_detection_examples import FIXTURES
from hf_vidmodels.processing.people_in_videos import PersonTracker, find_people

LEFT, RIGHT = np.array([0.1, 0.1, 0.4, 0.9]), np.array([0.6, 0.1, 0.9, 0.9])


def found(*rows):
    return {"boxes": np.array([box for box, _ in rows]), "scores": np.array([scores for _, scores in rows])}


def test_boxes_that_overlap_are_one_person_with_all_that_it_does():
    people = find_people(found((LEFT, [0.9, 0.0, 0.3]), (LEFT + 0.02, [0.5, 0.6, 0.0]), (RIGHT, [0.0, 0.0, 0.7])))
    assert [person.actions for person in people] == [[(0, 0.9), (1, 0.6), (2, 0.3)], [(2, 0.7)]]
    # Four detections, of which two have either box.
    np.testing.assert_allclose(people[0].box, LEFT + 0.01)


def test_the_threshold_and_the_overlap_are_kept_to():
    rows = found((LEFT, [0.9, 0.2]), (LEFT + 0.02, [0.8, 0.0]))
    assert [person.actions for person in find_people(rows, threshold=0.3)] == [[(0, 0.9)]]
    assert [person.actions for person in find_people(rows, overlap=0.99)] == [[(0, 0.9), (1, 0.2)], [(0, 0.8)]]
    assert find_people({"boxes": np.empty((0, 4)), "scores": np.empty((0, 2))}) == []


def people_at(*boxes, tubes=None):
    rows = {"boxes": np.array(boxes), "scores": np.array([[0.9 - 0.1 * place] for place in range(len(boxes))])}
    return find_people(rows if tubes is None else rows | {"tubes": np.array(tubes)})


def test_people_keep_their_number_while_they_are_seen():
    tracker = PersonTracker()
    assert tracker.follow(people_at(LEFT, RIGHT), 1.0) == [0, 1]
    assert tracker.follow(people_at(RIGHT + 0.05, LEFT + 0.05), 2.0) == [1, 0]
    assert tracker.follow([], 3.0) == []
    assert tracker.follow(people_at(LEFT), 4.0) == [0]
    assert tracker.follow(people_at(LEFT), 6.5) == [2]


def test_two_people_never_get_one_number():
    tracker = PersonTracker()
    tracker.follow(people_at(LEFT), 1.0)
    assert sorted(tracker.follow(people_at(LEFT, LEFT + [0.16, 0, 0.16, 0]), 2.0)) == [0, 1]


def test_tubes_follow_who_moves_fast():
    tracker, times = PersonTracker(), np.array([-0.5, 0.0, 0.5])
    away = np.array([0.3, 0, 0.3, 0])
    first = people_at(LEFT, tubes=[[LEFT - 0.05, LEFT, LEFT + away / 2]])
    second = people_at(LEFT + away * 1.01, tubes=[[LEFT + away / 2, LEFT + away, LEFT + away]])
    assert tracker.follow(first, 1.0, 1 + times) == [0]
    assert tracker.follow(second, 2.0, 2 + times) == [0]
    without = PersonTracker()
    without.follow(people_at(LEFT), 1.0)
    assert without.follow(people_at(LEFT + away * 1.01), 2.0) == [1]


def test_joining_is_that_of_the_official_demo():
    arrays = load_file(FIXTURES / "merge.safetensors")
    groups = json.loads((FIXTURES / "merge.json").read_text())["groups"]
    labels = arrays["labels"].astype(int)
    scores = np.zeros((len(labels), labels.max() + 1))
    scores[np.arange(len(labels)), labels] = arrays["scores"]
    people = find_people({"boxes": arrays["boxes"], "scores": scores}, overlap=0.8)
    assert len(people) == len(groups)
    for person, group in zip(people, groups, strict=True):
        np.testing.assert_allclose(person.box, group["box"], atol=1e-6)
        best = {}
        for label, score in zip(group["labels"], group["scores"], strict=True):
            best.setdefault(label, score)
        assert person.actions == [(label, pytest.approx(score)) for label, score in best.items()]
