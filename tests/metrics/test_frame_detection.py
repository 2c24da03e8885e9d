from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from action_detection_examples import FIXTURES, official_values, plain_frame_map, video_evaluation
from hf_vidmodels.metrics.ava_files import (
    read_ava_annotations,
    read_ava_detections,
    read_excluded_frames,
    read_label_map,
)
from hf_vidmodels.metrics.box_table import BoxTable, paired_box_iou
from hf_vidmodels.metrics.frame_detection import frame_detection_map

REAL = Path(__file__).parents[3] / "shared" / "real" / "mmaction2_eval"


def ava_inputs():
    detections = read_ava_detections(FIXTURES / "ava_detections.csv")
    return detections, read_ava_annotations(FIXTURES / "ava_groundtruth.csv")


def official_ap(values):
    mean, *per_class = (np.nan if value is None else value for value in values.values())
    return mean, np.array(per_class)


@pytest.mark.filterwarnings("ignore:25 detections of classes")
@pytest.mark.parametrize("case", ["with_exclusions", "without_exclusions"])
def test_ava_values_are_those_of_the_official_evaluator(case):
    values = official_values()
    excluded = read_excluded_frames(FIXTURES / "ava_excluded_timestamps.csv") if case == "with_exclusions" else ()
    result = frame_detection_map(*ava_inputs(), class_ids=values["class_ids_60"], excluded=excluded)
    mean, per_class = official_ap(values["ava_frame_map"][case])
    np.testing.assert_allclose(result.mAP, [mean], atol=1e-12)
    np.testing.assert_allclose(result.ap[:, 0], per_class, atol=1e-12)


@pytest.mark.filterwarnings("ignore:25 detections of classes")
def test_frames_without_annotation_can_be_left_out_as_other_evaluators_do():
    values = official_values()
    excluded = read_excluded_frames(FIXTURES / "ava_excluded_timestamps.csv")
    options = {"class_ids": values["class_ids_60"], "excluded": excluded, "annotated_frames_only": True}
    expected = values["ava_frame_map"]["with_exclusions_only_frames_with_ground_truth"]
    result = frame_detection_map(*ava_inputs(), **options)
    assert result.mAP[0] == pytest.approx(next(iter(expected.values())), abs=1e-12)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files of mmaction2 are not here")
def test_real_files_score_as_in_mmaction2():
    result = frame_detection_map(read_ava_detections(REAL / "pred.csv"), read_ava_annotations(REAL / "gt.csv"))
    assert result.mAP[0] == pytest.approx(0.09385522, abs=1e-8)
    assert set(read_label_map(REAL / "action_list.txt")) == set(result.class_ids.tolist())


def test_detections_in_the_order_given_score_as_in_slowfast():
    case = official_values()["slowfast_frame_map"]
    frames = [
        {
            row["image"]: {
                "boxes": np.reshape(row["boxes_y1x1y2x2"], (-1, 4))[:, [1, 0, 3, 2]],
                "labels": row["labels"],
                "scores": row.get("scores", [0.0] * len(row["labels"])),
            }
            for row in case[name]
        }
        for name in ("detections", "ground_truth")
    ]
    options = {"class_ids": case["class_ids"], "excluded": case["excluded"]}
    result = frame_detection_map(*frames, in_given_order=True, **options)
    mean, per_class = official_ap(case["result"])
    assert result.mAP[0] == pytest.approx(mean, abs=1e-12)
    np.testing.assert_allclose(result.ap[:, 0], per_class, atol=1e-12)
    assert frame_detection_map(*frames, **options).mAP[0] > result.mAP[0]


@pytest.mark.parametrize(("style", "expected"), [("act", 75.17376708984375), ("multisports", 78.24990369238573)])
def test_act_and_multisports_values_are_those_of_their_scripts(style, expected):
    arrays, _ = video_evaluation()
    # Later rows come first among equal scores, so the scripts' order is given from the end.
    rows = arrays["frame_detections"][arrays["frame_detections.ranking"][::-1]].astype(np.float64)
    tube, boxes = arrays["gt.tube_index"], arrays["gt.frames_boxes"].astype(np.float64)
    predictions = table_of(rows[:, 0], rows[:, 1], rows[:, 4:], rows[:, 2], rows[:, 3])
    references = table_of(arrays["gt.video"][tube], boxes[:, 0], boxes[:, 1:], arrays["gt.label"][tube])
    result = frame_detection_map(predictions, references, style=style)
    assert result.mAP[0] * 100 == pytest.approx(expected, abs=1e-4)


def table_of(videos, frames, boxes, labels, scores=None):
    ids, places = np.unique(np.stack([videos, frames], axis=1), axis=0, return_inverse=True)
    return BoxTable([tuple(row) for row in ids.tolist()], places.reshape(-1), boxes, labels.astype(int), scores)


def one_frame(boxes, scores=None, labels=None):
    entry = {"boxes": boxes, "labels": [0] * len(boxes) if labels is None else labels}
    return {"frame": entry if scores is None else {**entry, "scores": scores}}


