"""The video-mAP of action detection as an `evaluate` metric; it needs no network.

```python
metric = evaluate.load("src/hf_vidmodels/metrics/evaluate_tube_detection.py", "act")
metric.add_batch(predictions=detected_tubes, references=annotated_tubes)   # one list of tubes per video
metric.compute(thresholds=[0.2, 0.5])                                      # {"mAP@0.2": ..., "mAP@0.5": ...}
```
"""

from typing import Any

import datasets
import evaluate

# evaluate.load copies this one file out of the package, so that relative imports would not reach their modules.
from hf_vidmodels.metrics.metric_descriptions import detection_metric_info
from hf_vidmodels.metrics.tube_detection import REPORTED_THRESHOLDS, TUBE_STYLES, tube_detection_map

DESCRIPTION = """
Mean average precision of action tubes (video-mAP). Configurations, by whose rules: "act" (UCF101-24 and JHMDB, boxes
in pixels; also the default) and "multisports".
"""

INPUTS_DESCRIPTION = """
Args:
    predictions: for each video the list of its tubes, each {"label": class id, "score": number, "frames": ascending
        frame numbers, "boxes": [x0, y0, x1, y1] for each of them}; may be empty.
    references: for each video, in the same order, the list of its annotated tubes, without scores; may be empty.
    thresholds: of the spatio-temporal intersection over union; by default 0.05, 0.1, 0.2, 0.3, 0.5 and 0.75.
    class_ids: the classes that count; by default those with annotations.
Returns:
    "mAP@T" for each threshold T, fractions in [0, 1].
"""

CITATION = """
@inproceedings{kalogeiton2017action,
  title={Action Tubelet Detector for Spatio-Temporal Action Localization},
  author={Kalogeiton, Vicky and Weinzaepfel, Philippe and Ferrari, Vittorio and Schmid, Cordelia},
  booktitle={ICCV},
  year={2017}
}
"""


class TubeDetectionMap(evaluate.Metric):
    """`tube_detection_map` behind the interface of `evaluate`; videos are numbered in the order they are added."""

    def _info(self) -> evaluate.MetricInfo:
        tube = {
            "label": datasets.Value("int64"),
            "frames": datasets.List(datasets.Value("int64")),
            "boxes": datasets.List(datasets.List(datasets.Value("float64"), length=4)),
        }
        return detection_metric_info(
            self.config_name,
            TUBE_STYLES,
            tube,
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
        return tube_detection_map(
            {str(number): tubes for number, tubes in enumerate(predictions)},
            {str(number): tubes for number, tubes in enumerate(references)},
            REPORTED_THRESHOLDS if thresholds is None else thresholds,
            style="act" if self.config_name == "default" else self.config_name,
            class_ids=class_ids,
        ).to_metrics()
