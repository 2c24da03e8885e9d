from pathlib import Path

import evaluate
import pytest

import hf_vidmodels.metrics.evaluate_video_classification as metric_module
from hf_vidmodels.metrics.evaluate_video_classification import VideoClassificationAccuracy

VIEWS = {
    "predictions": [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]],
    "references": [2, 2, 0],
    "video_ids": ["a", "a", "b"],
}


def test_evaluate_loads_it_from_its_path_and_counts_every_video_once(tmp_path):
    metric = evaluate.load(str(Path(metric_module.__file__)), cache_dir=str(tmp_path))
    assert metric.compute(**VIEWS) == {"top1_accuracy": 0.5, "mean_class_accuracy": 1 / 3, "num_videos": 2}
    assert metric.compute(**VIEWS, aggregation="mean", top_k=(1, 2))["top2_accuracy"] == 0.5


def test_views_of_different_classes_are_refused(tmp_path):
    metric = VideoClassificationAccuracy(cache_dir=tmp_path)
    with pytest.raises(ValueError, match=r"as many probabilities for every view, got \[2, 3\]"):
        metric.compute(**{**VIEWS, "predictions": [[0.6, 0.3, 0.1], [0.1, 0.2], [0.2, 0.5, 0.3]]})