def test_ava_gives_no_second_choice_and_act_does():
    people = one_frame([[0, 0, 10, 10], [2, 0, 12, 10]])
    # The second detection overlaps the first person most, whom the first one takes.
    found = one_frame([[0, 0, 10, 10], [0.9, 0, 10.9, 10]], scores=[0.9, 0.8])
    assert frame_detection_map(found, people, style="ava").mAP[0] == 0.5
    assert frame_detection_map(found, people, style="act").mAP[0] == 1.0


def test_ava_drops_boxes_without_area_and_counts_those_in_frames_without_people():
    people = one_frame([[0.1, 0.1, 0.5, 0.5]])
    found = one_frame([[0.5, 0.1, 0.1, 0.5], [0.1, 0.1, 0.5, 0.5]], scores=[0.9, 0.5])
    assert frame_detection_map(found, people).mAP[0] == 1.0
    elsewhere = {**found, "other": {"boxes": [[0, 0, 1, 1]], "labels": [0], "scores": [0.6]}}
    assert frame_detection_map(elsewhere, people).mAP[0] == 0.5
    assert frame_detection_map(elsewhere, people, annotated_frames_only=True).mAP[0] == 1.0
    assert frame_detection_map(elsewhere, people, excluded=["other"]).mAP[0] == 1.0


@st.composite
def frames(draw, with_scores):
    corner = st.integers(0, 12)
    row = st.tuples(corner, corner, st.integers(0, 8), st.integers(0, 8), st.integers(0, 2))
    found, score = {}, 0.0
    for frame_id in draw(st.lists(st.sampled_from("abcd"), unique=True)):
        rows = draw(st.lists(row, max_size=5))
        boxes = [[x, y, x + w + (not with_scores), y + h + (not with_scores)] for x, y, w, h, _ in rows]
        found[frame_id] = {"boxes": boxes, "labels": [label for *_, label in rows]}
        if with_scores:
            found[frame_id]["scores"] = [score := score + 0.01 for _ in rows]
    return found


@pytest.mark.filterwarnings("ignore:there are no detections")
@settings(max_examples=80, deadline=None)
@given(
    frames(with_scores=True),
    frames(with_scores=False).filter(lambda frames: any(f["labels"] for f in frames.values())),
)
def test_it_equals_plain_loops(predictions, references):
    result = frame_detection_map(predictions, references)
    assert result.mAP[0] == pytest.approx(plain_frame_map(predictions, references), abs=1e-9)


def test_overlap_of_pixels_counts_both_corners_where_asked():
    first, second = np.array([0.0, 0, 1, 1]), np.array([1.0, 0, 2, 1])
    assert paired_box_iou(first, second) == 0
    assert paired_box_iou(first, second, inclusive=True) == pytest.approx(2 / 6)


def test_classes_without_annotation_are_left_out_of_the_mean():
    result = frame_detection_map(one_frame([[0, 0, 1, 1]], [0.5]), one_frame([[0, 0, 1, 1]]), class_ids=[0, 7])
    assert np.isnan(result.ap[1, 0])
    assert result.mAP[0] == 1.0
    assert result.to_metrics("frame_") == {"frame_mAP@0.5": 1.0}
    assert np.isnan(result.mean_over([7])[0])


def test_nothing_found_and_nothing_to_find_are_said():
    people = one_frame([[0, 0, 1, 1]])
    with pytest.warns(UserWarning, match="no detections: the mean average precision is 0"):
        assert frame_detection_map({}, people).mAP[0] == 0
    with pytest.warns(UserWarning, match="no annotations to find: .* undefined"):
        assert np.isnan(frame_detection_map(one_frame([[0, 0, 1, 1]], [0.5]), {}).mAP[0])


def test_detections_of_other_classes_are_counted_in_a_warning():
    found = one_frame([[0, 0, 1, 1], [0, 0, 1, 1]], [0.5, 0.9], labels=[0, 80])
    with pytest.warns(UserWarning, match="1 detections of classes that are not evaluated are left out: 80"):
        assert frame_detection_map(found, one_frame([[0, 0, 1, 1]]), class_ids=[0]).mAP[0] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "coco"}, "style must be one of ava, act, multisports, got 'coco'"),
        ({"thresholds": [0.0]}, r"in \(0, 1\], got \[0.0\]"),
        ({"style": "act", "in_given_order": True}, "in_given_order is for the styles"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        frame_detection_map(one_frame([[0, 0, 1, 1]], [0.5]), one_frame([[0, 0, 1, 1]]), **options)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"boxes": [[0, 0, 1, 1]], "labels": [0]}, "frame f lack 'scores'"),
        ({"boxes": [[0, 0, 1]], "labels": [0], "scores": [1]}, r"frame f needs boxes \(N, 4\)"),
        ({"boxes": [[0, 0, 1, 1]], "labels": [0], "scores": [np.nan]}, "scores must be finite, got nan in frame f"),
        ({"boxes": [[0, 0, 1, np.inf]], "labels": [0], "scores": [1]}, "boxes must be finite, got .* in frame f"),
    ],
)
def test_values_that_are_none_name_their_frame(entry, message):
    with pytest.raises(ValueError, match=message):
        frame_detection_map({"f": entry}, one_frame([[0, 0, 1, 1]]))
