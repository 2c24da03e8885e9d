"""Temporal action localisation measured and drawn: shared by training runs and `hf-vidmodels evaluate`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import PreTrainedConfig

from ..data.features.video_table import VideoTable
from ..metrics.activitynet_files import results_to_json
from ..metrics.temporal_detection import TemporalDetectionResult, temporal_detection_map
from ..training.recipe import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_DRAWN_VIDEOS = 4

# By video id what `localize` gives.
Predictions = Mapping[str, Mapping[str, np.ndarray]]


def evaluate_localization(
    predictions_per_step: Mapping[int, Predictions], videos: VideoTable, config: PreTrainedConfig, split: str
) -> Evaluation:
    """Score the predictions of each step of a cascade; the last step's are the answer.

    Args:
        predictions_per_step: by step index, in ascending order, predictions of all `videos`.
        videos: with their annotations.
        config: of the model; gives `id2label`, `tiou_thresholds` and `average_tiou_thresholds`.
        split: name of the split, for the report.

    Returns:
        Metrics `mAP@<tIoU>` and `average_mAP` of the last step, `average_mAP_step<s>` of each, a table with one row
        per step, and the last step's predictions in the ActivityNet results format.
    """
    class_names = [config.id2label[index] for index in range(config.num_labels)]
    scores = {
        step: temporal_detection_map(
            predictions,
            videos.segments,
            config.tiou_thresholds,
            average_thresholds=config.average_tiou_thresholds,
            label_names=class_names,
        )
        for step, predictions in predictions_per_step.items()
    }
    last = max(scores)
    metrics = scores[last].to_metrics()
    metrics |= {f"average_mAP_step{step}": score.average_mAP for step, score in scores.items()}
    return Evaluation(
        metrics=metrics,
        primary_metric="average_mAP",
        split=split,
        num_examples=len(videos),
        tables=[_table_of_steps(scores, config, f"mAP per tIoU threshold, {len(videos)} {split} videos")],
        predictions=results_to_json(predictions_per_step[last], class_names),
    )


def draw_examples(predictions: Predictions, videos: VideoTable, config: PreTrainedConfig) -> "Figure":
    """Draw the first videos with their annotations and what was found in them."""
    from ..visualization.timelines import draw_timelines

    return draw_timelines(
        {video: predictions[video] for video in videos.video_ids[:NUM_DRAWN_VIDEOS]},
        durations=dict(zip(videos.video_ids, videos.durations, strict=True)),
        label_names=config.id2label,
        references=videos.segments,
        top_k=10,
    )


def _table_of_steps(
    scores: Mapping[int, TemporalDetectionResult], config: PreTrainedConfig, title: str
) -> dict[str, Any]:
    averaged = config.average_tiou_thresholds
    return {
        "title": title,
        "columns": [
            "step",
            *(f"{threshold:.2f}" for threshold in config.tiou_thresholds),
            f"average {averaged[0]:.2f} to {averaged[-1]:.2f}",
        ],
        "rows": [
            [f"{step} (base)" if step == 0 else str(step), *(float(value) for value in score.mAP), score.average_mAP]
            for step, score in scores.items()
        ],
    }
