import numpy as np
import pytest

from action_detection_examples import annotated_tubes, video_evaluation
from hf_vidmodels.metrics.tube_detection import AVERAGED_THRESHOLDS, REPORTED_THRESHOLDS, tube_detection_map
from hf_vidmodels.metrics.tube_linking import LinkingRules, frame_boxes, link_tubelets
from hf_vidmodels.metrics.tube_table import TubeTable, paired_tube_iou


@pytest.fixture(scope="module")
def case():
    arrays, values = video_evaluation()
    linked = {}
    for number, video in enumerate(values["videos"]):
        own = arrays["tubelets.video"] == number
        linked[video] = link_tubelets(
            *(arrays[f"tubelets.{name}"][own] for name in ("boxes", "scores", "start_frame"))
        )
    return arrays, values, linked


def test_tubes_are_those_that_acts_script_links(case):
    arrays, values, linked = case
    for video, name in enumerate(values["videos"]):
        for label in range(values["num_labels"]):
            kept = arrays["linked.kept_by_tube_nms"] & (arrays["linked.video"] == video)
            expected = np.flatnonzero(kept & (arrays["linked.label"] == label))
            expected = expected[np.argsort(-arrays["linked.score"][expected])]
            found = [tube for tube in linked[name] if tube["label"] == label]
            assert len(found) == len(expected)
            for tube, number in zip(found, expected, strict=True):
                rows = arrays["linked.frames_boxes_scores"][arrays["linked.tube_index"] == number]
                assert tube["score"] == pytest.approx(arrays["linked.score"][number], abs=1e-5)
                np.testing.assert_array_equal(tube["frames"], rows[:, 0])
                np.testing.assert_allclose(tube["boxes"], rows[:, 1:5], atol=1e-3)
                np.testing.assert_allclose(tube["frame_scores"], rows[:, 5], atol=1e-5)


def test_frame_detections_are_those_that_acts_script_scores(case):
    arrays, values, _ = case
    for video in range(len(values["videos"])):
        own = arrays["tubelets.video"] == video
        found = frame_boxes(*(arrays[f"tubelets.{name}"][own] for name in ("boxes", "scores", "start_frame")))
        rows = np.column_stack([found[name] for name in ("frames", "labels", "scores", "boxes")])
        expected = arrays["frame_detections"][arrays["frame_detections"][:, 0] == video, 1:]
        order, expected_order = (np.lexsort(table.round(3).T[::-1]) for table in (rows, expected))
        np.testing.assert_allclose(rows[order], expected[expected_order], atol=1e-3)


def test_act_values_are_those_of_its_script(case):
    arrays, values, linked = case
    annotated = annotated_tubes(arrays, values["videos"])
    result = tube_detection_map(linked, annotated)
    assert result.class_ids.tolist() == values["labels_with_ground_truth"]
    expected = [list(of_classes.values()) for of_classes in values["video_ap"].values()]
    np.testing.assert_allclose(result.ap.T * 100, expected, atol=1e-4)
    official = [values["video_map"][f"{threshold:.2f}"] for threshold in REPORTED_THRESHOLDS]
    np.testing.assert_allclose(result.mAP * 100, official, atol=1e-4)
    average = tube_detection_map(linked, annotated, AVERAGED_THRESHOLDS).mAP.mean()
    assert average * 100 == pytest.approx(values["video_map"]["0.50:0.95"], abs=1e-4)


def test_multisports_values_are_those_of_its_functions(case):
    arrays, values, linked = case
    annotated, official = annotated_tubes(arrays, values["videos"]), values["multisports_flavour"]
    result = tube_detection_map(linked, annotated, (0.2, 0.5), style="multisports")
    np.testing.assert_allclose(result.mAP * 100, list(official["video_map"].values()), atol=1e-4)
    for name, thresholds in (
        ("0.05:0.45", np.arange(0.05, 0.5, 0.05)),
        ("0.10:0.90", np.arange(0.1, 0.95, 0.1)),
        ("0.50:0.95", AVERAGED_THRESHOLDS),
    ):
        average = tube_detection_map(linked, annotated, thresholds, style="multisports").mAP.mean()
        assert average * 100 == pytest.approx(official[f"video_map_{name}"], abs=1e-3)


