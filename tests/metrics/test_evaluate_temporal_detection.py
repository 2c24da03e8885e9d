from pathlib import Path

import evaluate
import pytest

import hf_vidmodels.metrics.evaluate_temporal_detection as metric_module
from hf_vidmodels.metrics.evaluate_temporal_detection import TemporalDetectionMap
from hf_vidmodels.metrics.temporal_detection import (
    ACTIVITYNET_TIOU_THRESHOLDS,
    THUMOS_AVERAGE_TIOU_THRESHOLDS,
    THUMOS_TIOU_THRESHOLDS,
    temporal_detection_map,
)

PREDICTIONS = [
    [
        {"start": 0.0, "end": 4.1, "label": 0, "score": 0.9},
        {"start": 3.0, "end": 9.0, "label": 2, "score": 0.3},
        {"start": 5.0, "end": 9.5, "label": 0, "score": 0.7},
    ],
    [],
    [{"start": 1.0, "end": 2.0, "label": 2, "score": 0.8}],
]
REFERENCES = [
    [{"start": 0.0, "end": 4.0, "label": 0}, {"start": 4.0, "end": 9.0, "label": 2}],
    [{"start": 2.0, "end": 3.0, "label": 0}],
    [],
]


def mapping_of(videos):
    return {
        f"video {number}": {
            "segments": [[row["start"], row["end"]] for row in rows],
            "labels": [row["label"] for row in rows],
            "scores": [row.get("score", 0.0) for row in rows],
        }
        for number, rows in enumerate(videos)
    }


def expected(thresholds, average_thresholds=None):
    predictions, references = mapping_of(PREDICTIONS), mapping_of(REFERENCES)
    return temporal_detection_map(
        predictions, references, thresholds, average_thresholds=average_thresholds
    ).to_metrics()


def test_configurations_use_the_thresholds_of_their_corpus(tmp_path):
    thumos = TemporalDetectionMap("thumos14", cache_dir=tmp_path)
    scores = thumos.compute(predictions=PREDICTIONS, references=REFERENCES)
    assert scores == expected(THUMOS_TIOU_THRESHOLDS, THUMOS_AVERAGE_TIOU_THRESHOLDS)
    assert 0 < scores["average_mAP"] < 1
    activitynet = TemporalDetectionMap("activitynet", cache_dir=tmp_path)
    scores = activitynet.compute(predictions=PREDICTIONS, references=REFERENCES)
    assert scores == expected(ACTIVITYNET_TIOU_THRESHOLDS)


def test_videos_may_come_in_batches_and_thresholds_by_hand(tmp_path):
    metric = TemporalDetectionMap(cache_dir=tmp_path)
    metric.add_batch(predictions=PREDICTIONS[:2], references=REFERENCES[:2])
    metric.add(prediction=PREDICTIONS[2], reference=REFERENCES[2])
    assert metric.compute(tiou_thresholds=[0.5, 0.75]) == expected([0.5, 0.75])


def test_evaluate_loads_it_from_its_path_without_network(tmp_path):
    metric = evaluate.load(str(Path(metric_module.__file__)), "activitynet", cache_dir=str(tmp_path))
    assert metric.compute(predictions=PREDICTIONS, references=REFERENCES) == expected(ACTIVITYNET_TIOU_THRESHOLDS)
    assert "average_mAP" in metric.inputs_description


def test_without_thresholds_or_with_an_unknown_configuration_the_way_out_is_named(tmp_path):
    with pytest.raises(ValueError, match="compute needs tiou_thresholds, or .*thumos14, activitynet"):
        TemporalDetectionMap(cache_dir=tmp_path).compute(predictions=PREDICTIONS, references=REFERENCES)
    with pytest.raises(ValueError, match="must be one of default, thumos14, activitynet, got 'kinetics'"):
        TemporalDetectionMap("kinetics", cache_dir=tmp_path)


def test_inverted_predictions_name_the_number_of_their_video(tmp_path):
    inverted = [[], [], [{"start": 2.0, "end": 1.0, "label": 0, "score": 0.8}]]
    with pytest.raises(ValueError, match="video '2' has a segment that ends before it starts"):
        TemporalDetectionMap("thumos14", cache_dir=tmp_path).compute(predictions=inverted, references=REFERENCES)
