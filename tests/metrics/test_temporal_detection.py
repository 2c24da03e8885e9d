import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_vidmodels.metrics import ranked_matching
from hf_vidmodels.metrics.activitynet_files import read_activitynet_ground_truth, read_activitynet_results
from hf_vidmodels.metrics.segment_table import SegmentTable
from hf_vidmodels.metrics.temporal_detection import (
    ACTIVITYNET_TIOU_THRESHOLDS,
    THUMOS_AVERAGE_TIOU_THRESHOLDS,
    THUMOS_TIOU_THRESHOLDS,
    temporal_detection_map,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "asm_loc"
CASES = ("thumos_tiny", "activitynet_tiny")
RULES = {
    "thumos": (THUMOS_TIOU_THRESHOLDS, THUMOS_AVERAGE_TIOU_THRESHOLDS),
    "activitynet": (ACTIVITYNET_TIOU_THRESHOLDS, None),
}


def read(case, name):
    return json.loads((FIXTURES / case / name).read_text())


def segments_of(*rows, scores=None, labels=None):
    """Build one video's segments, of class 0 and equal scores unless given."""
    video = {"segments": np.array(rows, dtype=np.float64).reshape(-1, 2)}
    video["labels"] = np.array([0] * len(rows) if labels is None else labels, dtype=np.int64)
    video["scores"] = np.array([0.5] * len(rows) if scores is None else scores, dtype=np.float64)
    return video


def assert_equals_official(result, expected):
    assert set(result.class_names) == set(expected["ap"])
    official = np.array([expected["ap"][name] for name in result.class_names])
    np.testing.assert_allclose(result.ap, official, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.mAP, expected["mAP"], rtol=0, atol=1e-12)
    assert abs(result.average_mAP - expected["average_mAP"]) < 1e-12


def plain_ap(predictions, references, label, threshold):
    """Follow the rules of the module one prediction at a time."""
    ranked = [
        (score, row, video_id, segment)
        for video_id, video in predictions.items()
        for row, (score, segment, its_label) in enumerate(
            zip(video["scores"], video["segments"], video["labels"], strict=True)
        )
        if its_label == label
    ]
    ranked = [ranked[place] for place in sorted(range(len(ranked)), key=lambda place: (-ranked[place][0], -place))]
    free = {
        video_id: [
            segment
            for segment, its_label in zip(video["segments"], video["labels"], strict=True)
            if its_label == label
        ]
        for video_id, video in references.items()
    }
    num_annotations = sum(map(len, free.values()))
    matched = {video_id: [False] * len(segments) for video_id, segments in free.items()}
    hits = []
    for _, _, video_id, (start, end) in ranked:
        best, best_tiou = None, 0.0
        for place, (true_start, true_end) in enumerate(free.get(video_id, [])):
            shared = max(min(end, true_end) - max(start, true_start), 0.0)
            union = (end - start) + (true_end - true_start) - shared
            tiou = shared / union if union > 0 else 0.0
            if tiou >= max(threshold, best_tiou) and not matched[video_id][place]:
                best, best_tiou = place, tiou
        hits.append(best is not None)
        if best is not None:
            matched[video_id][best] = True
    area, found = 0.0, 0
    precisions = np.cumsum(hits) / np.arange(1, len(hits) + 1) if hits else []
    for place, hit in enumerate(hits):
        if hit:
            found += 1
            area += max(precisions[place:]) / num_annotations
    return area


# Quarters make tied scores, tied overlaps, empty segments and overlaps equal to a threshold common.
quarters = st.integers(0, 24).map(lambda value: value / 4)
rows = st.lists(st.tuples(quarters, quarters, st.integers(-2, 4), st.integers(0, 2)), max_size=10)
videos = st.dictionaries(st.sampled_from("abc"), rows, max_size=3)


def as_predictions(video_rows, distinct_scores=False):
    count = 0
    predictions = {}
    for video_id, entries in video_rows.items():
        scores = [row[2] / 4 for row in entries]
        if distinct_scores:
            scores = [score + 1e-6 * (count + place) for place, score in enumerate(scores)]
        count += len(entries)
        predictions[video_id] = segments_of(
            *(sorted(row[:2]) for row in entries), scores=scores, labels=[row[3] for row in entries]
        )
    return predictions


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("case", CASES)
def test_average_precision_equals_the_official_evaluator(case, rules):
    content = read(case, "metrics.json")
    expected = content["expected"][rules]
    references, names = read_activitynet_ground_truth(content["ground_truth"], expected["subset"])
    predictions = read_activitynet_results(content["predictions"], names, drop_unknown_labels=True)
    thresholds, average_thresholds = RULES[rules]
    assert list(thresholds) == expected["tiou_thresholds"]
    result = temporal_detection_map(
        predictions,
        references,
        thresholds,
        average_thresholds=average_thresholds,
        label_names=names,
        allow_inverted_predictions=True,
    )
    assert_equals_official(result, expected)


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    ("case", "subset", "rules"), [("thumos_tiny", "test", "thumos"), ("activitynet_tiny", "val", "activitynet")]
)
def test_the_official_pipeline_scores_what_the_official_evaluator_says(case, subset, rules, step):
    content = read(case, "pipeline.json")
    names = content["class_names"]
    references, _ = read_activitynet_ground_truth(content["gt"], subset, label_names=names)
    predictions = read_activitynet_results({"results": content[f"test_result_step{step}"]}, names)
    thresholds, average_thresholds = RULES[rules]
    result = temporal_detection_map(
        predictions, references, thresholds, average_thresholds=average_thresholds, label_names=names
    )
    assert_equals_official(result, content[f"metrics_step{step}"])


