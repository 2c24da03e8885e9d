"""COCO's average precision and recall of instance masks or boxes: all twelve numbers, by either of two evaluators."""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..modeling.ops.run_length_masks import rle_areas, segmentation_rles
from ..optional_packages import require

AP_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
BACKENDS = ("pycocotools", "faster")
IOU_TYPES = ("segm", "bbox")
# Masks that were made for known boxes carry no score.
UNIT_SCORE = 1.0


def coco_average_precision(
    predictions: Sequence[Mapping[str, Any]],
    ground_truth: Mapping[str, Any],
    iou_type: str = "segm",
    backend: str | None = None,
) -> dict[str, float | None]:
    """Evaluate predicted instances as COCO does.

    Args:
        predictions: instances with `image_id`, `category_id`, `segmentation` (RLE or polygons; for "bbox": `bbox`,
            xywh) and `score`; an instance without score gets 1. As in pycocotools' `loadRes`, one that has a `bbox`
            counts under the size of its box, another under that of its mask.
        ground_truth: content of a COCO instance file: `images`, `annotations`, `categories`.
        iou_type: `"segm"` or `"bbox"`.
        backend: `"pycocotools"`, or `"faster"` for the same numbers from the package faster-coco-eval; None: the
            latter where it is installed.

    Returns:
        `AP_NAMES` as fractions: average precision over IoU 0.5 to 0.95, at 0.5, at 0.75, of small, medium and large
        instances (by area of the annotation), and average recall with 1, 10, 100 instances a picture and by size;
        None where there is nothing to find.

    Raises:
        ValueError: an unknown choice, a field that is missing, a picture or category that the ground truth does not
            have, or a malformed mask.
        ImportError: "faster" without its package.
    """
    if iou_type not in IOU_TYPES:
        raise ValueError(f"iou_type must be one of {', '.join(IOU_TYPES)}, got {iou_type!r}")
    coco_class, eval_class = _backend(backend)
    images, annotations, categories = _tables(ground_truth)
    shape = {image["id"]: (image["height"], image["width"]) for image in images}
    known = {category["id"] for category in categories}
    field = "segmentation" if iou_type == "segm" else "bbox"
    annotations = _checked(annotations, shape, known, field, "annotation", with_scores=False)
    predictions = _checked(predictions, shape, known, field, "prediction", with_scores=True)
    if not annotations:
        return dict.fromkeys(AP_NAMES)
    with contextlib.redirect_stdout(io.StringIO()), _quiet_logging():
        true, found = (
            _as_coco(coco_class, {"images": images, "categories": categories, "annotations": rows})
            for rows in (annotations, predictions)
        )
        evaluation = eval_class(true, found, iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {
        name: None if value < 0 else float(value)
        for name, value in zip(AP_NAMES, evaluation.stats[: len(AP_NAMES)], strict=True)
    }


def _backend(name: str | None) -> tuple[Any, Any]:
    """Give the classes COCO and COCOeval of a backend."""
    if name is None:
        name = "faster" if find_spec("faster_coco_eval") else "pycocotools"
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    if name == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    faster = require("faster_coco_eval", "backend='faster'")
    return faster.COCO, faster.COCOeval_faster


def _tables(ground_truth: Mapping[str, Any]) -> tuple[list, list, list]:
    missing = [key for key in ("images", "annotations", "categories") if key not in ground_truth]
    if missing:
        raise ValueError(f"the ground truth has no {missing[0]!r}; give the content of a COCO instance file")
    return ground_truth["images"], ground_truth["annotations"], ground_truth["categories"]


def _checked(
    rows: Sequence[Mapping[str, Any]],
    shape: Mapping[Any, tuple[int, int]],
    categories: set[Any],
    field: str,
    what: str,
    *,
    with_scores: bool,
) -> list[dict[str, Any]]:
    """Copy what the evaluators read and write to, with checked masks; annotations keep their areas and crowds."""
    names = [f"{what} {row.get('id', number)}" for number, row in enumerate(rows)]
    for name, row in zip(names, rows, strict=True):
        absent = next((key for key in ("image_id", "category_id", field) if row.get(key) is None), None)
        if absent:
            raise ValueError(f"{name} has no {absent}")
        if field == "bbox" and not (np.shape(row[field]) == (4,) and np.isfinite(row[field]).all()):
            raise ValueError(f"{name} has the bbox {row[field]!r}; expected four numbers x, y, width, height")
        if row.get("score") is not None and not np.isfinite(row["score"]):
            raise ValueError(f"{name} has the score {row['score']}; expected a finite number")
        for key, known in (("image_id", shape), ("category_id", categories)):
            if row[key] not in known:
                raise ValueError(f"{name} has the {key} {row[key]!r}, which the ground truth does not have")
    copies = [{key: row[key] for key in ("image_id", "category_id")} for row in rows]
    if field == "segmentation":
        rles = segmentation_rles([row[field] for row in rows], [shape[row["image_id"]] for row in rows], names)
        for copy, rle, area in zip(copies, rles, rle_areas(rles).tolist(), strict=True):
            copy |= {"segmentation": rle, "area": area}
    else:
        for copy, row in zip(copies, rows, strict=True):
            copy |= {"bbox": list(row["bbox"]), "area": row["bbox"][2] * row["bbox"][3]}
    for number, (copy, row) in enumerate(zip(copies, rows, strict=True), start=1):
        # The evaluators take the id 0 for no match, so ids of their own are given.
        copy |= {"id": number, "iscrowd": 0 if with_scores else int(row.get("iscrowd", 0))}
        if with_scores:
            copy["score"] = UNIT_SCORE if row.get("score") is None else float(row["score"])
            if row.get("bbox") is not None:
                copy["area"] = row["bbox"][2] * row["bbox"][3]
        elif row.get("area") is not None:
            copy["area"] = row["area"]
    return copies


def _as_coco(coco_class: Any, table: dict[str, Any]) -> Any:
    coco = coco_class()
    coco.dataset = table
    coco.createIndex()
    return coco


@contextlib.contextmanager
def _quiet_logging() -> Any:
    """Keep faster-coco-eval's progress lines out of the root logger."""
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(level)
