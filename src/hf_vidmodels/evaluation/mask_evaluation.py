"""Masks made from boxes, measured against the true ones and drawn: for training runs and the evaluate command."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import AutoImageProcessor

from ..data.instances.mask_corpora import MASK_TASK
from ..metrics.mask_average_precision import coco_average_precision
from ..metrics.mask_quality import mask_quality
from ..modeling.ops.run_length_masks import Rle, check_rles, decode_rles, empty_rle
from .answer_forms import prepare_to_answer
from .evaluation import Evaluation, rows_of_process
from .scored_corpora import load_scored_corpus

if TYPE_CHECKING:
    from datasets import Dataset
    from matplotlib.figure import Figure

    from ..modeling.modeling_mal import MalForMaskLabeling
    from ..processing.processing_mal import MalImageProcessor

NUM_DRAWN_PICTURES = 8
DRAWN_COLUMNS = 4
DOTS_PER_INCH = 120
# Of COCO's twelve numbers; those by the size of objects say little when boxes are given.
SHOWN_PRECISION = ("AP", "AP50", "AP75")

# By annotation id: `segmentation` (RLE) and `score`.
Labels = Mapping[Any, Mapping[str, Any]]


def evaluate_on_corpus(
    model: "MalForMaskLabeling", arguments: argparse.Namespace, accelerator: Accelerator
) -> Evaluation:
    """Make the masks of a split from its boxes and score them; a sheet shows the first pictures.

    Args:
        model: a model that can `label_masks`, in evaluation mode, on its device.
        arguments: those of the evaluate command.
        accelerator: whose processes share the pictures.

    Raises:
        ValueError: when the split is missing or has no true masks.
    """
    prepare_to_answer(model, arguments.mixed_precision)
    pictures = load_scored_corpus(arguments, MASK_TASK, accelerator)[arguments.split]
    require_true_masks(pictures, arguments.split)
    return evaluate_masks(
        model,
        AutoImageProcessor.from_pretrained(arguments.model),
        pictures,
        split=arguments.split,
        accelerator=accelerator,
        batch_size=arguments.batch_size,
    )


def evaluate_masks(
    model: "MalForMaskLabeling",
    processor: "MalImageProcessor",
    dataset: "Dataset",
    *,
    split: str,
    accelerator: Accelerator,
    batch_size: int,
    is_final: bool = True,
) -> Evaluation:
    """Make the masks of all pictures from their boxes and compare them with the true ones.

    Args:
        model: answers with masks; the whole model on every process.
        processor: cuts the crops.
        dataset: with the columns of mask labelling and true masks.
        split: its name, for the report.
        accelerator: whose processes share the pictures.
        batch_size: crops in one forward pass.
        is_final: also draw the figure `masks` of the first pictures.

    Returns:
        As `score_masks`.
    """
    mine = rows_of_process(accelerator, len(dataset))
    labels = dict(gather_object(list(label_pictures(model, processor, dataset, mine, batch_size).items())))
    evaluation = score_masks(labels, dataset, split)
    if is_final and accelerator.is_main_process:
        evaluation.figures = {"masks": draw_examples(labels, dataset)}
    return evaluation


def label_pictures(
    model: "MalForMaskLabeling",
    processor: "MalImageProcessor",
    dataset: "Dataset",
    rows: Sequence[int],
    batch_size: int,
    **options: Any,
) -> dict[Any, dict[str, Any]]:
    """Make the masks of all annotations of some pictures; boxes with a side up to `min_side` pixels get none.

    Args:
        model: answers with masks.
        processor: cuts the crops.
        dataset: with the columns of mask labelling.
        rows: of the pictures.
        batch_size: crops in one forward pass.
        options: of `MalForMaskLabeling.label_masks`.

    Returns:
        By annotation id `segmentation` (RLE) and `score`.
    """
    labels = {}
    for group in _groups(dataset, rows, batch_size, processor.min_side):
        pictures, boxes = [row["image"] for row, _ in group], [_corners(objects) for _, objects in group]
        answers = model.label_masks(
            pictures, boxes, processor=processor, batch_size=batch_size, encode_rle=True, **options
        )
        for (_, objects), answer in zip(group, answers, strict=True):
            for one, rle, score in zip(objects, answer["segmentation"], answer["scores"].tolist(), strict=True):
                labels[one["id"]] = {"segmentation": rle, "score": score}
    return labels


def require_true_masks(dataset: "Dataset", split: str) -> None:
    """Refuse a split without a single true mask.

    Raises:
        ValueError: there is none; says how to go on without.
    """
    has_field = "segmentation" in dataset.features["objects"].feature
    if not has_field or not any(one["segmentation"] for row in dataset["objects"] for one in row):
        raise ValueError(
            f"split {split!r} has no true masks (objects.segmentation) to compare with; choose another split, or "
            "train with eval_strategy no"
        )


def score_masks(labels: Labels, dataset: "Dataset", split: str) -> Evaluation:
    """Compare masks with the true ones.

    Args:
        labels: by annotation id; annotations without count with an empty mask. Those without a true mask, and groups,
            are left out.
        dataset: the pictures that were labelled, with true masks.
        split: its name, for the report.

    Returns:
        Metrics `mIoU` (mean over classes), `mIoU_small`, `_medium`, `_large` (by area of the box), `instance_IoU`,
        `mIoU_filled_box` (of the boxes themselves) and COCO's mask `AP`, `AP50`, `AP75` with every score 1; what a
        split does not have is left out. Predictions are a COCO instance file.

    Raises:
        ValueError: no annotation has a true mask.
    """
    names = dataset.features["objects"].feature["category"].names
    annotations = list(_annotations(dataset, labels))
    if not annotations:
        raise ValueError(f"none of the annotations of split {split!r} has a true mask to compare with")
    true = [one["segmentation"] for one in annotations]
    classes, areas = (
        [one["category_id"] for one in annotations],
        [one["bbox"][2] * one["bbox"][3] for one in annotations],
    )
    found = mask_quality([one["labelled"] for one in annotations], true, classes, areas, names)
    boxes = mask_quality(_filled_boxes(annotations), true, classes, areas, names)
    images = [
        {"id": index, "height": height, "width": width}
        for index, (height, width) in sorted(
            {one["image_id"]: tuple(one["segmentation"]["size"]) for one in annotations}.items()
        )
    ]
    categories = [{"id": index, "name": name} for index, name in enumerate(names)]
    truth = {"images": images, "categories": categories, "annotations": annotations}
    predictions = [_prediction(one, labels) for one in annotations if one["id"] in labels]
    unscored = [{key: value for key, value in one.items() if key != "score"} for one in predictions]
    average_precision = coco_average_precision(unscored, truth)
    precision = {name: average_precision[name] for name in SHOWN_PRECISION}
    metrics = {
        name: value for name, value in found.to_metrics().items() if "things" not in name and "stuff" not in name
    }
    metrics |= {"mIoU_filled_box": boxes.mean_iou} | precision
    return Evaluation(
        metrics={name: value for name, value in metrics.items() if value is not None},
        primary_metric="mIoU",
        split=split,
        num_examples=len(dataset),
        tables=[
            _overlap_table(found, boxes, f"{len(annotations)} masks in {len(dataset)} {split} pictures"),
            {
                "title": "COCO's mask AP over all classes, every score 1",
                "columns": ["", *precision],
                "rows": [["mask", *precision.values()]],
            },
        ],
        predictions={"images": images, "categories": categories, "annotations": predictions},
    )


def draw_examples(labels: Labels, dataset: "Dataset") -> "Figure":
    """Draw the first pictures with their boxes and the masks that were made."""
    from ..visualization.figures import new_figure
    from ..visualization.mask_overlays import draw_instances, tile_drawings

    drawings = []
    for row in dataset.select(range(min(NUM_DRAWN_PICTURES, len(dataset)))):
        objects = [one for one in row["objects"] if one["id"] in labels]
        masks = decode_rles([labels[one["id"]]["segmentation"] for one in objects]) if objects else None
        names = [dataset.features["objects"].feature["category"].int2str(one["category"]) for one in objects]
        scores = [labels[one["id"]]["score"] for one in objects]
        drawings.append(draw_instances(row["image"], _corners(objects), masks, names, scores))
    sheet = tile_drawings(drawings, DRAWN_COLUMNS)
    figure = new_figure(figsize=(sheet.width / DOTS_PER_INCH, sheet.height / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.asarray(sheet))
    axes.axis("off")
    return figure


def _groups(
    dataset: "Dataset", rows: Sequence[int], batch_size: int, min_side: float
) -> Iterator[list[tuple[dict[str, Any], list[dict[str, Any]]]]]:
    """Give pictures with their labelled objects, as many at a time as have a few batches of boxes."""
    group: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for index in rows:
        row = dataset[index]
        objects = [one for one in row["objects"] if min(one["bbox"][2:]) > min_side]
        if objects:
            group.append((row, objects))
        if sum(len(objects) for _, objects in group) >= 4 * batch_size:
            yield group
            group = []
    if group:
        yield group


def _corners(objects: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Give the (n, 4) xyxy boxes of objects."""
    boxes = np.array([one["bbox"] for one in objects], dtype=np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _annotations(dataset: "Dataset", labels: Labels) -> Iterator[dict[str, Any]]:
    """Give the annotations with a true mask, as COCO has them; pictures are numbered by their rows."""
    for index, objects in enumerate(dataset["objects"]):
        for one in objects:
            if one["segmentation"] and not one["iscrowd"]:
                true = check_rles([one["segmentation"]], [f"annotation {one['id']}"])[0]
                found = labels.get(one["id"])
                yield {
                    "id": one["id"],
                    "image_id": index,
                    "category_id": one["category"],
                    "bbox": list(one["bbox"]),
                    "area": one["area"],
                    "iscrowd": 0,
                    "segmentation": true,
                    "labelled": empty_rle(*true["size"]) if found is None else found["segmentation"],
                }


def _filled_boxes(annotations: Sequence[Mapping[str, Any]]) -> list[Rle]:
    """Give the mask of each annotation's box."""
    from pycocotools import mask as coco_mask

    encoded = [
        coco_mask.frPyObjects(np.array([one["bbox"]], dtype=np.float64), *one["segmentation"]["size"])[0]
        for one in annotations
    ]
    return check_rles(encoded)


def _prediction(annotation: Mapping[str, Any], labels: Labels) -> dict[str, Any]:
    kept = {name: annotation[name] for name in ("id", "image_id", "category_id", "bbox")}
    return kept | dict(labels[annotation["id"]])


def _overlap_table(found: Any, boxes: Any, counted: str) -> dict[str, Any]:
    sizes = [size for size, value in found.by_size.items() if value is not None]
    rows = [
        [name, quality.mean_iou, *(quality.by_size[size] for size in sizes)]
        for name, quality in (("filled box", boxes), ("mask", found))
    ]
    columns = ["", "all", *(f"{size} ({found.counts[size]})" for size in sizes)]
    return {"title": f"mean IoU over classes, {counted}", "columns": columns, "rows": rows}