@settings(max_examples=150)
@given(videos, videos.filter(lambda value: any(value.values())))
def test_average_precision_equals_a_plain_loop(predicted, annotated):
    predictions, references = as_predictions(predicted), as_predictions(annotated)
    thresholds = (0.1, 0.25, 0.5, 1.0)
    result = temporal_detection_map(predictions, references, thresholds)
    for class_index, label in enumerate(result.class_ids):
        plain = [plain_ap(predictions, references, label, threshold) for threshold in thresholds]
        np.testing.assert_allclose(result.ap[class_index], plain, rtol=0, atol=1e-12)


def test_a_crowd_of_overlapping_annotations_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    starts = rng.uniform(0, 10, 60)
    references = {"v": segments_of(*np.stack([starts, starts + rng.uniform(5, 15, 60)], axis=1))}
    starts = rng.uniform(0, 10, 150)
    predictions = {
        "v": segments_of(*np.stack([starts, starts + rng.uniform(5, 15, 150)], axis=1), scores=rng.random(150))
    }
    result = temporal_detection_map(predictions, references, THUMOS_TIOU_THRESHOLDS)
    plain = [plain_ap(predictions, references, 0, threshold) for threshold in THUMOS_TIOU_THRESHOLDS]
    np.testing.assert_allclose(result.ap[0], plain, rtol=0, atol=1e-12)


@given(videos, videos.filter(lambda value: any(value.values())), st.randoms(use_true_random=False))
def test_without_ties_the_order_of_videos_and_predictions_does_not_matter(predicted, annotated, random):
    predictions, references = as_predictions(predicted, distinct_scores=True), as_predictions(annotated)
    shuffled = {}
    for video_id in random.sample(sorted(predictions), len(predictions)):
        order = random.sample(range(len(predictions[video_id]["labels"])), len(predictions[video_id]["labels"]))
        shuffled[video_id] = {key: values[order] for key, values in predictions[video_id].items()}
    first, second = (temporal_detection_map(given, references, (0.3, 0.6)) for given in (predictions, shuffled))
    np.testing.assert_array_equal(first.ap, second.ap)


