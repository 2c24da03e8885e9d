import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from hf_vidmodels.metrics.multi_label_classification import average_precisions, mean_average_precision


def test_a_worked_example():
    # Ranked 0.9 (yes), 0.8 (no), 0.7 (yes): precisions 1 and 2/3 at the two hits.
    scores, labels = np.array([[0.9], [0.8], [0.7]]), np.array([[1], [0], [1]])
    assert mean_average_precision(scores, labels) == pytest.approx((1 + 2 / 3) / 2)


@given(
    arrays(float, (9, 3), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])),
    arrays(int, (9, 3), elements=st.integers(0, 1)),
)
def test_average_precisions_are_those_of_scikit_learn_with_equal_scores_too(scores, labels):
    found = average_precisions(scores, labels)
    for column in range(3):
        if labels[:, column].any():
            assert found[column] == pytest.approx(average_precision_score(labels[:, column], scores[:, column]))
        else:
            assert np.isnan(found[column])


def test_classes_without_examples_do_not_count():
    scores, labels = np.array([[0.9, 0.3], [0.1, 0.4]]), np.array([[1, 0], [0, 0]])
    assert mean_average_precision(scores, labels) == 1.0


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2)), r"must both be \(examples, classes\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), r"must both be \(examples, classes\)"),
        (np.full((1, 1), np.nan), np.ones((1, 1)), "scores must be finite numbers, but 1 are not"),
        (np.zeros((1, 1)), np.full((1, 1), 0.5), "labels must be 1 where an example has the class"),
        (np.zeros((1, 2)), np.zeros((1, 2)), "no example has a class"),
    ],
)
def test_what_cannot_be_scored_is_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        mean_average_precision(scores, labels)
