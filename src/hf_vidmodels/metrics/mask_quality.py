"""How good masks are: IoU of each instance with its true mask, their mean over classes, COCO's mask AP, retention.

The mean IoU and its split by size and kind of class are those of NVlabs/mask-auto-labeler (commit 0ab9be4), less two
mistakes of it: IoUs of one batch that went to the classes of the whole batch, and a list of classes that was off by
one. Masks are RLEs as in `modeling/ops/run_length_masks.py`, polygons are allowed in
annotations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..modeling.ops.run_length_masks import Rle, check_rles, empty_rle, rle_areas, rle_intersections, segmentation_rles

# Areas of boxes in square pixels up to which an instance is small, and medium; COCO's AP has the areas of masks.
SIZE_BOUNDS = (32.0**2, 96.0**2)
SIZES = ("small", "medium", "large")
# COCO's classes whose outline is hard to tell from what surrounds them; its other 69 classes are things.
SEMI_STUFF = frozenset(
    ("bus", "train", "truck", "bench", "couch", "bed", "dining table", "toilet", "oven", "sink", "refrigerator")
)
_EPSILON = 1e-6


@dataclass(frozen=True)
class MaskQuality:
    """Intersections over union of predicted with true masks.

    Attributes:
        ious: (N,) of each instance, in the order given.
        mean_iou: mean over the classes that occur of the mean over their instances; None without instances.
        by_class: mean over the instances of each class that occurs, by class.
        by_size: as `mean_iou` for "small", "medium" and "large" boxes; None where there is none.
        things: as `mean_iou` over all classes but `SEMI_STUFF`; None without such, or without class names.
        semi_stuff: as `mean_iou` over `SEMI_STUFF`; None without such, or without class names.
        counts: number of instances: all, small, medium and large.
    """

    ious: np.ndarray
    mean_iou: float | None
    by_class: dict[Any, float]
    by_size: dict[str, float | None]
    things: float | None
    semi_stuff: float | None
    counts: dict[str, int]

    def to_metrics(self) -> dict[str, float | None]:
        """Give the figures by name, fractions in [0, 1]; None where nothing was to be measured."""
        return {
            "mIoU": self.mean_iou,
            **{f"mIoU_{size}": value for size, value in self.by_size.items()},
            "mIoU_things": self.things,
            "mIoU_semi_stuff": self.semi_stuff,
            "instance_IoU": float(self.ious.mean()) if len(self.ious) else None,
        }


def paired_mask_iou(predictions: Sequence[Rle], references: Sequence[Rle]) -> np.ndarray:
    """Compare each predicted mask with its true one.

    Args:
        predictions: N RLEs.
        references: N RLEs of the same sizes.

    Returns:
        (N,) intersection over union, as pycocotools counts pixels; 0 for two empty masks.

    Raises:
        ValueError: the numbers or sizes differ, or an RLE is malformed.
    """
    if len(predictions) != len(references):
        raise ValueError(
            f"every mask needs its true one: {len(predictions)} predictions, {len(references)} references"
        )
    predictions = check_rles(predictions, [f"prediction {number}" for number in range(len(predictions))])
    references = check_rles(references, [f"reference {number}" for number in range(len(references))])
    for number, (found, true) in enumerate(zip(predictions, references, strict=True)):
        if found["size"] != true["size"]:
            raise ValueError(
                f"prediction {number} has the size {found['size']} but its reference {true['size']} (height, width); "
                "masks are compared at the resolution of the picture"
            )
    shared = rle_intersections(predictions, references)
    union = rle_areas(predictions) + rle_areas(references) - shared
    return shared / (union + _EPSILON)


def mask_quality(
    predictions: Sequence[Rle],
    references: Sequence[Rle],
    labels: Sequence[Any],
    box_areas: Sequence[float],
    class_names: Mapping[Any, str] | Sequence[str] | None = None,
    size_bounds: tuple[float, float] = SIZE_BOUNDS,
) -> MaskQuality:
    """Measure masks that were made for known boxes against the true masks of these.

    Args:
        predictions: N RLEs at the resolution of the picture.
        references: their N true masks.
        labels: their N classes; any values that can be dictionary keys.
        box_areas: (N,) areas of their boxes in square pixels, which decide the size they are counted under.
        class_names: name of each class, by class; needed for the split in things and semi-stuff.
        size_bounds: greatest area of a small and of a medium box.

    Raises:
        ValueError: lengths or sizes differ, an RLE is malformed, or a box has no area.
    """
    ious = paired_mask_iou(predictions, references)
    areas = np.asarray(box_areas, dtype=np.float64).reshape(-1)
    if not len(ious) == len(labels) == len(areas):
        raise ValueError(
            f"every mask needs a label and the area of its box: {len(ious)} masks, {len(labels)} labels, "
            f"{len(areas)} areas"
        )
    if not (areas > 0).all():
        number = int(np.argmin(areas > 0))
        raise ValueError(f"instance {number} has a box of area {areas[number]:g}; areas are positive square pixels")
    classes = list(dict.fromkeys(labels))
    position = {label: number for number, label in enumerate(classes)}
    indices = np.array([position[label] for label in labels], dtype=np.int64)
    buckets = np.searchsorted(np.asarray(size_bounds, dtype=np.float64), areas, side="left")
    by_size = {size: _mean_over_classes(ious, indices, buckets == number) for number, size in enumerate(SIZES)}
    things = semi_stuff = None
    if class_names is not None:
        is_stuff = np.array([class_names[label] in SEMI_STUFF for label in classes], dtype=bool)[indices]
        things, semi_stuff = (_mean_over_classes(ious, indices, chosen) for chosen in (~is_stuff, is_stuff))
    return MaskQuality(
        ious=ious,
        mean_iou=_mean_over_classes(ious, indices, np.ones(len(ious), bool)),
        by_class=dict(zip(classes, _class_means(ious, indices).tolist(), strict=True)),
        by_size=by_size,
        things=things,
        semi_stuff=semi_stuff,
        counts={"all": len(ious), **{size: int((buckets == number).sum()) for number, size in enumerate(SIZES)}},
    )


def compare_annotations(
    predictions: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    ground_truth: Mapping[str, Any],
    *,
    count_missing: bool = False,
) -> tuple[MaskQuality, list[Any]]:
    """Measure the masks of labelled annotations against the true ones of the same ids, as COCO files hold them.

    Args:
        predictions: content of the labelled file, or its list of annotations; `id` and `segmentation` are read.
        ground_truth: content of the true file.
        count_missing: whether a true mask without a predicted one counts with an IoU of zero. The official evaluation
            does not see such boxes, so that it rises when fewer are labelled.

    Returns:
        The quality of all annotations that have a predicted mask, or of all, and the ids of those that have none.
        Crowds are left out of both.

    Raises:
        ValueError: no annotation has both masks, or a mask is malformed; names the annotation.
    """
    found = predictions["annotations"] if isinstance(predictions, Mapping) else predictions
    masks = {item["id"]: item["segmentation"] for item in found if item.get("segmentation")}
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    true = [item for item in ground_truth["annotations"] if not item.get("iscrowd") and item.get("segmentation")]
    scored = true if count_missing else [item for item in true if item["id"] in masks]
    if not scored or (masks and not any(item["id"] in masks for item in scored)):
        raise ValueError(
            f"none of the {len(true)} annotations with a true mask has a predicted one of the same id; compare files "
            "of the same annotations"
        )
    of_pictures = [sizes[item["image_id"]] for item in scored]
    names = [f"annotation {item['id']}" for item in scored]
    found_masks = [masks.get(item["id"]) or empty_rle(*size) for item, size in zip(scored, of_pictures, strict=True)]
    quality = mask_quality(
        segmentation_rles(found_masks, of_pictures, names),
        segmentation_rles([item["segmentation"] for item in scored], of_pictures, [f"true {name}" for name in names]),
        [item["category_id"] for item in scored],
        [item["bbox"][2] * item["bbox"][3] for item in scored],
        {category["id"]: category["name"] for category in ground_truth["categories"]},
    )
    return quality, [item["id"] for item in true if item["id"] not in masks]


def retention_rate(pseudo_ap: float, full_ap: float) -> float:
    """Say how much of its mask AP a segmenter keeps when it is trained on labelled instead of true masks, in percent.

    Args:
        pseudo_ap: mask AP of the segmenter trained on labelled masks.
        full_ap: mask AP of the same segmenter trained on true masks, in the same unit.

    Raises:
        ValueError: one is no finite number, `pseudo_ap` is negative, or `full_ap` not positive.
    """
    if not (np.isfinite(pseudo_ap) and np.isfinite(full_ap) and pseudo_ap >= 0 and full_ap > 0):
        raise ValueError(f"retention needs mask APs of at least 0 and above 0, got {pseudo_ap} and {full_ap}")
    return 100.0 * pseudo_ap / full_ap


def _class_means(ious: np.ndarray, indices: np.ndarray) -> np.ndarray:
    counts = np.bincount(indices)
    return np.bincount(indices, ious) / (_EPSILON + counts)


def _mean_over_classes(ious: np.ndarray, indices: np.ndarray, chosen: np.ndarray) -> float | None:
    """Mean of `_class_means` over the classes of the `chosen` instances, a boolean array; None for none."""
    if not chosen.any():
        return None
    return float(_class_means(ious[chosen], np.unique(indices[chosen], return_inverse=True)[1]).mean())
