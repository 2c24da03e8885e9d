import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hf_vidmodels.metrics.classification_accuracy import group_views, mean_class_accuracy, topk_accuracy

FIXTURE = Path(__file__).parents[1] / "fixtures/stts/training"
SCORES = np.array([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3]])


@pytest.fixture(scope="module")
def official():
    expected = json.loads((FIXTURE / "config.json").read_text(encoding="utf-8"))["operators"]["metric"]
    return load_file(FIXTURE / "io.safetensors"), expected


def flat_views(tensors):
    probabilities, labels = tensors["metric.view_probs"], tensors["metric.labels"]
    videos, views, classes = probabilities.shape
    ids = np.repeat(np.arange(videos), views).tolist()
    return probabilities.reshape(-1, classes), np.repeat(labels, views), ids


def test_accuracies_equal_both_official_evaluators(official):
    tensors, expected = official
    summed = group_views(*flat_views(tensors))
    np.testing.assert_allclose(summed.scores, tensors["metric.video_scores_sum"], atol=1e-6)
    assert 100 * topk_accuracy(summed.scores, summed.labels, 1) == pytest.approx(expected["slowfast_top1_acc"])
    assert 100 * topk_accuracy(summed.scores, summed.labels, 5) == pytest.approx(expected["slowfast_top5_acc"])
    mean = group_views(*flat_views(tensors), aggregation="mean")
    assert topk_accuracy(mean.scores, mean.labels, 1) == expected["mmaction_top1"]
    assert topk_accuracy(mean.scores, mean.labels, 5) == expected["mmaction_top5"]
    assert mean_class_accuracy(mean.scores, mean.labels) == pytest.approx(expected["mmaction_mean_class_accuracy"])


def test_views_may_come_in_any_order(official):
    scores, labels, ids = flat_views(official[0])
    order = np.random.default_rng(0).permutation(len(scores))
    shuffled = group_views(scores[order], labels[order], [ids[row] for row in order])
    straight = group_views(scores, labels, ids)
    where = [straight.video_ids.index(video) for video in shuffled.video_ids]
    np.testing.assert_allclose(shuffled.scores, straight.scores[where])
    assert (shuffled.labels == straight.labels[where]).all()


def test_a_view_that_comes_twice_counts_once_and_missing_views_are_named():
    grouped = group_views(
        SCORES, [0, 0, 1, 0], ["a", "a", "b", "a"], view_ids=[0, 1, 0, 1], views_per_video=3, aggregation="mean"
    )
    assert grouped.video_ids == ["a", "b"]
    np.testing.assert_allclose(grouped.scores[0], SCORES[:2].mean(0))
    assert grouped.missing_views == {"a": 1, "b": 2}
    assert grouped.num_views.tolist() == [2, 1]
    assert group_views(SCORES, [0, 0, 1, 0], ["a", "a", "b", "a"]).missing_views == {"b": 2}


def test_the_best_view_can_decide():
    grouped = group_views(SCORES[:2], [0, 0], ["a", "a"], aggregation="max")
    np.testing.assert_allclose(grouped.scores, [[0.6, 0.3, 0.6]])


def test_of_equal_scores_the_lower_class_ranks_first():
    tied = np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2]])
    assert topk_accuracy(tied, np.array([0, 1]), 1) == 0.5
    assert topk_accuracy(tied, np.array([0, 1]), 2) == 1


def test_the_mean_over_classes_counts_a_class_that_is_only_answered():
    labels = np.array([0, 0, 1, 1])
    # Answers are 0, 2, 1, 1: one of two, two of two, and class 2 has no video.
    assert mean_class_accuracy(SCORES, labels) == pytest.approx((0.5 + 1 + 0) / 3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: group_views(SCORES, [0, 1, 0, 0], ["a", "a", "b", "b"]), "'a' has the labels 0 and 1"),
        (lambda: group_views(SCORES, [0] * 4, ["a"] * 4, views_per_video=3), "'a' has 4 views, more than 3"),
        (lambda: group_views(SCORES, [0] * 4, ["a"] * 3), "video_ids must hold one id for each of 4 views, got 3"),
        (lambda: group_views(SCORES, [0] * 4, ["a"] * 4, aggregation="median"), "aggregation must be one of"),
        (lambda: group_views(SCORES[:0], [], []), "no video to score"),
        (lambda: topk_accuracy(SCORES, np.array([0, 1, 2, 3]), 1), r"class ids 0\.\.2, got 3"),
        (lambda: topk_accuracy(SCORES, np.zeros(4, int), 4), "k must be between 1 and the 3 classes"),
        (lambda: topk_accuracy(SCORES, np.zeros(3, int), 1), r"got \(4, 3\) and \(3,\)"),
        (lambda: mean_class_accuracy(SCORES * np.nan, np.zeros(4, int)), "row 0 are not"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
