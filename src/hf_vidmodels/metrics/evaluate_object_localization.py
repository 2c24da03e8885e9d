"""Metrics of weakly supervised object localisation as an `evaluate` metric; it needs no network.

```python
metric = evaluate.load("src/hf_vidmodels/metrics/evaluate_object_localization.py", "max_box_acc_v2")
metric.add_batch(predictions=score_maps, references=true_boxes)          # one map and one list of boxes per picture
metric.compute()                                                         # {"MaxBoxAccV2": ..., "MaxBoxAcc@0.3": ...}
```
"""

from typing import Any

import datasets
import evaluate
import numpy as np

# evaluate.load copies this one file out of the package, so that relative imports would not reach their modules.
from hf_vidmodels.metrics.object_localization import (
    V2_IOU_THRESHOLDS,
    evaluation_maps,
    fixed_localization,
    max_box_accuracy,
    pixel_average_precision,
    topk_localization_error,
)

CONFIGURATIONS = ("max_box_acc", "max_box_acc_v2", "pxap", "topk_error", "gt_known")

DESCRIPTION = """
Localisation of one object per picture from score maps or guessed boxes. Configurations: "max_box_acc" and
"max_box_acc_v2" (boxes at the best threshold, percent), "pxap" (pixel average precision, percent), "topk_error"
(ILSVRC localisation and classification error of k guesses) and "gt_known" (GT-known and top-1 localisation of one
box).
"""

INPUTS_DESCRIPTION = """
Args:
    predictions: for each picture
        "max_box_acc", "max_box_acc_v2", "pxap": its score map, rows of numbers of any range;
        "topk_error", "gt_known": {"labels": guessed classes, "boxes": a box for each}.
    references: for each picture, in the same order
        "max_box_acc", "max_box_acc_v2": its true boxes in pixels of a 224 x 224 map;
        "pxap": its foreground mask, rows of 0 and 1;
        "topk_error", "gt_known": {"label": class, "boxes": true boxes}.
    Boxes are [x0, y0, x1, y1] with inclusive pixels.
    interval: step between thresholds, 0.001 as in the evaluator.
Returns:
    accuracies and PxAP in percent, errors and gt_known fractions.
"""

CITATION = """
@inproceedings{choe2020evaluating,
  title={Evaluating Weakly Supervised Object Localization Methods Right},
  author={Choe, Junsuk and Oh, Seong Joon and Lee, Seungho and Chun, Sanghyuk and Akata, Zeynep and Shim, Hyunjung},
  booktitle={CVPR},
  year={2020}
}
"""


class ObjectLocalization(evaluate.Metric):
    """Functions of `metrics.object_localization` behind the interface of `evaluate`; the configuration picks one."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in CONFIGURATIONS:
            raise ValueError(f"the configuration must be one of {', '.join(CONFIGURATIONS)}, got {self.config_name!r}")
        number, boxes = datasets.Value("float64"), datasets.List(datasets.List(datasets.Value("float64"), length=4))
        rows = datasets.List(datasets.List(number))
        if self.config_name in ("topk_error", "gt_known"):
            label = datasets.Value("int64")
            features = {
                "predictions": {"labels": datasets.List(label), "boxes": boxes},
                "references": {"label": label, "boxes": boxes},
            }
        else:
            features = {"predictions": rows, "references": rows if self.config_name == "pxap" else boxes}
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS_DESCRIPTION,
            features=datasets.Features(features),
        )

    def _compute(
        self, predictions: list[Any], references: list[Any], interval: float = 0.001
    ) -> dict[str, float | list[float]]:
        names = [str(number) for number in range(len(predictions))]
        if self.config_name in ("topk_error", "gt_known"):
            return self._guesses(names, predictions, references)
        maps = evaluation_maps({name: np.array(rows) for name, rows in zip(names, predictions, strict=True)})
        if self.config_name == "pxap":
            masks = [np.array(mask, dtype=np.uint8)[None] for mask in references]
            return {"PxAP": pixel_average_precision(list(maps.values()), masks, interval=interval)}
        boxes = {name: np.array(reference) for name, reference in zip(names, references, strict=True)}
        if self.config_name == "max_box_acc":
            result = max_box_accuracy(maps, boxes, interval=interval, iou_thresholds=(0.5,), multi_contour=False)
            return {"MaxBoxAcc": result.accuracy, "best_threshold": float(result.best_thresholds[0])}
        result = max_box_accuracy(maps, boxes, interval=interval, iou_thresholds=V2_IOU_THRESHOLDS)
        by_iou = zip(result.iou_thresholds, result.best_accuracies.tolist(), strict=True)
        return {"MaxBoxAccV2": result.accuracy, **{f"MaxBoxAcc@{iou}": accuracy for iou, accuracy in by_iou}}

    def _guesses(self, names: list[str], predictions: list[Any], references: list[Any]) -> dict[str, Any]:
        guesses, truths = dict(zip(names, predictions, strict=True)), dict(zip(names, references, strict=True))
        true_boxes = {name: truth["boxes"] for name, truth in truths.items()}
        true_labels = {name: truth["label"] for name, truth in truths.items()}
        if self.config_name == "topk_error":
            return topk_localization_error(
                {name: guess["labels"] for name, guess in guesses.items()},
                {name: guess["boxes"] for name, guess in guesses.items()},
                true_labels,
                true_boxes,
            )
        without = [name for name, guess in guesses.items() if not guess["boxes"]]
        if without:
            raise ValueError(f"picture {without[0]} has no guessed box; give one for each picture")
        return fixed_localization(
            {name: guess["boxes"][0] for name, guess in guesses.items()},
            true_boxes,
            {name: guess["labels"][0] for name, guess in guesses.items()},
            true_labels,
        )
