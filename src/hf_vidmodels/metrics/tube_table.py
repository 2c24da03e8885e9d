"""The tubes of many videos in flat arrays (a tube is one box in each of several frames), and their overlaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .box_table import paired_box_iou

# Bounds the memory of the boxes that are compared together.
_BOXES_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class TubeTable:
    """Detected or annotated tubes of many videos, one of them after the other.

    Attributes:
        video_ids: `(V,)` distinct names of the videos; a video may have no tubes.
        videos: `(N,)` index of each tube's video.
        labels: `(N,)` class ids.
        scores: `(N,)` float64; ones for annotations.
        starts: `(N + 1,)` where the boxes of each tube begin, and the number of boxes.
        frames: `(B,)` int64, frame of each box, ascending inside a tube.
        boxes: `(B, 4)` float64, xyxy.
    """

    video_ids: Sequence[str]
    videos: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    starts: np.ndarray
    frames: np.ndarray
    boxes: np.ndarray

    @classmethod
    def from_mapping(cls, tubes: Mapping[str, Sequence[Mapping[str, Any]]]) -> "TubeTable":
        """Join `{video_id: [{"label": int, "score": float, "frames": (n,), "boxes": (n, 4)}, ...]}`.

        Args:
            tubes: the mapping; `score` may be absent (annotations).

        Raises:
            ValueError: a tube is empty, its frames do not ascend, or its boxes do not fit; names video and tube.
        """
        rows = [(video, place, tube) for video, of_video in tubes.items() for place, tube in enumerate(of_video)]
        frames, boxes = [np.empty(0, np.int64)], [np.empty((0, 4))]
        for video, place, tube in rows:
            where = f"tube {place} of video {video!r}"
            numbers, corners = np.asarray(tube["frames"]), np.asarray(tube["boxes"], dtype=np.float64)
            if numbers.ndim != 1 or not numbers.size or corners.shape != (len(numbers), 4):
                raise ValueError(
                    f"{where} needs frames (n,) and boxes (n, 4), got {numbers.shape} and {corners.shape}"
                )
            if numbers.dtype.kind not in "iu" or (np.diff(numbers) <= 0).any():
                raise ValueError(f"{where} needs whole frame numbers that ascend, got {numbers.tolist()[:8]}")
            if not np.isfinite(corners).all() or not np.isfinite(tube.get("score", 1.0)):
                raise ValueError(f"{where} has a box or a score that is not finite")
            frames.append(numbers.astype(np.int64))
            boxes.append(corners)
        video_places = {video: place for place, video in enumerate(tubes)}
        return cls(
            video_ids=list(tubes),
            videos=np.array([video_places[video] for video, _, _ in rows], dtype=np.int64),
            labels=np.array([tube["label"] for _, _, tube in rows], dtype=np.int64),
            scores=np.array([tube.get("score", 1.0) for _, _, tube in rows], dtype=np.float64),
            starts=np.cumsum([0, *(len(numbers) for numbers in frames[1:])]),
            frames=np.concatenate(frames),
            boxes=np.concatenate(boxes),
        )

    def __len__(self) -> int:
        """Count the tubes of all videos."""
        return len(self.labels)


def paired_tube_iou(
    first: TubeTable, first_rows: np.ndarray, second: TubeTable, second_rows: np.ndarray, *, inclusive: bool
) -> np.ndarray:
    """Spatio-temporal intersection over union of tubes, pair by pair.

    It is the mean IoU of their boxes in the frames that both have, times the intersection over union of their spans
    (first to last frame); 0 when they have no frame in common.

    Args:
        first: tubes.
        first_rows: `(P,)` which of them.
        second: tubes.
        second_rows: `(P,)` which of them.
        inclusive: whether both corners belong to a box, and both ends to a span (ACT): sides and spans are one longer.

    Returns:
        `(P,)` in [0, 1].
    """
    counts = np.diff(first.starts)[first_rows]
    overlaps = np.zeros(len(first_rows))
    chunk_ends = np.flatnonzero(np.diff(counts.cumsum() // _BOXES_AT_ONCE)) + 1
    for chunk in np.split(np.arange(len(first_rows)), chunk_ends):
        overlaps[chunk] = _tube_iou(first, first_rows[chunk], second, second_rows[chunk], inclusive=inclusive)
    return overlaps


def _tube_iou(
    first: TubeTable, first_rows: np.ndarray, second: TubeTable, second_rows: np.ndarray, *, inclusive: bool
) -> np.ndarray:
    counts = np.diff(first.starts)[first_rows]
    pairs = np.repeat(np.arange(len(first_rows)), counts)
    boxes = np.repeat(first.starts[first_rows] - (counts.cumsum() - counts), counts) + np.arange(len(pairs))
    # The boxes of `second` by (tube, frame), as one ascending list of numbers.
    lowest = min(first.frames.min(initial=0), second.frames.min(initial=0))
    width = max(first.frames.max(initial=0), second.frames.max(initial=0)) - lowest + 1
    owners = np.repeat(np.arange(len(second)), np.diff(second.starts))
    keys = owners * width + second.frames - lowest
    wanted = second_rows[pairs] * width + first.frames[boxes] - lowest
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    common = np.flatnonzero(keys[place] == wanted) if len(keys) else np.empty(0, np.int64)
    ious = paired_box_iou(first.boxes[boxes[common]], second.boxes[place[common]], inclusive=inclusive)
    num_common = np.bincount(pairs[common], minlength=len(first_rows))
    sums = np.bincount(pairs[common], weights=ious, minlength=len(first_rows))
    means = sums / np.maximum(num_common, 1)
    return np.where(num_common > 0, means * _span_iou(first, first_rows, second, second_rows, inclusive), 0.0)


def _span_iou(
    first: TubeTable, first_rows: np.ndarray, second: TubeTable, second_rows: np.ndarray, inclusive: bool
) -> np.ndarray:
    rim = 1 if inclusive else 0
    begins, ends = first.frames[first.starts[first_rows]], first.frames[first.starts[first_rows + 1] - 1]
    others, other_ends = second.frames[second.starts[second_rows]], second.frames[second.starts[second_rows + 1] - 1]
    intersection = np.maximum(np.minimum(ends, other_ends) - np.maximum(begins, others) + rim, 0)
    union = np.maximum(ends, other_ends) - np.minimum(begins, others) + rim
    # Two tubes of the same single frame have no length without the rim; they are the same span.
    return np.divide(intersection, union, out=np.ones(len(union)), where=union > 0)
