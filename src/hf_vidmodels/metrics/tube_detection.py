"""Video-mAP: mean average precision of tubes, by the rules of ACT and of MultiSports.

As frame-mAP (`frame_detection.py`) with tubes in place of boxes, compared by their spatio-temporal intersection over
union: a tube may take an annotated tube of its class in its video. `"act"` counts both ends of boxes and spans and
takes the area under straight lines; `"multisports"` does neither and takes the area under the precision envelope.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .detection_result import DetectionResult, checked_thresholds, class_table, warn_of_nothing
from .frame_detection import STYLES
from .label_names import LabelNames
from .ranked_matching import (
    interpolated_average_precision,
    match_best_only,
    match_remaining,
    overlapping_pairs,
    polyline_average_precision,
    ranks_by_score,
)
from .tube_table import TubeTable, paired_tube_iou

TUBE_STYLES = ("act", "multisports")
# The thresholds that papers on UCF101-24 report, and those of the mean over high ones.
REPORTED_THRESHOLDS: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75)
AVERAGED_THRESHOLDS: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))

Tubes = Mapping[str, Sequence[Mapping[str, Any]]]


def tube_detection_map(
    predictions: Tubes | TubeTable,
    references: Tubes | TubeTable,
    thresholds: Sequence[float] = REPORTED_THRESHOLDS,
    *,
    style: str = "act",
    class_ids: Collection[int] | None = None,
    label_names: LabelNames | None = None,
) -> DetectionResult:
    """Score tubes by the rules that the module states.

    Args:
        predictions: `{video_id: [{"label", "score", "frames": (n,) ascending, "boxes": (n, 4) xyxy}, ...]}` or a
            `TubeTable`. None at all give mAP 0.
        references: the same without scores.
        thresholds: of the spatio-temporal intersection over union.
        style: one of `TUBE_STYLES`.
        class_ids: the classes that count; None = those with annotations.
        label_names: names by class id, for tables.

    Raises:
        ValueError: an unknown style, thresholds outside (0, 1], or a tube whose frames do not ascend (names it).
    """
    if style not in TUBE_STYLES:
        raise ValueError(f"style must be one of {', '.join(TUBE_STYLES)}, got {style!r}")
    rules, thresholds = STYLES[style], checked_thresholds(thresholds)
    references = references if isinstance(references, TubeTable) else TubeTable.from_mapping(references)
    predictions = predictions if isinstance(predictions, TubeTable) else TubeTable.from_mapping(predictions)
    ids, names = class_table(references.labels, class_ids, label_names)
    counted = np.flatnonzero(np.isin(references.labels, ids))
    found = np.flatnonzero(np.isin(predictions.labels, ids))
    warn_of_nothing(len(counted), len(found))
    classes = np.searchsorted(ids, references.labels[counted])
    ranks = np.empty((0, len(thresholds)))
    if len(counted):
        places = {video: place for place, video in enumerate(references.video_ids)}
        to_reference = np.array([places.get(video, len(places)) for video in predictions.video_ids], dtype=np.int64)
        found_classes = np.searchsorted(ids, predictions.labels[found])
        found_ranks = ranks_by_score(predictions.scores[found], found_classes, len(ids))
        pairs = overlapping_pairs(
            found_classes * (len(places) + 1) + to_reference[predictions.videos[found]],
            classes * (len(places) + 1) + references.videos[counted],
            lambda ours, theirs: paired_tube_iou(
                predictions, found[ours], references, counted[theirs], inclusive=rules.inclusive
            ),
            min(thresholds),
            later_first=False,
        )
        match = match_best_only if rules.best_only else match_remaining
        ranks = match(*pairs, found_ranks, len(counted), np.array(thresholds))
    precision = interpolated_average_precision if rules.interpolated else polyline_average_precision
    return DetectionResult(
        thresholds, ids, names, np.bincount(classes, minlength=len(ids)), precision(ranks, classes, len(ids))
    )
