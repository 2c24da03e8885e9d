"""Frame-mAP: mean average precision of the boxes in single frames, by the rules of AVA, ACT and MultiSports.

In all of them the detections of a class in all frames are ranked together by score (the later of equal scores first:
the evaluators leave that open), and a detection in a frame without annotation of its class is a false positive. They
differ in the rest:

| | `"ava"` | `"act"` (UCF101-24, JHMDB) | `"multisports"` |
|---|---|---|---|
| a detection may take | the annotation it overlaps most | the one it overlaps most of those left | as ava |
| sides of a box | x1 - x0 | x1 - x0 + 1, in pixels | as ava |
| area under | the precision envelope | straight lines from (recall 0, precision 1) | as ava |

AVA further drops boxes without area and whatever is not of its 60 classes or is in an excluded frame. SlowFast's copy
of its evaluator lets the detections of a frame come in the order that they are given in, not by score
(`in_given_order`).
"""

import warnings
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .box_table import BoxTable, paired_box_iou
from .detection_result import DetectionResult, checked_thresholds, class_table, warn_of_nothing
from .label_names import LabelNames
from .ranked_matching import (
    Overlap,
    interpolated_average_precision,
    match_best_only,
    match_remaining,
    overlapping_pairs,
    polyline_average_precision,
    ranks_by_score,
)


class DetectionRules(NamedTuple):
    """What styles of evaluation differ in: second choice, sides of boxes, area under the curve."""

    best_only: bool
    inclusive: bool
    interpolated: bool


STYLES = {
    "ava": DetectionRules(best_only=True, inclusive=False, interpolated=True),
    "act": DetectionRules(best_only=False, inclusive=True, interpolated=False),
    "multisports": DetectionRules(best_only=True, inclusive=False, interpolated=True),
}

Frames = Mapping[Hashable, Mapping[str, Any]]


def frame_detection_map(
    predictions: Frames | BoxTable,
    references: Frames | BoxTable,
    thresholds: Sequence[float] = (0.5,),
    *,
    style: str = "ava",
    class_ids: Collection[int] | None = None,
    label_names: LabelNames | None = None,
    excluded: Collection[Hashable] = (),
    annotated_frames_only: bool = False,
    in_given_order: bool = False,
) -> DetectionResult:
    """Score detections in frames by the rules that the module states.

    Args:
        predictions: `{frame id: {"boxes": (N, 4) xyxy, "scores": (N,), "labels": (N,) class ids}}`, or a `BoxTable`
            with scores. A box with several classes stands there once for each. None at all give mAP 0.
        references: the same without scores.
        thresholds: of the intersection over union.
        style: a key of `STYLES`.
        class_ids: the classes that count; None = those with annotations. Rows of others are left out, detections with
            a warning that counts them.
        label_names: names by class id, for tables.
        excluded: frames that are left out on both sides.
        annotated_frames_only: leave out detections in frames without any annotation, as mmaction2 does, instead of
            counting them as false positives.
        in_given_order: let the detections of a frame take annotations in the order given, not by score; with styles
            in which they look at one annotation only.

    Raises:
        ValueError: an unknown style, thresholds outside (0, 1], values that are not finite, or shapes that do not fit.
    """
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    rules, thresholds = STYLES[style], checked_thresholds(thresholds)
    if in_given_order and not rules.best_only:
        raise ValueError(f"in_given_order is for the styles that look at one annotation only, not for {style!r}")
    references = _table(references, "references", with_scores=False).without_frames(excluded)
    predictions = _table(predictions, "predictions", with_scores=True).without_frames(excluded)
    ids, names = class_table(references.labels, class_ids, label_names)
    references = references.rows(np.isin(references.labels, ids))
    predictions = _countable(predictions, ids, rules, warn=class_ids is not None)
    frames_of_predictions = _frames_as_in(references, predictions)
    if annotated_frames_only:
        annotated = np.isin(frames_of_predictions, references.frames)
        predictions, frames_of_predictions = predictions.rows(annotated), frames_of_predictions[annotated]
    warn_of_nothing(len(references), len(predictions))
    ranks = np.empty((0, len(thresholds)))
    if len(references):
        ranks = _ranks_of_matches(
            predictions, frames_of_predictions, references, ids, rules, np.array(thresholds), in_given_order
        )
    classes = np.searchsorted(ids, references.labels)
    precision = interpolated_average_precision if rules.interpolated else polyline_average_precision
    return DetectionResult(
        thresholds, ids, names, np.bincount(classes, minlength=len(ids)), precision(ranks, classes, len(ids))
    )


def _table(frames: Frames | BoxTable, name: str, *, with_scores: bool) -> BoxTable:
    if not isinstance(frames, BoxTable):
        return BoxTable.from_mapping(frames, with_scores=with_scores)
    if with_scores and frames.scores is None:
        raise ValueError(f"{name} must have scores, got a BoxTable without")
    return frames


def _countable(predictions: BoxTable, ids: np.ndarray, rules: DetectionRules, *, warn: bool) -> BoxTable:
    """Leave out detections of classes that do not count, and boxes without area where these are no boxes."""
    known = np.isin(predictions.labels, ids)
    if warn and not known.all():
        strange = np.unique(predictions.labels[~known])
        warnings.warn(
            f"{(~known).sum()} detections of classes that are not evaluated are left out: "
            f"{', '.join(map(str, strange[:5].tolist()))}{' ...' if len(strange) > 5 else ''}",
            stacklevel=3,
        )
    if not rules.inclusive:
        known &= (predictions.boxes[:, 2:] > predictions.boxes[:, :2]).all(axis=1)
    return predictions.rows(known)


def _frames_as_in(references: BoxTable, predictions: BoxTable) -> np.ndarray:
    """Number the frames of the detections as the annotations do; those that they do not know are last."""
    places = {frame_id: index for index, frame_id in enumerate(references.frame_ids)}
    numbers = [places.get(frame_id, len(places)) for frame_id in predictions.frame_ids]
    return np.array(numbers, dtype=np.int64)[predictions.frames]


def _ranks_of_matches(
    predictions: BoxTable,
    frames: np.ndarray,
    references: BoxTable,
    ids: np.ndarray,
    rules: DetectionRules,
    thresholds: np.ndarray,
    in_given_order: bool,
) -> np.ndarray:
    """Give the rank of the detection that takes each annotation, (M, T); infinite where none does."""
    num_frames = len(references.frame_ids) + 1
    classes = np.searchsorted(ids, predictions.labels)
    ranks = ranks_by_score(predictions.scores, classes, len(ids))
    pairs = overlapping_pairs(
        classes * num_frames + frames,
        np.searchsorted(ids, references.labels) * num_frames + references.frames,
        _box_overlap(predictions.boxes, references.boxes, inclusive=rules.inclusive),
        thresholds.min(),
        later_first=False,
    )
    if in_given_order:
        return match_best_only(*pairs, ranks, len(references), thresholds, turns=np.arange(len(predictions)))
    match = match_best_only if rules.best_only else match_remaining
    return match(*pairs, ranks, len(references), thresholds)


def _box_overlap(boxes: np.ndarray, reference_boxes: np.ndarray, *, inclusive: bool) -> Overlap:
    """Give what compares pairs of two lists of boxes (N, 4) and (M, 4)."""

    def overlap(candidates: np.ndarray, annotations: np.ndarray) -> np.ndarray:
        return paired_box_iou(boxes[candidates], reference_boxes[annotations], inclusive=inclusive)

    return overlap
