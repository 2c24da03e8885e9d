import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_vidmodels.visualization.timeline_content import LOWEST_BAR_HEIGHT, MOST_REFERENCES, collect_timeline

NAMES = ["run", "jump", "throw", "swim"]


def collect(segments=(), scores=(), labels=(), **options):
    prediction = {"segments": segments, "scores": scores, "labels": labels}
    return collect_timeline(prediction, **({"duration": 10.0, "label_names": NAMES} | options))


def test_classes_of_the_reference_come_first_then_the_best_scores():
    content = collect(
        [[0, 1], [1, 2], [2, 3]],
        [0.2, 0.9, 0.5],
        [0, 1, 2],
        reference={"segments": [[5, 6], [1, 2]], "labels": [3, 0]},
    )
    assert [row.name for row in content.rows] == ["run", "swim", "jump", "throw"]


def test_segments_are_by_score_and_true_ones_by_start():
    content = collect(
        [[0, 1], [1, 2], [2, 3]],
        [0.2, 0.9, 0.5],
        [0, 0, 0],
        reference={"segments": [[5, 6], [1, 2]], "labels": [0, 0]},
    )
    assert content.rows[0].scores.tolist() == [0.9, 0.5, 0.2]
    assert content.rows[0].segments[0].tolist() == [1, 2]
    assert content.rows[0].reference.tolist() == [[1, 2], [5, 6]]


def test_limits_leave_out_and_the_counts_say_so():
    segments, labels = np.tile([[0.0, 1.0]], (8, 1)), np.arange(8) % 4
    content = collect(segments, np.linspace(0.1, 0.8, 8), labels, max_classes=2, min_score=0.25, top_k=1)
    assert [(row.name, row.scores.tolist()) for row in content.rows] == [
        ("swim", [0.8]),
        ("throw", [pytest.approx(0.7)]),
    ]
    assert (content.num_shown_predictions, content.num_predictions, content.num_classes) == (2, 8, 4)


def test_curves_stand_at_the_centres_of_equal_parts_and_lose_the_background():
    class_scores = np.arange(10.0).reshape(2, 5)
    content = collect([[0, 1]], [1.0], [2], attention=[0.1, 0.9], class_scores=class_scores)
    assert content.curve_times.tolist() == [2.5, 7.5]
    assert content.rows[0].activation.tolist() == [2.0, 7.0]


def test_without_any_segment_the_classes_with_the_highest_activation_stand_in():
    content = collect(class_scores=[[0.1, 0.2, 0.9, 0.3], [0.8, 0.2, 0.1, 0.3]])
    assert [row.name for row in content.rows] == ["throw", "run", "swim"]


def test_label_names_may_be_a_mapping_as_in_a_model_configuration():
    content = collect([[0, 1]], [1.0], [1], label_names={1: "jump", 0: "run"})
    assert content.rows[0].name == "jump"


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_bar_heights_keep_the_order_of_scores_within_the_row(scores):
    content = collect(np.tile([[0.0, 1.0]], (len(scores), 1)), scores, np.zeros(len(scores)))
    heights = content.bar_heights(content.rows[0].scores)
    assert heights[0] == 1.0
    assert (np.diff(heights) <= 0).all()
    assert (heights >= LOWEST_BAR_HEIGHT).all()


def test_a_bar_of_half_the_best_score_is_half_as_tall():
    content = collect([[0, 1], [1, 2]], [0.8, 0.4], [0, 0])
    assert content.bar_heights(content.rows[0].scores).tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"duration": 0.0}, "duration must be a positive number of seconds, got 0.0"),
        ({"duration": float("nan")}, "duration must be a positive"),
        ({"segments": [[0, 1, 2]]}, r"prediction\['segments'\] must have the shape \('any', 2\), got \(1, 3\)"),
        ({"scores": [1.0]}, r"prediction\['scores'\] must have the shape \(0,\), got \(1,\)"),
        ({"segments": [[3, 2]], "scores": [1], "labels": [0]}, "ends at 2 s, before its start at 3 s"),
        ({"segments": [[0, np.nan]], "scores": [1], "labels": [0]}, "holds NaN or infinite"),
        ({"segments": [[0, 1]], "scores": [1], "labels": [9]}, "has the label 9, but label_names names only 0 to 3"),
        ({"reference": {"segments": []}}, "reference has no 'labels'; it holds"),
        ({"reference": {"segments": [[0, 1]], "labels": [4]}}, "reference has the label 4"),
        ({"label_names": {0: "run", 2: "jump"}}, "without a gap"),
        ({"class_scores": np.zeros((5, 7))}, "class_scores has 7 columns, expected one for each of the 4"),
        ({"attention": np.zeros(5), "class_scores": np.zeros((6, 4))}, "same positive number of values"),
        (
            {"attention": np.zeros(5), "curve_times": np.zeros(4)},
            r"curve_times must have the shape \(5,\), got \(4,\)",
        ),
        ({"max_classes": 0}, "max_classes must be at least 1, or None for no limit, got 0"),
        ({"top_k": -1}, "top_k must be at least 1"),
    ],
)
def test_what_does_not_fit_is_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        collect(**options)


def test_of_very_many_true_segments_the_first_are_shown_and_all_are_counted():
    starts = np.random.default_rng(0).permutation(10_000) / 1001
    reference = {"segments": np.stack([starts, starts + 0.001], axis=1), "labels": np.arange(10_000) % 4}
    content = collect(reference=reference)
    assert content.num_references == 10_000 and sum(len(row.reference) for row in content.rows) == MOST_REFERENCES
    assert content.reference[:, 0].max() == np.sort(starts)[MOST_REFERENCES - 1]
