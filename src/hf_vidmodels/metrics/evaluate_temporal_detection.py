"""The temporal detection mAP as an `evaluate` metric; it needs no network.

```python
metric = evaluate.load("src/hf_vidmodels/metrics/evaluate_temporal_detection.py", "thumos14")
metric.add_batch(predictions=predicted_segments, references=annotated_segments)   # one list of segments per video
metric.compute()                                        # {"mAP@0.1": ..., ..., "average_mAP": ...}
```
"""

from typing import Any

import datasets
import evaluate
import numpy as np

# evaluate.load copies this one file out of the package, so that relative imports would not reach their modules.
from hf_vidmodels.metrics.metric_descriptions import detection_metric_info
from hf_vidmodels.metrics.segment_table import SegmentTable
from hf_vidmodels.metrics.temporal_detection import (
    ACTIVITYNET_TIOU_THRESHOLDS,
    THUMOS_AVERAGE_TIOU_THRESHOLDS,
    THUMOS_TIOU_THRESHOLDS,
    temporal_detection_map,
)

PRESETS = {
    "thumos14": (THUMOS_TIOU_THRESHOLDS, THUMOS_AVERAGE_TIOU_THRESHOLDS),
    "activitynet": (ACTIVITYNET_TIOU_THRESHOLDS, ACTIVITYNET_TIOU_THRESHOLDS),
}

DESCRIPTION = """
Mean average precision of temporal localisation at several thresholds of temporal intersection over union (tIoU), as
the ActivityNet evaluator defines it. Configurations: "thumos14" (tIoU 0.1 to 0.9, average over 0.1 to 0.7),
"activitynet" (tIoU 0.5 to 0.95, average over all) and "default" (tIoU thresholds given to compute).
"""

INPUTS_DESCRIPTION = """
Args:
    predictions: for each video the list of its predicted segments, each
        {"start": seconds, "end": seconds, "label": class id, "score": number}; may be empty.
    references: for each video, in the same order, the list of its annotations, each
        {"start": seconds, "end": seconds, "label": class id}; may be empty, but not for all videos.
    tiou_thresholds: values in (0, 1]; needed by the configuration "default", elsewhere those of the corpus.
    average_thresholds: those of them that average_mAP is the mean over.
    remove_duplicate_annotations: remove repeated and empty annotations first.
    allow_inverted_predictions: count predictions that end before they start as false positives instead of refusing.
Returns:
    "mAP@T" for each threshold T and "average_mAP", fractions in [0, 1].
"""

CITATION = """
@inproceedings{caba2015activitynet,
  title={ActivityNet: A Large-Scale Video Benchmark for Human Activity Understanding},
  author={Caba Heilbron, Fabian and Escorcia, Victor and Ghanem, Bernard and Niebles, Juan Carlos},
  booktitle={CVPR},
  year={2015}
}
"""


class TemporalDetectionMap(evaluate.Metric):
    """`temporal_detection_map` behind the interface of `evaluate`; videos are numbered in the order they are added.

    The configuration name picks the thresholds: `"thumos14"`, `"activitynet"`, or none with `tiou_thresholds` given
    to `compute`.
    """

    def _info(self) -> evaluate.MetricInfo:
        segment = {
            "start": datasets.Value("float64"),
            "end": datasets.Value("float64"),
            "label": datasets.Value("int64"),
        }
        return detection_metric_info(
            self.config_name,
            PRESETS,
            segment,
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS_DESCRIPTION,
        )

    def _compute(
        self,
        predictions: list[list[dict[str, Any]]],
        references: list[list[dict[str, Any]]],
        tiou_thresholds: list[float] | None = None,
        average_thresholds: list[float] | None = None,
        remove_duplicate_annotations: bool = False,
        allow_inverted_predictions: bool = False,
    ) -> dict[str, float]:
        if tiou_thresholds is None:
            if self.config_name not in PRESETS:
                raise ValueError(
                    f"compute needs tiou_thresholds, or load the metric with a configuration: {', '.join(PRESETS)}"
                )
            tiou_thresholds, preset_average = PRESETS[self.config_name]
            average_thresholds = preset_average if average_thresholds is None else average_thresholds
        return temporal_detection_map(
            _table(predictions, with_scores=True),
            _table(references, with_scores=False),
            tiou_thresholds,
            average_thresholds=average_thresholds,
            remove_duplicate_annotations=remove_duplicate_annotations,
            allow_inverted_predictions=allow_inverted_predictions,
        ).to_metrics()


def _table(videos: list[list[dict[str, Any]]], *, with_scores: bool) -> SegmentTable:
    rows = [segment for video in videos for segment in video]
    times = np.array([(row["start"], row["end"]) for row in rows], dtype=np.float64)
    return SegmentTable(
        video_ids=[str(number) for number in range(len(videos))],
        videos=np.repeat(np.arange(len(videos)), [len(video) for video in videos]),
        segments=times.reshape(-1, 2),
        labels=np.array([row["label"] for row in rows], dtype=np.int64),
        scores=np.array([row["score"] for row in rows], dtype=np.float64) if with_scores else None,
    )
