import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asm_loc_cases import NAMES, load_case
from hf_vidmodels.configuration.configuration_asm_loc import AsmLocConfig
from hf_vidmodels.modeling.ops.proposal_guidance import (
    guiding_labels,
    proposal_boxes,
    pseudo_labels,
    sampling_labels,
    sampling_weights,
)
from hf_vidmodels.modeling.ops.snippet_sampling import TimeWarp, sample_random, sample_uniform, warp_features

CASES_AND_VIDEOS = [(name, video) for name in NAMES for video in load_case(name).pipeline["pseudo_proposals_step1"]]
THUMOS = AsmLocConfig(num_labels=3)
# One snippet a second, no extension: seconds are snippet indices.
PLAIN = AsmLocConfig(num_labels=3, frames_per_second=16, proposal_extension=0)
NO_PROPOSALS = {"segments": np.zeros((0, 2)), "scores": np.zeros(0), "labels": np.zeros(0, dtype=np.int64)}


def proposals_of(*rows):
    """Rows are (start, end, score, label)."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return {"segments": table[:, :2], "scores": table[:, 2], "labels": table[:, 3].astype(np.int64)}


@pytest.fixture(scope="module", params=CASES_AND_VIDEOS, ids=lambda pair: "-".join(pair))
def guided(request):
    """One video of the official second step, with its weights."""
    case, video = load_case(request.param[0]), request.param[1]
    proposals, num_features = case.proposals(video), len(case.tensors[f"feature.{video}"])
    labels = sampling_labels(proposals, case.guiding_labels(video), case.config)
    return case, video, proposals, num_features, sampling_weights(proposals, labels, num_features, case.config)


def test_sampling_weights_equal_the_official_ones(guided):
    case, video, *_, weights = guided
    np.testing.assert_allclose(weights, case.tensors[f"dynamic_weights.{video}"], rtol=0, atol=1e-12)


def test_the_guided_input_equals_the_official_one(guided):
    case, video, *_, weights = guided
    warped = warp_features(case.tensors[f"feature.{video}"], weights)
    if video in case.pipeline["split"]["train"]:
        draws = case.tensors.get(f"item_step1.{video}.u")
        sampled = sample_random(warped, case.config.num_snippets, draws=draws)
        official = case.tensors[f"item_step1.{video}.input_feature"]
    else:
        sampled = sample_uniform(warped, case.config.num_snippets)
        official = case.tensors[f"test1.{video}.input_feature"]
    np.testing.assert_allclose(sampled, official, rtol=0, atol=1e-6)


def test_boxes_are_the_official_ones(guided):
    case, video, proposals, num_features, weights = guided
    stored = {key: case.tensors[f"item_step1.{video}.{key}"] for key in ("proposal_bbox", "proposal_count")}
    num_snippets = len(case.tensors[f"item_step1.{video}.pseudo_instance_label"])
    labels = guiding_labels(proposals, case.guiding_labels(video))
    warp = TimeWarp.from_weights(weights)
    boxes = proposal_boxes(proposals, labels, num_features, num_snippets, case.config, warp)
    official = stored["proposal_bbox"][: int(stored["proposal_count"][0])]
    # The attention between proposals knows no order, and the official code's own order has no rule.
    assert sorted(boxes.tolist()) == sorted(official.tolist())


def test_pseudo_labels_are_the_official_ones(guided):
    case, video, proposals, num_features, weights = guided
    official = case.tensors[f"item_step1.{video}.pseudo_instance_label"]
    labels = pseudo_labels(
        proposals,
        case.true_labels(video),
        num_features,
        len(official),
        case.config.num_labels,
        case.config,
        TimeWarp.from_weights(weights),
    )
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels, official, rtol=0, atol=1e-6)


def test_a_training_video_is_guided_by_its_labels_and_another_by_its_predictions():
    proposals = proposals_of((0, 1, 0.5, 2), (0, 1, 0.5, 0))
    assert guiding_labels(proposals, [1]) == [1]
    assert guiding_labels(proposals, None) == [0, 2]
    assert sampling_labels(proposals, [1], THUMOS) == [1]
    assert sampling_labels(proposals, [1], AsmLocConfig.from_preset("asm-loc-activitynet")) == [0, 2]


def test_a_short_proposal_takes_up_the_common_length():
    proposals = proposals_of((10, 13, 0.9, 0), (40, 43, 0.8, 0))
    weights = sampling_weights(proposals, [0], 60, PLAIN)
    assert weights[10:14].sum() == pytest.approx(PLAIN.short_proposal_length)
    assert (np.delete(weights, range(10, 14)) == 1).all(), "the proposal that crosses the share is left out"


def test_the_only_proposal_of_a_class_and_classes_that_do_not_count_leave_time_alone():
    proposals = proposals_of((10, 13, 0.9, 0), (20, 22, 0.9, 1), (30, 33, 0.8, 1))
    assert (sampling_weights(proposals, [0, 2], 60, PLAIN) == 1).all()
    assert (sampling_weights(NO_PROPOSALS, [0], 60, PLAIN) == 1).all()


def test_long_proposals_are_not_stretched():
    proposals = proposals_of((10, 30, 0.9, 0), (40, 43, 0.8, 0))
    assert (sampling_weights(proposals, [0], 60, PLAIN) == 1).all()


def test_boxes_drop_duplicates_and_what_lies_inside_an_earlier_one():
    proposals = proposals_of((5, 9, 0.9, 0), (6, 8, 0.8, 0), (5, 9, 0.7, 1), (6, 12, 0.6, 1), (5, 7, 0.5, 1))
    # Among equal starts the later of the list comes first, so the short one is seen before the long one.
    assert proposal_boxes(proposals, [0, 1], 20, 20, PLAIN).tolist() == [[5, 7], [5, 9], [6, 12]]


def test_boxes_follow_the_video_s_sampling():
    proposals = proposals_of((5, 10, 0.9, 0))
    assert proposal_boxes(proposals, [0], 20, 10, PLAIN).tolist() == [[2, 5]]
    warp = TimeWarp.from_weights(np.array([1.0] * 5 + [3.0] * 5 + [1.0] * 10))
    # Second 5 is the end of row 6, and rows 6 to 10 are three times as long.
    assert proposal_boxes(proposals, [0], 20, 30, PLAIN, warp).tolist() == [[7, 20]]


def test_boxes_past_the_end_come_out_inverted():
    assert proposal_boxes(proposals_of((30, 40, 0.9, 0)), [0], 20, 20, PLAIN).tolist() == [[30, 19]]


def test_too_many_boxes_keep_the_best_with_a_warning():
    config = AsmLocConfig(num_labels=3, frames_per_second=16, proposal_extension=0, max_proposals=2)
    proposals = proposals_of((1, 3, 0.2, 0), (5, 7, 0.9, 0), (10, 12, 0.5, 1))
    with pytest.warns(UserWarning, match="3 proposals; the 2 best by score are kept"):
        assert proposal_boxes(proposals, [0, 1], 20, 20, config).tolist() == [[5, 7], [10, 12]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(proposal_boxes(proposals, [0], 20, 20, config)) == 2


def test_classes_share_a_snippet_and_the_rest_is_background():
    proposals = proposals_of((2, 5, -0.1, 0), (4, 7, 0.5, 2), (0, 9, 0.5, 1))
    labels = pseudo_labels(proposals, [0, 2], 10, 10, 3, PLAIN)
    assert labels[0].tolist() == [0, 0, 0, 1]
    assert labels[2].tolist() == [1, 0, 0, 0], "a score below 0 counts too"
    assert labels[4].tolist() == [0.5, 0, 0.5, 0]
    assert labels[7].tolist() == [0, 0, 1, 0]
    assert pseudo_labels(NO_PROPOSALS, [0], 4, 4, 3, PLAIN)[:, 3].tolist() == [1, 1, 1, 1]


times = st.floats(0, 60)
proposal_rows = st.lists(
    st.tuples(times, times, st.floats(-0.5, 1), st.integers(0, 2)).map(
        lambda row: (min(row[:2]), max(row[:2]), *row[2:])
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(
    rows=proposal_rows,
    num_features=st.integers(1, 80),
    num_snippets=st.integers(2, 50),
    delta=st.sampled_from([0, 0.5]),
)
def test_guidance_of_any_proposals_is_well_formed(rows, num_features, num_snippets, delta):
    config = AsmLocConfig(num_labels=3, proposal_extension=delta)
    proposals = proposals_of(*rows)
    weights = sampling_weights(proposals, [0, 1], num_features, config)
    assert weights.shape == (num_features,)
    assert weights.min() >= 1 - 1e-9
    assert weights.sum() == pytest.approx(np.round(weights.sum()), abs=1e-6)

    warp = TimeWarp.from_weights(weights, num_features)
    for given_warp in (None, warp):
        boxes = proposal_boxes(proposals, [0, 1], num_features, num_snippets, config, given_warp)
        assert boxes.dtype == np.int64
        assert (boxes[:, 0] >= 0).all()
        assert (boxes[:, 1] <= num_snippets - 1).all()
        assert len(boxes) <= len({(start, end) for start, end, _, label in rows if label < 2})
        labels = pseudo_labels(proposals, [0, 1], num_features, num_snippets, 3, config, given_warp)
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=0, atol=1e-6)
        assert (labels[:, 2] == 0).all()