def tube(frames, box=(0, 0, 9, 9), label=0, score=1.0):
    return {"label": label, "score": score, "frames": np.array(frames), "boxes": np.tile(box, (len(frames), 1))}


def test_the_overlap_of_tubes_is_that_of_their_spans_times_that_of_their_boxes():
    first = TubeTable.from_mapping({"v": [tube(range(1, 11))]})
    second = TubeTable.from_mapping({"v": [tube(range(6, 16), (0, 0, 9, 4)), tube([20, 21])]})
    rows = np.array([0, 0])
    overlaps = paired_tube_iou(first, rows, second, np.array([0, 1]), inclusive=True)
    np.testing.assert_allclose(overlaps, [5 / 15 * 0.5, 0.0])
    overlaps = paired_tube_iou(first, rows, second, np.array([0, 1]), inclusive=False)
    np.testing.assert_allclose(overlaps, [4 / 14 * 4 / 9, 0.0])


def test_a_tube_takes_the_one_left_over_where_its_best_is_taken():
    annotated = {"v": [tube(range(10)), tube(range(10), (3, 0, 12, 9))]}
    found = {"v": [tube(range(10), score=0.9), tube(range(10), (1, 0, 10, 9), score=0.8)]}
    assert tube_detection_map(found, annotated, (0.5,)).mAP[0] == 1.0
    assert tube_detection_map(found, annotated, (0.5,), style="multisports").mAP[0] == 0.5


def test_tubes_of_other_videos_are_false_positives():
    found = {"w": [tube(range(10), score=0.9)], "v": [tube(range(10), score=0.5)]}
    assert tube_detection_map(found, {"v": [tube(range(10))]}, (0.5,), style="multisports").mAP[0] == 0.5


def test_frames_that_no_tubelet_covers_are_filled_in_between():
    rules = LinkingRules(shortest=1)
    boxes = np.array([[[0, 0, 9, 9]], [[4, 0, 13, 9]]])
    (found,) = link_tubelets(boxes, np.array([[0.8], [0.6]]), np.array([3, 5]), rules)
    assert found["frames"].tolist() == [3, 4, 5]
    np.testing.assert_allclose(found["boxes"][1], [2, 0, 11, 9])
    assert found["score"] == pytest.approx(0.7)


def test_a_tube_ends_when_nothing_follows_for_long():
    boxes = np.tile([0, 0, 9, 9], (2, 1, 1))
    rules = LinkingRules(shortest=1)
    near = link_tubelets(boxes, np.ones((2, 1)), np.array([0, 5]), rules)
    far = link_tubelets(boxes, np.ones((2, 1)), np.array([0, 6]), rules)
    assert [len(tube["frames"]) for tube in near] == [6]
    assert [len(tube["frames"]) for tube in far] == [1, 1]


def test_no_tubelets_give_no_tubes_and_no_mean_where_nothing_is_annotated():
    assert link_tubelets(np.empty((0, 6, 4)), np.empty((0, 3)), np.empty(0, int)) == []
    with pytest.warns(UserWarning, match="no detections"):
        assert tube_detection_map({}, {"v": [tube([1, 2])]}, (0.5,)).mAP[0] == 0
    with pytest.warns(UserWarning, match="no annotations"):
        assert np.isnan(tube_detection_map({"v": [tube([1])]}, {}, (0.5,)).mAP[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (tube([3, 3]), "tube 1 of video 'v' needs whole frame numbers that ascend"),
        (tube([]), "tube 1 of video 'v' needs frames"),
        (tube([1], (0, 0, np.nan, 1)), "tube 1 of video 'v' has a box or a score that is not finite"),
    ],
)
def test_a_tube_that_is_none_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        tube_detection_map({"v": [tube([1, 2]), wrong]}, {"v": [tube([1])]})


def test_styles_and_shapes_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="style must be one of act, multisports, got 'ava'"):
        tube_detection_map({}, {"v": [tube([1])]}, style="ava")
    with pytest.raises(ValueError, match=r"boxes must be \(M, K, 4\)"):
        link_tubelets(np.ones((2, 4)), np.ones((2, 1)), np.array([0, 1]))
    with pytest.raises(ValueError, match="starts must be 2 whole numbers"):
        link_tubelets(np.ones((2, 1, 4)), np.ones((2, 1)), np.array([0.5, 1]))
