"""Metrics of instance masks as an `evaluate` metric; it needs no network.

```python
metric = evaluate.load("src/hf_vidmodels/metrics/evaluate_mask_quality.py", "miou")
metric.add_batch(predictions=rles, references=true_rles_with_label_and_box_area)       # one for each instance
metric.compute(class_names=["person", ...])                                            # {"mIoU": ..., ...}
```
"""

from typing import Any

import datasets
import evaluate

# evaluate.load copies this one file out of the package, so that relative imports would not reach their modules.
from hf_vidmodels.metrics.mask_average_precision import coco_average_precision
from hf_vidmodels.metrics.mask_quality import mask_quality, retention_rate

CONFIGURATIONS = ("miou", "mask_ap", "retention")

DESCRIPTION = """
Quality of instance masks. Configurations: "miou" (masks made for known boxes: mean over classes of the intersection
over union, by size of the box, for things and semi-stuff), "mask_ap" (COCO's twelve numbers) and "retention" (mask AP
of a segmenter trained on labelled masks, in percent of that of the same one trained on true masks).
"""

INPUTS_DESCRIPTION = """
Args:
    predictions: "miou": the mask of each instance, an RLE {"size": [height, width], "counts": str};
        "mask_ap": for each picture the list of its predicted instances, each {"segmentation": RLE,
        "category_id": class, "score": number or None, which counts as 1};
        "retention": mask AP of the segmenter trained on labelled masks.
    references: "miou": the true mask of each, an RLE with "label" (class id) and "box_area" (square pixels);
        "mask_ap": for each picture the list of its true instances, each {"segmentation": RLE, "category_id": class,
        "area": square pixels, "iscrowd": 0 or 1};
        "retention": mask AP of the segmenter trained on true masks.
    class_names: "miou": list of class names, for the split in things and semi-stuff.
    backend: "mask_ap": "pycocotools" or "faster" (package faster-coco-eval); by default the latter where installed.
Returns:
    fractions in [0, 1], None where nothing was to be measured; "retention": {"retention_rate": percent}.
"""

CITATION = """
@inproceedings{lan2023vision,
  title={Vision Transformers Are Good Mask Auto-Labelers},
  author={Lan, Shiyi and Yang, Xitong and Yu, Zhiding and Wu, Zuxuan and Alvarez, Jose M. and Anandkumar, Anima},
  booktitle={CVPR},
  year={2023}
}
"""


class InstanceMaskQuality(evaluate.Metric):
    """Functions of `metrics.mask_quality` and `mask_average_precision` behind the interface of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in CONFIGURATIONS:
            raise ValueError(f"the configuration must be one of {', '.join(CONFIGURATIONS)}, got {self.config_name!r}")
        number, whole = datasets.Value("float64"), datasets.Value("int64")
        rle = {"size": datasets.List(whole, length=2), "counts": datasets.Value("string")}
        features = {
            "miou": {"predictions": rle, "references": {**rle, "label": whole, "box_area": number}},
            "mask_ap": {
                "predictions": datasets.List({"segmentation": rle, "category_id": whole, "score": number}),
                "references": datasets.List(
                    {"segmentation": rle, "category_id": whole, "area": number, "iscrowd": whole}
                ),
            },
            "retention": {"predictions": number, "references": number},
        }[self.config_name]
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS_DESCRIPTION,
            features=datasets.Features(features),
        )

    def _compute(
        self,
        predictions: list[Any],
        references: list[Any],
        class_names: list[str] | None = None,
        backend: str | None = None,
    ) -> dict[str, float | None]:
        if self.config_name == "miou":
            labels, areas = ([reference[field] for reference in references] for field in ("label", "box_area"))
            return mask_quality(predictions, references, labels, areas, class_names).to_metrics()
        if self.config_name == "mask_ap":
            return coco_average_precision(
                _numbered(predictions), _ground_truth(predictions, references), backend=backend
            )
        if len(predictions) != 1:
            raise ValueError(f"retention compares one mask AP with one, got {len(predictions)}")
        return {"retention_rate": retention_rate(predictions[0], references[0])}


def _numbered(pictures: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Give the instances of all pictures, which are numbered in the order they were added."""
    return [{**instance, "image_id": number} for number, picture in enumerate(pictures) for instance in picture]


def _ground_truth(predictions: list[Any], references: list[Any]) -> dict[str, Any]:
    """Put together what a COCO instance file holds; sizes of pictures are those of their masks."""
    images = []
    for number, instances in enumerate(zip(references, predictions, strict=True)):
        sizes = [instance["segmentation"]["size"] for part in instances for instance in part]
        height, width = sizes[0] if sizes else (1, 1)
        images.append({"id": number, "height": height, "width": width})
    classes = sorted({instance["category_id"] for part in (*references, *predictions) for instance in part})
    return {
        "images": images,
        "annotations": _numbered(references),
        "categories": [{"id": label, "name": str(label)} for label in classes],
    }
