"""Accuracies of video classification when every video was seen in several views: top-k and mean over classes.

The official evaluators of SlowFast (sum of the views' probabilities, percentages) and MMAction2 (their mean,
fractions) give the same numbers; here accuracies are fractions in [0, 1].
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

AGGREGATIONS = ("sum", "mean", "max")


@dataclass(frozen=True)
class VideoScores:
    """What the views of each video say together.

    Attributes:
        video_ids: V distinct ids, in the order in which they first came.
        scores: float64 (V, C).
        labels: int64 (V,).
        num_views: int64 (V,), views that each video was seen in.
        missing_views: number of missing views of the videos that lack some.
    """

    video_ids: list[Hashable]
    scores: np.ndarray
    labels: np.ndarray
    num_views: np.ndarray
    missing_views: dict[Hashable, int]


def group_views(
    scores: np.ndarray,
    labels: np.ndarray,
    video_ids: Sequence[Hashable],
    view_ids: Sequence[Hashable] | None = None,
    *,
    views_per_video: int | None = None,
    aggregation: str = "sum",
) -> VideoScores:
    """Join the views of each video.

    Args:
        scores: (N, C) class probabilities of N views.
        labels: (N,) class ids of their videos.
        video_ids: N ids; the views of a video share one.
        view_ids: N ids that tell the views of one video apart; a view that comes twice, as when processes share a
            data set whose size they do not divide, counts once. `None`: all are different.
        views_per_video: how many views there should be, to report missing ones; `None` = as many as the video with
            most of them has.
        aggregation: `"sum"`, `"mean"` or `"max"` of the views' scores.

    Raises:
        ValueError: shapes that do not fit, no views, scores that are no numbers, a video with two labels or with more
            views than there should be, or an unknown aggregation.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    _check(scores, labels)
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"aggregation must be one of {AGGREGATIONS}, got {aggregation!r}")
    for name, ids in (("video_ids", video_ids), ("view_ids", view_ids)):
        if ids is not None and len(ids) != len(scores):
            raise ValueError(f"{name} must hold one id for each of {len(scores)} views, got {len(ids)}")
    keys = list(range(len(scores))) if view_ids is None else view_ids
    first_rows = {key: row for row, key in reversed(list(enumerate(zip(video_ids, keys, strict=True))))}
    rows = np.array(sorted(first_rows.values()))
    places: dict[Hashable, int] = {}
    owners = np.array([places.setdefault(video_ids[row], len(places)) for row in rows])
    scores, labels = scores[rows], labels[rows]
    video_labels = np.zeros(len(places), np.int64)
    video_labels[owners] = labels
    ids = list(places)
    if (torn := np.flatnonzero(video_labels[owners] != labels)).size:
        owner = owners[torn[0]]
        raise ValueError(
            f"video {ids[owner]!r} has the labels {labels[torn[0]]} and {video_labels[owner]} in different views"
        )
    counts = np.bincount(owners)
    expected = counts.max() if views_per_video is None else views_per_video
    if counts.max() > expected:
        raise ValueError(f"video {ids[counts.argmax()]!r} has {counts.max()} views, more than {expected}")
    joined = np.full((len(ids), scores.shape[1]), -np.inf if aggregation == "max" else 0.0)
    (np.maximum if aggregation == "max" else np.add).at(joined, owners, scores)
    if aggregation == "mean":
        joined /= counts[:, None]
    missing = {ids[place]: int(expected - counts[place]) for place in np.flatnonzero(counts < expected)}
    return VideoScores(ids, joined, video_labels, counts, missing)


def topk_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of videos whose label is among the k best classes; of equal scores the lower class id ranks first.

    Args:
        scores: (V, C).
        labels: (V,) class ids.
        k: 1 to C.

    Raises:
        ValueError: shapes that do not fit, no videos, scores that are no numbers, or k outside 1..C.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    _check(scores, labels)
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be between 1 and the {scores.shape[1]} classes there are, got {k}")
    return float((label_ranks(scores, labels) < k).mean())


def label_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count the classes that rank before the true one; of equal scores the lower class id ranks first.

    Args:
        scores: (V, C).
        labels: (V,) class ids.

    Returns:
        int64 (V,), 0 where the best class is the true one.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    is_lower = np.arange(scores.shape[1]) < labels[:, None]
    return (scores > own).sum(1) + ((scores == own) & is_lower).sum(1)


def mean_class_accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of the share of their videos that are recognised, as MMAction2 defines it.

    The mean is over all classes that occur, as a label or as an answer; one that is only answered counts as 0.

    Args:
        scores: (V, C).
        labels: (V,) class ids.

    Raises:
        ValueError: shapes that do not fit, no videos, or scores that are no numbers.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    _check(scores, labels)
    answers = scores.argmax(1)
    num_classes = scores.shape[1]
    videos = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[answers == labels], minlength=num_classes)
    occurs = videos + np.bincount(answers, minlength=num_classes) > 0
    return float((hits[occurs] / np.maximum(videos[occurs], 1)).mean())


def _check(scores: np.ndarray, labels: np.ndarray) -> None:
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"scores must be (N, classes) with labels (N,), got {tuple(scores.shape)} and {tuple(labels.shape)}"
        )
    if not len(scores):
        raise ValueError("there is no video to score: scores are empty")
    if not np.isfinite(scores).all():
        row = int(np.argwhere(~np.isfinite(scores))[0, 0])
        raise ValueError(f"scores must be finite numbers, but those of row {row} are not")
    outside = labels[(labels < 0) | (labels >= scores.shape[1])]
    if outside.size:
        raise ValueError(f"labels must be class ids 0..{scores.shape[1] - 1}, got {int(outside[0])}")