@given(videos, videos.filter(lambda value: any(value.values())))
def test_pairs_compared_in_chunks_give_the_same_result(predicted, annotated):
    predictions, references = as_predictions(predicted), as_predictions(annotated)
    whole = temporal_detection_map(predictions, references, (0.1, 0.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranked_matching, "PAIRS_AT_ONCE", 3)
        chunked = temporal_detection_map(predictions, references, (0.1, 0.5))
    np.testing.assert_array_equal(whole.ap, chunked.ap)


def test_a_flat_table_gives_what_the_mapping_gives():
    predictions = {"a": segments_of((0, 4), (3, 9), scores=[0.4, 0.9]), "b": segments_of((1, 2), labels=[7])}
    references = {"b": segments_of((1, 2.5), labels=[7]), "a": segments_of((3, 8))}
    table = SegmentTable(
        video_ids=["a", "b"],
        videos=np.array([0, 0, 1]),
        segments=np.array([[0, 4], [3, 9], [1, 2]], dtype=np.float32),
        labels=np.array([0, 0, 7], dtype=np.int32),
        scores=np.array([0.4, 0.9, 0.5], dtype=np.float32),
    )
    annotations = SegmentTable.from_mapping(references, name="references", with_scores=False)
    flat = temporal_detection_map(table, annotations, (0.5, 0.9))
    np.testing.assert_array_equal(flat.ap, temporal_detection_map(predictions, references, (0.5, 0.9)).ap)


def test_a_prediction_whose_best_annotation_is_taken_matches_its_second_best():
    references = {"v": segments_of((0, 10), (2, 12))}
    predictions = {"v": segments_of((0, 10), (0, 10.5), scores=[0.9, 0.8])}
    assert temporal_detection_map(predictions, references, [0.5]).average_mAP == 1.0


def test_among_equal_scores_the_later_prediction_comes_first():
    references = {"v": segments_of((0, 10))}
    right_last = {"v": segments_of((20, 30), (0, 10))}
    right_first = {"v": segments_of((0, 10), (20, 30))}
    assert temporal_detection_map(right_last, references, [0.5]).average_mAP == 1.0
    assert temporal_detection_map(right_first, references, [0.5]).average_mAP == 0.5


def test_among_equal_overlaps_the_later_annotation_is_taken():
    # The second prediction reaches only the first annotation, which must therefore still be free.
    references = {"v": segments_of((0, 4), (4, 8))}
    predictions = {"v": segments_of((2, 6), (0, 4), scores=[0.9, 0.8])}
    assert temporal_detection_map(predictions, references, [0.3]).average_mAP == 1.0


def test_a_repeated_prediction_is_a_false_positive():
    references = {"v": segments_of((0, 10)), "w": segments_of((0, 10))}
    predictions = {"v": segments_of((0, 10), (0, 10), scores=[0.9, 0.8]), "w": segments_of((0, 10), scores=[0.7])}
    assert temporal_detection_map(predictions, references, [0.5]).average_mAP == pytest.approx((1 + 2 / 3) / 2)


def test_predictions_in_unknown_videos_count_and_those_of_unseen_classes_do_not():
    references = {"v": segments_of((0, 10))}
    right = segments_of((0, 10), scores=[0.1])
    unseen = {"v": segments_of((0, 10), (0, 10), scores=[0.1, 0.9], labels=[0, 5])}
    assert temporal_detection_map(unseen, references, [0.5]).average_mAP == 1.0
    unknown = {"v": right, "elsewhere": segments_of((0, 10), scores=[0.9])}
    assert temporal_detection_map(unknown, references, [0.5]).average_mAP == 0.5


@pytest.mark.parametrize(
    "predictions", [{}, {"v": segments_of()}, {"v": {"segments": [], "scores": [], "labels": []}}]
)
def test_without_predictions_the_map_is_zero(predictions):
    result = temporal_detection_map(predictions, {"v": segments_of((0, 10))}, THUMOS_TIOU_THRESHOLDS)
    assert result.average_mAP == 0.0
    assert result.ap.shape == (1, 9)


def test_segments_of_length_zero_never_match():
    references = {"v": segments_of((5, 5))}
    assert temporal_detection_map({"v": segments_of((5, 5))}, references, [0.1]).average_mAP == 0.0


def test_videos_that_are_blocked_count_on_neither_side():
    references = {"v": segments_of((0, 10)), "blocked": segments_of((0, 10), (20, 30))}
    predictions = {"v": segments_of((0, 10), scores=[0.1]), "blocked": segments_of((50, 60))}
    result = temporal_detection_map(predictions, references, [0.5], blocked_videos=["blocked", "absent"])
    assert result.average_mAP == 1.0
    assert result.num_annotations.tolist() == [1]


def test_repeated_and_empty_annotations_are_removed_on_request():
    references = {
        "v": segments_of((0, 10), (0.0005, 10.0005), (0.0015, 10), (0, 10), (3, 3), labels=[0, 0, 0, 1, 0]),
        "w": segments_of((0, 10)),
    }
    kept = temporal_detection_map({}, references, [0.5], remove_duplicate_annotations=True)
    # The third differs from the second by 0.001 s, but the second is gone and it is 0.0015 s from the first.
    assert kept.num_annotations.tolist() == [3, 1]
    assert temporal_detection_map({}, references, [0.5]).num_annotations.tolist() == [5, 1]


def test_inverted_predictions_are_refused_or_counted_as_false_positives():
    references = {"v": segments_of((0, 10))}
    predictions = {"v": segments_of((0, 10), (9, 1), scores=[0.5, 0.9])}
    with pytest.raises(ValueError, match=r"video 'v' has a segment that ends before it starts.*\[9, 1\].*score 0.9"):
        temporal_detection_map(predictions, references, [0.5])
    counted = temporal_detection_map(predictions, references, [0.5], allow_inverted_predictions=True)
    assert counted.average_mAP == 0.5


def test_the_presets_are_the_doubles_of_the_official_evaluators():
    assert list(THUMOS_TIOU_THRESHOLDS) == read("thumos_tiny", "config.json")["tiou_thresholds"]
    assert list(ACTIVITYNET_TIOU_THRESHOLDS) == read("activitynet_tiny", "config.json")["tiou_thresholds"]
    assert [round(value, 3) for value in THUMOS_AVERAGE_TIOU_THRESHOLDS] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_metrics_and_table_name_thresholds_and_averages():
    references = {"v": segments_of((0, 10), (20, 30), labels=[2, 4])}
    predictions = {"v": segments_of((0, 8), (20, 30), labels=[2, 4])}
    result = temporal_detection_map(
        predictions,
        references,
        THUMOS_TIOU_THRESHOLDS,
        average_thresholds=[0.1, 0.9],
        label_names={2: "jump", 4: "run"},
    )
    metrics = result.to_metrics()
    assert list(metrics) == [f"mAP@0.{tenth}" for tenth in range(1, 10)] + ["average_mAP"]
    assert metrics["mAP@0.3"] == 1.0
    assert metrics["mAP@0.9"] == 0.5
    assert metrics["average_mAP"] == result.average_over([0.1, 0.9]) == 0.75
    assert result.average_over([0.3, 0.4]) == 1.0


GOOD = {"v": segments_of((0, 10))}


@pytest.mark.parametrize("thresholds", [[], [0.0], [0.5, 1.1], [float("nan")], [-0.1]])
def test_thresholds_out_of_range_are_refused(thresholds):
    with pytest.raises(ValueError, match=r"tiou_thresholds must be one or more values in \(0, 1\]"):
        temporal_detection_map(GOOD, GOOD, thresholds)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tiou_thresholds": [0.5, 0.5]}, "tiou_thresholds must be distinct"),
        ({"average_thresholds": [0.4]}, r"average_thresholds must be some of .*\[0.5\], got \[0.4\]"),
        ({"average_thresholds": []}, "average_thresholds must be some of"),
        ({"references": {}}, "references hold no annotation"),
        ({"references": {"v": segments_of()}}, "references hold no annotation"),
        ({"blocked_videos": ["v"]}, "references hold no annotation"),
        (
            {"references": {"w": segments_of((5, 4))}},
            "video 'w' has a segment that ends before it starts in references",
        ),
        ({"references": {"w": segments_of((5, np.inf))}}, "video 'w' has a segment that is not finite"),
        ({"predictions": {"w": segments_of((0, 1), scores=[np.nan])}}, "video 'w' has a score that is not finite"),
        (
            {"predictions": {"w": {"segments": [[0, 1]], "labels": [0]}}},
            "predictions of video 'w': must be a mapping with",
        ),
        (
            {"predictions": {"w": segments_of((0, 1), labels=[0, 1])}},
            r"'w': labels must have shape \(1,\).*got \(2,\)",
        ),
        ({"predictions": {"w": segments_of((0, 1)) | {"labels": ["run"]}}}, "'w': labels must be integer class ids"),
        ({"predictions": {"w": segments_of((0, 1)) | {"labels": [0.0]}}}, "'w': labels must be integer class ids"),
        ({"predictions": {"w": segments_of((0, 1)) | {"scores": ["a"]}}}, "'w': scores must be numbers"),
        (
            {"predictions": {"w": segments_of((0, 1)) | {"segments": [0, 1]}}},
            r"'w': segments must have shape \(N, 2\)",
        ),
        ({"predictions": [segments_of((0, 1))]}, "predictions must be a mapping from video id.*got list"),
        (
            {"label_names": ["run"], "references": {"v": segments_of((0, 1), labels=[3])}},
            r"no name for class ids \[3\]",
        ),
    ],
)
def test_wrong_input_is_named(options, sentence):
    arguments = {"predictions": GOOD, "references": GOOD, "tiou_thresholds": [0.5]} | options
    with pytest.raises(ValueError, match=sentence):
        temporal_detection_map(**arguments)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"videos": np.array([0, 1])}, "index outside"),
        ({"videos": np.array([0.0, 0.0])}, "videos must be integers"),
        ({"labels": np.array([0])}, r"labels must have shape \(2,\)"),
        ({"segments": np.zeros((2, 3))}, r"segments must have shape \(N, 2\)"),
        ({"video_ids": ["v", "v"]}, "video_ids must be distinct"),
    ],
)
def test_a_table_refuses_columns_that_do_not_fit(changes, sentence):
    columns = {
        "video_ids": ["v"],
        "videos": np.array([0, 0]),
        "segments": np.zeros((2, 2)),
        "labels": np.array([0, 0]),
        "scores": np.zeros(2),
    }
    with pytest.raises(ValueError, match=sentence):
        SegmentTable(**(columns | changes))


def test_predictions_in_a_table_need_scores():
    table = SegmentTable.from_mapping(GOOD, name="references", with_scores=False)
    with pytest.raises(ValueError, match="predictions must have scores"):
        temporal_detection_map(table, table, [0.5])
