"""Which step of a cascade answers."""

import numpy as np
import pytest

from hf_vidmodels import AsmLocConfig
from hf_vidmodels.data.features.video_table import VideoTable
from hf_vidmodels.training.recipes.asm_loc_step_choice import HeldOutVideos

CONFIG = AsmLocConfig(num_labels=2, hidden_size=8, num_attention_heads=2)


def videos(num_segments=1):
    segments = {"segments": np.array([[1.0, 3.0]])[:num_segments], "labels": np.array([0])[:num_segments]}
    return VideoTable(["a"], [None], [[0]], {"a": segments}, [10.0], [None])


def result(start, score):
    found = {"segments": np.array([[start, start + 2.0]]), "scores": np.array([0.9]), "labels": np.array([0])}
    return {"a": {"test": found, "video_scores": np.array([score, 1 - score, 0.0], dtype=np.float32)}}


@pytest.mark.parametrize(
    ("splits", "split", "has_times"),
    [
        ({"train": 1, "test": 1, "validation": 1}, "validation", True),
        ({"train": 1, "validation": 0, "test": 1}, "validation", False),
        ({"train": 1, "test": 1}, "test", False),
    ],
)
def test_times_are_read_of_validation_videos_alone(splits, split, has_times):
    held_out = HeldOutVideos.of_splits({name: videos(number) for name, number in splits.items()})
    assert (held_out.split, held_out.has_times) == (split, has_times)


def test_a_lone_training_split_holds_nothing_out():
    assert HeldOutVideos.of_splits({"train": videos()}) is None


def test_segments_choose_where_they_may_be_read_and_classes_otherwise():
    right_time, right_class = result(1.0, 0.2), result(7.0, 0.8)
    by_times, by_classes = (HeldOutVideos(videos(), "validation", has_times) for has_times in (True, False))
    for held_out, best in ((by_times, 0), (by_classes, 1)):
        values = [held_out.measured(step, CONFIG) for step in (right_time, right_class)]
        assert held_out.best_step(values) == best
    assert by_classes.measured(right_class, CONFIG) == pytest.approx(-np.log(0.8))


def test_of_equal_steps_the_later_one_answers():
    assert HeldOutVideos(videos(), "validation", True).best_step([0.5, 0.6, 0.6, 0.1]) == 2
    assert HeldOutVideos(videos(), "test", False).best_step([0.5, 0.4, 0.4, 0.9]) == 2


def test_steps_that_are_worse_than_the_one_before_are_named():
    first, second = HeldOutVideos(videos(), "validation", True).sentences([0.5, 0.4, 0.45])
    assert first == "Step 1 is worse than step 0: average mAP of 1 validation videos 0.400 after 0.500."
    assert second == "Step 0 answers: it has the best average mAP of 1 validation videos, 0.500."
    (only,) = HeldOutVideos(videos(), "test", False).sentences([0.5, 0.4])
    assert only.startswith("Step 1 answers: it has the best class loss of 1 test videos")


def test_the_choice_is_a_table_of_the_report():
    table = HeldOutVideos(videos(), "test", False).table([0.5, 0.4])
    assert table["title"] == "which step answers: class loss of 1 test videos, lower is better"
    assert table["rows"] == [["0", 0.5, ""], ["1", 0.4, "yes"]]
