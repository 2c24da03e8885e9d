"""The frame-mAP of action detection as an `evaluate` metric; it needs no network.

```python
metric = evaluate.load("src/hf_vidmodels/metrics/evaluate_frame_detection.py", "ava")
metric.add_batch(predictions=detected_boxes, references=annotated_boxes)   # one list of boxes per frame
metric.compute()                                                           # {"mAP@0.5": ...}
```
"""

from typing import Any

import datasets
import evaluate
import numpy as np

from hf_vidmodels.metrics.box_table import BoxTable
from hf_vidmodels.metrics.frame_detection import STYLES, frame_detection_map

# evaluate.load copies this one file out of the package, so that relative imports would not reach their modules.
from hf_vidmodels.metrics.metric_descriptions import detection_metric_info

DESCRIPTION = """
Mean average precision of scored boxes in single frames (frame-mAP). Configurations, by whose rules: "ava" (also the
default), "act" (UCF101-24 and JHMDB, boxes in pixels) and "multisports".
"""

INPUTS_DESCRIPTION = """
Args:
    predictions: for each frame the list of its detections, each {"box": [x0, y0, x1, y1], "label": class id, "score":
        number}; may be empty. A box with several classes stands there once for each.
    references: for each frame, in the same order, the list of its annotations, each {"box", "label"}; may be empty.
    thresholds: of the intersection over union, 0.5 by default.
    class_ids: the classes that count; by default those with annotations.
Returns:
    "mAP@T" for each threshold T, fractions in [0, 1].
"""

CITATION = """
@inproceedings{gu2018ava,
  title={AVA: A Video Dataset of Spatio-Temporally Localized Atomic Visual Actions},
  author={Gu, Chunhui and Sun, Chen and Ross, David A. and others},
  booktitle={CVPR},
  year={2018}
}
"""


class FrameDetectionMap(evaluate.Metric):
    """`frame_detection_map` behind the interface of `evaluate`; frames are numbered in the order they are added."""

    def _info(self) -> evaluate.MetricInfo:
        annotation = {
            "box": datasets.List(datasets.Value("float64"), length=4),
            "label": datasets.Value("int64"),
        }
        return detection_metric_info(
            self.config_name,
            STYLES,
            annotation,
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS_DESCRIPTION,
        )

    def _compute(
        self,
        predictions: list[list[dict[str, Any]]],
        references: list[list[dict[str, Any]]],
        thresholds: list[float] | None = None,
        class_ids: list[int] | None = None,
    ) -> dict[str, float]:
        return frame_detection_map(
            _table(predictions, with_scores=True),
            _table(references, with_scores=False),
            (0.5,) if thresholds is None else thresholds,
            style="ava" if self.config_name == "default" else self.config_name,
            class_ids=class_ids,
        ).to_metrics()


def _table(frames: list[list[dict[str, Any]]], *, with_scores: bool) -> BoxTable:
    rows = [row for frame in frames for row in frame]
    return BoxTable(
        frame_ids=range(len(frames)),
        frames=np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]),
        boxes=np.array([row["box"] for row in rows], dtype=np.float64).reshape(-1, 4),
        labels=np.array([row["label"] for row in rows], dtype=np.int64),
        scores=np.array([row["score"] for row in rows], dtype=np.float64) if with_scores else None,
    )
