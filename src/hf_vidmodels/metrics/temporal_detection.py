"""Mean average precision (mAP) of temporal localisation, as the ActivityNet evaluator defines it.

The rules, which THUMOS-14 and ActivityNet share (they differ in thresholds and in what is averaged):

- The classes are those with at least one annotation; predictions of other classes are not counted.
- Per class the predictions of all videos are ranked together by score. Among equal scores the later one comes first
  (the evaluator's order is undefined there). A prediction in a video without annotation of its class, or in an
  unknown video, is a false positive.
- At each tIoU threshold independently, a prediction takes, among the annotations of its class in its video that no
  better prediction took and that it overlaps by tIoU >= threshold, the one with the highest tIoU (the later
  annotation among equals); it is a false positive when there is none.
- AP is the area under the precision envelope over recall; a class without predictions has AP 0.
- Two segments of length zero have tIoU 0.

Everything is computed at once over classes, videos and thresholds, by the parts in `ranked_matching.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .label_names import LabelNames, names_by_id
from .ranked_matching import (
    Overlap,
    interpolated_average_precision,
    match_remaining,
    overlapping_pairs,
    ranks_by_score,
)
from .segment_table import SegmentTable

# The evaluators accumulate their thresholds in float64; these are the same doubles (0.30000000000000004 and so on).
THUMOS_TIOU_THRESHOLDS: tuple[float, ...] = tuple(np.arange(0.1, 0.95, 0.1).tolist())
THUMOS_AVERAGE_TIOU_THRESHOLDS: tuple[float, ...] = THUMOS_TIOU_THRESHOLDS[:7]
ACTIVITYNET_TIOU_THRESHOLDS: tuple[float, ...] = tuple(np.arange(0.5, 0.975, 0.05).tolist())

# Two thresholds this close are the same one.
THRESHOLD_TOLERANCE = 1e-6

# Annotations of one class whose ends differ by no more than this many seconds are copies of each other.
DUPLICATE_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class TemporalDetectionResult:
    """Average precision per class and threshold, and its means.

    Attributes:
        tiou_thresholds: `(T,)` thresholds.
        average_thresholds: those of them that `average_mAP` is taken over.
        class_ids: `(C,)` evaluated classes, ascending.
        class_names: `(C,)` their names; the ids as text where none were given.
        num_annotations: `(C,)` annotations per class that were counted.
        ap: `(C, T)` average precision in [0, 1].
    """

    tiou_thresholds: tuple[float, ...]
    average_thresholds: tuple[float, ...]
    class_ids: np.ndarray
    class_names: tuple[str, ...]
    num_annotations: np.ndarray
    ap: np.ndarray

    @property
    def mAP(self) -> np.ndarray:
        """`(T,)` mean of `ap` over classes, per threshold."""
        return self.ap.mean(axis=0)

    @property
    def average_mAP(self) -> float:
        """Mean of `mAP` over `average_thresholds`."""
        return self.average_over(self.average_thresholds)

    def average_over(self, thresholds: Sequence[float]) -> float:
        """Mean of `mAP` over some of the evaluated thresholds, such as 0.3 to 0.7.

        Raises:
            ValueError: for an empty list or a threshold that was not evaluated.
        """
        return float(self.mAP[_positions(thresholds, self.tiou_thresholds, "thresholds")].mean())

    def to_metrics(self) -> dict[str, float]:
        """Return `{"mAP@0.1": ..., ..., "average_mAP": ...}`, fractions in [0, 1]."""
        values = zip(self.tiou_thresholds, self.mAP.tolist(), strict=True)
        return {f"mAP@{threshold:g}": value for threshold, value in values} | {"average_mAP": self.average_mAP}


def temporal_detection_map(
    predictions: Mapping[str, Mapping[str, Any]] | SegmentTable,
    references: Mapping[str, Mapping[str, Any]] | SegmentTable,
    tiou_thresholds: Sequence[float],
    *,
    average_thresholds: Sequence[float] | None = None,
    label_names: LabelNames | None = None,
    remove_duplicate_annotations: bool = False,
    blocked_videos: Collection[str] = (),
    allow_inverted_predictions: bool = False,
) -> TemporalDetectionResult:
    """Score predicted segments against annotations by the rules that the module states.

    Args:
        predictions: `{video_id: {"segments": (N, 2) seconds, "scores": (N,), "labels": (N,) class ids}}`, or the same
            as a flat `SegmentTable`. No predictions at all give mAP 0.
        references: `{video_id: {"segments": (M, 2), "labels": (M,)}}` or a `SegmentTable`, of the evaluated subset.
        tiou_thresholds: distinct values in (0, 1], such as `THUMOS_TIOU_THRESHOLDS`.
        average_thresholds: those of them that `average_mAP` is the mean over; all by default. THUMOS-14 reports
            `THUMOS_AVERAGE_TIOU_THRESHOLDS`.
        label_names: names by class id, for tables.
        remove_duplicate_annotations: as the OpenTAD evaluator, first remove annotations of length zero and those that
            repeat an earlier one of the video (same class, both ends within 0.001 s).
        blocked_videos: ids of videos that are left out on both sides.
        allow_inverted_predictions: count predictions that end before they start as false positives, as the official
            evaluator does, instead of refusing them.

    Returns:
        Average precision per class and threshold with its means.

    Raises:
        ValueError: when no annotation is left; for thresholds that are empty, repeated or outside (0, 1]; for scores
            or segments that are not finite, and segments that end before they start (naming the video); for missing
            keys and shapes that do not fit; for an annotated class without a name.
    """
    tiou_thresholds = _checked_thresholds(tiou_thresholds)
    if average_thresholds is None:
        average_thresholds = tiou_thresholds
    averaged = _positions(average_thresholds, tiou_thresholds, "average_thresholds")

    references = _table(references, "references", with_scores=False).without_videos(blocked_videos)
    predictions = _table(predictions, "predictions", with_scores=True).without_videos(blocked_videos)
    references.refuse_inverted("references", "correct the annotation")
    if not allow_inverted_predictions:
        predictions.refuse_inverted(
            "predictions", "drop it, or count it as a false positive with allow_inverted_predictions=True"
        )
    if remove_duplicate_annotations:
        references = _without_duplicates(references.rows(references.segments[:, 1] > references.segments[:, 0]))
    if len(references) == 0:
        raise ValueError("references hold no annotation to evaluate against; check the subset and blocked_videos")

    class_ids, classes = np.unique(references.labels, return_inverse=True)
    class_names = _names_of(class_ids, label_names)
    thresholds = np.array(tiou_thresholds)
    ranks = _ranks_of_matches(predictions, references, class_ids, classes, thresholds)
    ap = interpolated_average_precision(ranks, classes, len(class_ids))
    return TemporalDetectionResult(
        tiou_thresholds=tiou_thresholds,
        average_thresholds=tuple(tiou_thresholds[position] for position in averaged),
        class_ids=class_ids,
        class_names=class_names,
        num_annotations=np.bincount(classes, minlength=len(class_ids)),
        ap=ap,
    )


def _checked_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(value) for value in thresholds)
    if not values or not all(0 < value <= 1 for value in values):
        raise ValueError(f"tiou_thresholds must be one or more values in (0, 1], got {list(values)}")
    if len({f"{value:g}" for value in values}) < len(values):
        raise ValueError(f"tiou_thresholds must be distinct, got {list(values)}")
    return values


def _positions(chosen: Sequence[float], evaluated: Sequence[float], name: str) -> np.ndarray:
    """Where each chosen threshold stands in the evaluated ones; 0.3 finds 0.30000000000000004."""
    chosen = np.array(chosen, dtype=np.float64)
    distance = np.abs(chosen.reshape(-1, 1) - np.array(evaluated))
    if distance.size == 0 or (distance.min(axis=1) > THRESHOLD_TOLERANCE).any():
        raise ValueError(
            f"{name} must be some of the evaluated tiou_thresholds {list(evaluated)}, got {chosen.tolist()}"
        )
    return distance.argmin(axis=1)


def _table(segments: Mapping[str, Mapping[str, Any]] | SegmentTable, name: str, *, with_scores: bool) -> SegmentTable:
    if not isinstance(segments, SegmentTable):
        return SegmentTable.from_mapping(segments, name=name, with_scores=with_scores)
    if with_scores and segments.scores is None:
        raise ValueError(f"{name} must have scores, got a SegmentTable without")
    return segments


def _names_of(class_ids: np.ndarray, label_names: LabelNames | None) -> tuple[str, ...]:
    if label_names is None:
        return tuple(str(class_id) for class_id in class_ids.tolist())
    names = names_by_id(label_names)
    missing = [class_id for class_id in class_ids.tolist() if class_id not in names]
    if missing:
        raise ValueError(f"label_names must name every annotated class, got no name for class ids {missing}")
    return tuple(str(names[class_id]) for class_id in class_ids.tolist())


def _without_duplicates(references: SegmentTable) -> SegmentTable:
    """Drop annotations that repeat an earlier kept one of the same video and class."""
    order = np.lexsort((references.segments[:, 0], references.labels, references.videos))
    videos, labels, starts = references.videos[order], references.labels[order], references.segments[order, 0]
    new_cluster = np.ones(len(order), dtype=bool)
    new_cluster[1:] = (np.diff(videos) != 0) | (np.diff(labels) != 0) | (np.diff(starts) > DUPLICATE_TOLERANCE)
    clusters = np.split(order, np.flatnonzero(new_cluster)[1:])
    kept = np.ones(len(order), dtype=bool)
    # Copies chain only inside a cluster of neighbouring starts, and such clusters are rare and small.
    for cluster in (np.sort(cluster) for cluster in clusters if len(cluster) > 1):
        for place, row in enumerate(cluster):
            earlier = cluster[:place][kept[cluster[:place]]]
            distance = np.abs(references.segments[earlier] - references.segments[row]).max(axis=1, initial=0)
            kept[row] = not (len(earlier) and distance.min() <= DUPLICATE_TOLERANCE)
    return references.rows(kept)


def _ranks_of_matches(
    predictions: SegmentTable,
    references: SegmentTable,
    class_ids: np.ndarray,
    classes: np.ndarray,
    thresholds: np.ndarray,
) -> np.ndarray:
    """Find which prediction takes each annotation.

    Returns:
        `(M, T)` rank of that prediction among all of its class, from 1 on; infinite where none does.
    """
    # Predictions of other classes form a class of their own, which no annotation belongs to.
    place = np.minimum(np.searchsorted(class_ids, predictions.labels), len(class_ids) - 1)
    prediction_classes = np.where(class_ids[place] == predictions.labels, place, len(class_ids))
    ranks = ranks_by_score(predictions.scores, prediction_classes, len(class_ids) + 1)

    video_places = {video_id: index for index, video_id in enumerate(references.video_ids)}
    unknown = len(video_places)
    to_reference = np.array(
        [video_places.get(video_id, unknown) for video_id in predictions.video_ids], dtype=np.int64
    )
    groups = prediction_classes * (unknown + 1) + to_reference[predictions.videos]
    reference_groups = classes * (unknown + 1) + references.videos
    pairs = overlapping_pairs(
        groups,
        reference_groups,
        _tiou(predictions.segments, references.segments),
        thresholds.min(),
        later_first=True,
    )
    return match_remaining(*pairs, ranks, len(references), thresholds)


def _tiou(segments: np.ndarray, reference_segments: np.ndarray) -> Overlap:
    starts, ends = np.ascontiguousarray(segments.T, dtype=np.float64)
    reference_starts, reference_ends = np.ascontiguousarray(reference_segments.T, dtype=np.float64)
    lengths, reference_lengths = ends - starts, reference_ends - reference_starts

    def overlap(candidates: np.ndarray, annotations: np.ndarray) -> np.ndarray:
        intersection = np.minimum(ends[candidates], reference_ends[annotations])
        intersection -= np.maximum(starts[candidates], reference_starts[annotations])
        tious = np.zeros(len(candidates))
        meeting = np.flatnonzero(intersection > 0)
        candidates, annotations, intersection = candidates[meeting], annotations[meeting], intersection[meeting]
        tious[meeting] = intersection / (lengths[candidates] + reference_lengths[annotations] - intersection)
        return tious

    return overlap
