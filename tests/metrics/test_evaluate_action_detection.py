from pathlib import Path

import evaluate
import pytest

import hf_vidmodels.metrics.evaluate_frame_detection as frame_module
import hf_vidmodels.metrics.evaluate_tube_detection as tube_module
from hf_vidmodels.metrics.evaluate_frame_detection import FrameDetectionMap
from hf_vidmodels.metrics.evaluate_tube_detection import TubeDetectionMap

BOX = [0.1, 0.1, 0.5, 0.5]
TUBE = {"label": 3, "frames": [1, 2, 3], "boxes": [[0, 0, 9, 9]] * 3}


@pytest.mark.parametrize("style", [None, "ava", "multisports"])
def test_boxes_of_frames_are_scored(tmp_path, style):
    metric = evaluate.load(str(Path(frame_module.__file__)), style, cache_dir=str(tmp_path))
    metric.add_batch(
        predictions=[[{"box": BOX, "label": 3, "score": 0.5}], [{"box": BOX, "label": 3, "score": 0.9}]],
        references=[[{"box": BOX, "label": 3}], []],
    )
    assert metric.compute() == {"mAP@0.5": 0.5}


def test_thresholds_and_classes_of_boxes_may_be_given(tmp_path):
    metric = FrameDetectionMap(cache_dir=tmp_path)
    found = [[{"box": BOX, "label": 3, "score": 0.5}, {"box": BOX, "label": 4, "score": 0.5}]]
    scores = metric.compute(
        predictions=found,
        references=[[{"box": [0.1, 0.1, 0.4, 0.5], "label": 3}, {"box": BOX, "label": 5}]],
        thresholds=[0.5, 0.9],
        class_ids=[3, 4],
    )
    assert scores == {"mAP@0.5": 1.0, "mAP@0.9": 0.0}


@pytest.mark.parametrize("style", [None, "act", "multisports"])
def test_tubes_of_videos_are_scored(tmp_path, style):
    metric = evaluate.load(str(Path(tube_module.__file__)), style, cache_dir=str(tmp_path))
    metric.add_batch(predictions=[[{**TUBE, "score": 0.5}], []], references=[[TUBE], []])
    assert metric.compute(thresholds=[0.5]) == {"mAP@0.5": 1.0}


@pytest.mark.parametrize("metric", [FrameDetectionMap, TubeDetectionMap])
def test_an_unknown_configuration_is_refused(tmp_path, metric):
    with pytest.raises(ValueError, match=r"must be one of default, .*act.*, got 'coco'"):
        metric("coco", cache_dir=tmp_path)
