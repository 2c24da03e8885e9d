"""Metrics of weakly supervised object localisation, equal to their published evaluators.

`max_box_accuracy` and `pixel_average_precision` follow `clovaai/wsolevaluation` (commit 96f4b88), `fixed_localization`
`junsukchoe/ADL` (commit dab2e78), `topk_localization_error` the development kit of ILSVRC. Boxes are (x0, y0, x1, y1)
with inclusive pixels everywhere: a box of one pixel has x0 = x1.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..modeling.ops.heatmaps import check_score_map, evaluation_map, threshold_boxes
from ..optional_packages import require

EVALUATION_SIZE = (224, 224)
V2_IOU_THRESHOLDS = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class MaxBoxResult:
    """Accuracies of boxes over thresholds, in percent.

    Attributes:
        thresholds: (S,) shares of the maximum.
        iou_thresholds: (I,) overlaps from which a box is right.
        num_correct: (I, S) pictures with a right box.
        num_images: pictures.
    """

    thresholds: np.ndarray
    iou_thresholds: tuple[float, ...]
    num_correct: np.ndarray
    num_images: int

    @property
    def best_accuracies(self) -> np.ndarray:
        """(I,) accuracy at the best threshold of each overlap."""
        return self.num_correct.max(1) * 100 / self.num_images

    @property
    def best_thresholds(self) -> np.ndarray:
        """(I,) these thresholds, the first of equal ones."""
        return self.thresholds[self.num_correct.argmax(1)]

    @property
    def accuracy(self) -> float:
        """Mean of the best accuracies: MaxBoxAccV2, or MaxBoxAcc for one overlap."""
        return float(self.best_accuracies.mean())


def inclusive_box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of (N, 4) and (M, 4) boxes with inclusive pixels: (N, M); 0 for an empty union.

    Raises:
        ValueError: for boxes that end before they begin.
    """
    first, second = _boxes(first), _boxes(second)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = (high - low + 1).clip(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - intersection
    return np.divide(intersection, union, out=np.zeros(union.shape), where=union > 0)


def cam_thresholds(interval: float = 0.001) -> np.ndarray:
    """Thresholds 0, d, 2 d, ... below 1.

    Raises:
        ValueError: for an interval outside (0, 1).
    """
    if not 0 < interval < 1:
        raise ValueError(f"interval must be in (0, 1), got {interval}")
    return np.arange(0, 1, interval)


def scale_boxes(boxes: np.ndarray, image_size: tuple[int, int], size: tuple[int, int] = EVALUATION_SIZE) -> np.ndarray:
    """Scale (N, 4) boxes from pixels of a picture (width, height) to a map (height, width), truncated to int."""
    (width, height), (map_height, map_width) = image_size, size
    factors = np.array([map_width / width, map_height / height] * 2)
    return (_boxes(boxes) * factors).astype(np.int64)


def max_box_accuracy(
    score_maps: Mapping[str, np.ndarray],
    boxes: Mapping[str, np.ndarray],
    *,
    interval: float = 0.001,
    iou_thresholds: Sequence[float] = V2_IOU_THRESHOLDS,
    multi_contour: bool = True,
) -> MaxBoxResult:
    """Accuracy of the boxes of score maps at the best threshold. The class is known: classification does not enter.

    Args:
        score_maps: picture id to map (H, W) in [0, 1], for example by `evaluation_map`.
        boxes: picture id to (N, 4) true boxes in pixels of the maps (see `scale_boxes`).
        interval: step between the thresholds.
        iou_thresholds: overlaps; (0.3, 0.5, 0.7) is MaxBoxAccV2, (0.5,) MaxBoxAcc.
        multi_contour: any region may be the right one (MaxBoxAccV2), or only the largest (MaxBoxAcc).

    Raises:
        ValueError: no pictures, a picture without true boxes, or a map that is not 2-D in [0, 1].
    """
    _check_ids(score_maps, boxes, "true boxes")
    thresholds = cam_thresholds(interval)
    best_ious = np.stack(
        [_best_ious(score_maps[name], np.asarray(boxes[name]), thresholds, multi_contour) for name in score_maps]
    )
    num_correct = np.stack([(best_ious >= iou).sum(0) for iou in iou_thresholds])
    return MaxBoxResult(thresholds, tuple(iou_thresholds), num_correct, len(score_maps))


def fixed_localization(
    predicted_boxes: Mapping[str, np.ndarray],
    true_boxes: Mapping[str, np.ndarray],
    predicted_labels: Mapping[str, int],
    true_labels: Mapping[str, int],
    iou_threshold: float = 0.5,
) -> dict[str, float]:
    """Give `top1_cls`, `gt_known_loc` and `top1_loc`, fractions, of one box per picture against the first true box.

    Raises:
        ValueError: no pictures, or a picture without truth.
    """
    for truth, what in ((true_boxes, "true boxes"), (predicted_labels, "predicted label"), (true_labels, "label")):
        _check_ids(predicted_boxes, truth, what)
    names = list(predicted_boxes)
    is_known = np.array([predicted_labels[name] == true_labels[name] for name in names])
    is_found = np.array(
        [
            inclusive_box_iou([predicted_boxes[name]], np.asarray(true_boxes[name])[:1])[0, 0] >= iou_threshold
            for name in names
        ]
    )
    return {
        "top1_cls": float(is_known.mean()),
        "gt_known_loc": float(is_found.mean()),
        "top1_loc": float((is_known & is_found).mean()),
    }


def topk_localization_error(
    guessed_classes: Mapping[str, Sequence[int]],
    guessed_boxes: Mapping[str, np.ndarray],
    true_labels: Mapping[str, int | Sequence[int]],
    true_boxes: Mapping[str, np.ndarray],
    *,
    max_k: int = 5,
    iou_threshold: float = 0.5,
    blacklist: Collection[str] = (),
) -> dict[str, list[float]]:
    """Errors of the first k guesses, each a class with a box, for k = 1 .. max_k.

    Args:
        guessed_classes: picture id to classes, best first.
        guessed_boxes: picture id to (G, 4) boxes in original pixels, one for each guess.
        true_labels: picture id to its class, or to the class of each of its boxes.
        true_boxes: picture id to (N, 4) boxes.
        max_k: most guesses.
        iou_threshold: overlap from which a box is right.
        blacklist: pictures that do not count.

    Returns:
        `localization_error` and `classification_error`, fractions for k = 1 .. max_k.

    Raises:
        ValueError: no pictures, a picture without truth, or guesses without one box each.
    """
    names = [name for name in guessed_classes if name not in blacklist]
    if not names:
        raise ValueError("there are no pictures to evaluate")
    for truth, what in ((guessed_boxes, "guessed boxes"), (true_labels, "label"), (true_boxes, "true boxes")):
        _check_ids(dict.fromkeys(names), truth, what)
    is_class_right, is_box_right = np.zeros((2, len(names), max_k), dtype=bool)
    for row, name in enumerate(names):
        classes, boxes = np.asarray(guessed_classes[name])[:max_k], np.asarray(guessed_boxes[name])[:max_k]
        if len(classes) != len(boxes):
            raise ValueError(f"{name} has {len(classes)} guessed classes but {len(boxes)} boxes; give one for each")
        truth = np.broadcast_to(np.asarray(true_labels[name]), len(true_boxes[name]))
        is_same = classes[:, None] == truth[None]
        overlaps = inclusive_box_iou(boxes, np.asarray(true_boxes[name])) >= iou_threshold
        is_class_right[row, : len(classes)] = is_same.any(1)
        is_box_right[row, : len(classes)] = (is_same & overlaps).any(1)
    by_k = [1 - np.logical_or.accumulate(right, axis=1).mean(0) for right in (is_box_right, is_class_right)]
    return {"localization_error": by_k[0].tolist(), "classification_error": by_k[1].tolist()}


def pixel_average_precision(
    score_maps: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    ignore_masks: Sequence[np.ndarray | None] | None = None,
    *,
    interval: float = 0.001,
) -> float:
    """Pixel average precision, PxAP, in percent: area under precision over recall of all pixels together.

    Args:
        score_maps: per picture a map (H, W) in [0, 1].
        masks: per picture (N, h, w) instance masks of any size, 0 or 1.
        ignore_masks: per picture a mask (h, w) of what does not count where it is not foreground, or `None`.
        interval: step between the thresholds.

    Raises:
        ValueError: no pictures, lists of different lengths, or no foreground at all.
    """
    if not len(score_maps) or len(score_maps) != len(masks):
        raise ValueError(
            f"there must be one or more maps with masks, got {len(score_maps)} maps and {len(masks)} masks"
        )
    ignore_masks = [None] * len(masks) if ignore_masks is None else ignore_masks
    # Beyond 1 there are two more bins, [1, 2) and [2, 3], in the evaluator: scores of exactly 1 fall into the first.
    edges = np.append(cam_thresholds(interval), [1.0, 2.0, 3.0])
    counts = np.zeros((2, len(edges) - 1))
    for score_map, instances, ignored in zip(score_maps, masks, ignore_masks, strict=True):
        check_score_map(score_map)
        foreground, counted = foreground_masks(instances, ignored, score_map.shape)
        counts[0] += np.histogram(score_map[foreground], edges)[0]
        counts[1] += np.histogram(score_map[~foreground & counted], edges)[0]
    if not counts[0].sum():
        raise ValueError("the masks hold no foreground pixel, so precision and recall have no meaning")
    true_positives, false_positives = counts[:, ::-1].cumsum(1)
    precision = true_positives / np.maximum(true_positives + false_positives, 1)
    steps = np.diff(true_positives / true_positives[-1], prepend=0.0)
    return float((precision * steps).sum() * 100)


def foreground_masks(
    instances: np.ndarray, ignored: np.ndarray | None, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Resize masks to a map's size and give what is foreground and what counts, both (H, W) bool."""
    cv2 = require("cv2", "resizing masks")

    def resize(mask: np.ndarray) -> np.ndarray:
        resized = cv2.resize(np.asarray(mask, dtype=np.float32), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
        return resized > 0.5

    foreground = np.any([resize(mask) for mask in instances], axis=0)
    counted = np.ones(size, dtype=bool) if ignored is None else ~resize(ignored) | foreground
    return foreground, counted


def evaluation_maps(
    raw_maps: Mapping[str, np.ndarray], size: tuple[int, int] = EVALUATION_SIZE
) -> dict[str, np.ndarray]:
    """Resize raw maps bicubically to one size and scale each to [0, 1]."""
    return {name: evaluation_map(raw_map, size) for name, raw_map in raw_maps.items()}


def _best_ious(score_map: np.ndarray, boxes: np.ndarray, thresholds: np.ndarray, multi_contour: bool) -> np.ndarray:
    """Give (S,) the best overlap of any box of the map with any true box at each threshold."""
    found = threshold_boxes(score_map, thresholds, multi_contour)
    # Thresholds of one grey level share their boxes, so that there are at most 256 different lists.
    different = {id(candidates): candidates for candidates in found}
    lengths = [len(candidates) for candidates in different.values()]
    ious = inclusive_box_iou(np.concatenate(list(different.values())), boxes).max(1)
    starts = np.cumsum([0, *lengths[:-1]])
    best = dict(zip(different, np.maximum.reduceat(ious, starts), strict=True))
    return np.array([best[id(candidates)] for candidates in found])


def _boxes(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    wrong = (boxes[:, 2:] < boxes[:, :2]).any(1) | (boxes < 0).any(1)
    if wrong.any():
        raise ValueError(
            f"boxes must be (x0, y0, x1, y1) with 0 <= x0 <= x1 and 0 <= y0 <= y1, got {boxes[wrong][0].tolist()}"
        )
    return boxes


def _check_ids(predicted: Mapping[str, object], truth: Mapping[str, object], what: str) -> None:
    if not predicted:
        raise ValueError("there are no pictures to evaluate")
    missing = [name for name in predicted if name not in truth]
    if missing:
        raise ValueError(f"{len(missing)} pictures have no {what}, the first is {missing[0]!r}")
