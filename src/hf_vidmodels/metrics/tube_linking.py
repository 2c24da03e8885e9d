"""Tubelets of a few frames linked to tubes through a video, as ACT does it (Kalogeiton et al., ICCV 2017, sec. 3.3).

A tubelet has K boxes in K consecutive frames, one tubelet or more for each start frame. Class by class:

1. of the tubelets of a start frame those that a better one overlaps (mean IoU over their frames) are dropped, and the
   best few kept;
2. at each start frame the tubes, best mean score first, take the best-scored tubelet among those that they overlap
   enough in the frames that both have; a tube that finds none for long ends;
3. tubelets that no tube takes begin tubes;
4. a tube's score is the mean of its tubelets', its boxes are means over the tubelets that cover a frame, frames that
   none covers are filled in between; short and weak tubes are dropped, and of those that overlap the worse.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .box_table import paired_box_iou
from .tube_table import TubeTable, paired_tube_iou


@dataclass(frozen=True)
class LinkingRules:
    """The numbers of the linking; the defaults are ACT's for UCF101-24 and JHMDB, in pixels.

    Attributes:
        tubelet_overlap: mean IoU above which the worse of two tubelets is dropped.
        tubelets_kept: so many of a class and start frame at most.
        link_overlap: least mean IoU between a tube's last tubelet and the one that it takes.
        longest_gap: a tube that finds none this many frames after its last tubelet began ends.
        lowest_score: weaker tubes are dropped.
        shortest: tubes of fewer frames are dropped.
        tube_overlap: spatio-temporal IoU above which the worse of two tubes is dropped.
        inclusive: whether both corners belong to a box, as with pixels; not with relative boxes.
    """

    tubelet_overlap: float = 0.3
    tubelets_kept: int = 10
    link_overlap: float = 0.2
    longest_gap: int = 5
    lowest_score: float = 0.01
    shortest: int = 15
    tube_overlap: float = 0.3
    inclusive: bool = True


@dataclass
class _Chain:
    """A tube while it grows: its tubelets, their scores, and the start frame of the last."""

    rows: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    last_start: int = 0

    def take(self, row: int, score: float, start: int) -> None:
        self.rows.append(row)
        self.scores.append(score)
        self.last_start = start


def link_tubelets(
    boxes: np.ndarray, scores: np.ndarray, starts: np.ndarray, rules: LinkingRules | None = None
) -> list[dict[str, Any]]:
    """Link the tubelets of one video.

    Args:
        boxes: `(M, K, 4)` xyxy of each tubelet in its K frames.
        scores: `(M, C)` of each class; tubelets with score 0 are none of the class.
        starts: `(M,)` whole numbers, the first frame of each tubelet.
        rules: the numbers; None = ACT's.

    Returns:
        Tubes as `tube_detection_map` takes them: `label`, `score`, `frames` (n,) without gaps, `boxes` (n, 4) and
        `frame_scores` (n,); by class and descending score.

    Raises:
        ValueError: shapes that do not fit.
    """
    rules = rules or LinkingRules()
    boxes, scores, starts = (np.asarray(values) for values in (boxes, scores, starts))
    if boxes.ndim != 3 or boxes.shape[2] != 4 or scores.shape[:1] != boxes.shape[:1] or scores.ndim != 2:
        raise ValueError(f"boxes must be (M, K, 4) and scores (M, C), got {boxes.shape} and {scores.shape}")
    if starts.shape != boxes.shape[:1] or (len(starts) and starts.dtype.kind not in "iu"):
        raise ValueError(f"starts must be {len(boxes)} whole numbers, got {starts.dtype} {starts.shape}")
    if not len(boxes):
        return []
    boxes, scores = boxes.astype(np.float64), scores.astype(np.float64)
    kept = np.zeros(scores.shape, dtype=bool)
    for start in np.unique(starts):
        rows = np.flatnonzero(starts == start)
        kept[rows] = _keep_tubelets(boxes[rows], scores[rows], rules)
    tubes = []
    for label in np.flatnonzero(kept.any(axis=0)).tolist():
        rows = np.flatnonzero(kept[:, label])
        chains = _chains_of_class(boxes, scores[:, label], starts, rows, rules)
        found = [_tube_of(chain, boxes, starts, label) for chain in chains]
        strong = [tube for tube in found if _is_worth_keeping(tube, rules)]
        tubes += _keep_tubes(strong, rules)
    return tubes


def _keep_tubelets(boxes: np.ndarray, scores: np.ndarray, rules: LinkingRules) -> np.ndarray:
    """Suppress tubelets (M, K, 4) of one start frame, all classes at once; gives bool (M, C)."""
    overlaps = paired_box_iou(boxes[:, None], boxes[None], inclusive=rules.inclusive).mean(axis=2)
    num_tubelets, classes = len(boxes), np.arange(scores.shape[1])
    order = np.argsort(-scores, axis=0, kind="stable")
    open_, kept = scores > 0, np.zeros(scores.shape, dtype=bool)
    counts = np.zeros(scores.shape[1], dtype=np.int64)
    for place in range(num_tubelets):
        rows = order[place]
        chosen = open_[rows, classes] & (counts < rules.tubelets_kept)
        kept[rows[chosen], classes[chosen]] = True
        counts += chosen
        suppressed = (overlaps[rows] > rules.tubelet_overlap).T & chosen
        open_ &= ~suppressed
    return kept


def _chains_of_class(
    boxes: np.ndarray, scores: np.ndarray, starts: np.ndarray, rows: np.ndarray, rules: LinkingRules
) -> list[_Chain]:
    growing: list[_Chain] = []
    ended: list[_Chain] = []
    length = boxes.shape[1]
    for start in range(int(starts[rows].min()), int(starts[rows].max()) + 1):
        pool = rows[starts[rows] == start]
        pool = pool[np.argsort(-scores[pool], kind="stable")]
        still: list[_Chain] = []
        for chain in sorted(growing, key=lambda chain: -np.mean(chain.scores)):
            gap = start - chain.last_start
            last = boxes[chain.rows[-1]]
            if gap < length:
                overlaps = paired_box_iou(last[gap:], boxes[pool, : length - gap], inclusive=rules.inclusive)
                overlaps = overlaps.mean(axis=1)
            else:
                overlaps = paired_box_iou(last[-1], boxes[pool, 0], inclusive=rules.inclusive)
            willing = np.flatnonzero(overlaps >= rules.link_overlap)
            if len(willing):
                row = int(pool[willing[0]])
                chain.take(row, float(scores[row]), start)
                pool = np.delete(pool, willing[0])
            elif gap >= rules.longest_gap:
                ended.append(chain)
                continue
            still.append(chain)
        growing = still
        for row in pool.tolist():
            chain = _Chain()
            chain.take(row, float(scores[row]), start)
            growing.append(chain)
    return ended + growing


def _tube_of(chain: _Chain, boxes: np.ndarray, starts: np.ndarray, label: int) -> dict[str, Any]:
    """Average the boxes and scores of a tube's tubelets frame by frame, and fill the frames between them."""
    length = boxes.shape[1]
    first = int(starts[chain.rows[0]])
    frames = (starts[chain.rows][:, None] - first + np.arange(length)).reshape(-1)
    counts = np.bincount(frames)
    columns = [*boxes[chain.rows].reshape(-1, 4).T, np.repeat(chain.scores, length)]
    known = np.flatnonzero(counts)
    means = [np.bincount(frames, weights=column)[known] / counts[known] for column in columns]
    filled = np.stack([np.interp(np.arange(len(counts)), known, mean) for mean in means], axis=1)
    return {
        "label": label,
        "score": float(np.mean(chain.scores)),
        "frames": first + np.arange(len(counts)),
        "boxes": filled[:, :4],
        "frame_scores": filled[:, 4],
    }


def _is_worth_keeping(tube: dict[str, Any], rules: LinkingRules) -> bool:
    return tube["score"] >= rules.lowest_score and len(tube["frames"]) >= rules.shortest


def _keep_tubes(tubes: list[dict[str, Any]], rules: LinkingRules) -> list[dict[str, Any]]:
    """Drop tubes of one class that a better one overlaps; the rest by descending score."""
    ordered = sorted(tubes, key=lambda tube: -tube["score"])
    table = TubeTable.from_mapping({"": ordered})
    kept: list[int] = []
    for row in range(len(ordered)):
        others = np.array(kept, dtype=np.int64)
        overlaps = paired_tube_iou(table, np.full(len(kept), row), table, others, inclusive=rules.inclusive)
        if not (overlaps > rules.tube_overlap).any():
            kept.append(row)
    return [ordered[row] for row in kept]


def frame_boxes(
    boxes: np.ndarray,
    scores: np.ndarray,
    starts: np.ndarray,
    *,
    lowest_score: float = 0.01,
    overlap: float = 0.3,
    inclusive: bool = True,
) -> dict[str, np.ndarray]:
    """Give the detections of single frames that tubelets of one video amount to, as ACT scores them.

    In each frame the boxes of all tubelets that cover it, and of those of a class that overlap the best-scored one.

    Args:
        boxes, scores, starts: as of `link_tubelets`.
        lowest_score: boxes with no more are left out.
        overlap: IoU above which the worse of two boxes of a class and frame is dropped.
        inclusive: whether both corners belong to a box.

    Returns:
        `frames` (N,), `boxes` (N, 4), `labels` (N,) and `scores` (N,).
    """
    import torch
    from torchvision.ops import batched_nms

    boxes, scores, starts = np.asarray(boxes, np.float64), np.asarray(scores, np.float64), np.asarray(starts)
    rows, labels = np.nonzero(scores > lowest_score)
    length = boxes.shape[1]
    corners = boxes[rows].reshape(-1, 4)
    frames = (starts[rows, None] + np.arange(length)).reshape(-1)
    values, classes = np.repeat(scores[rows, labels], length), np.repeat(labels, length)
    rim = np.array([0.0, 0.0, 1.0, 1.0]) * inclusive
    groups = (frames - frames.min(initial=0)) * max(scores.shape[1], 1) + classes
    kept = batched_nms(*(torch.from_numpy(each) for each in (corners + rim, values, groups)), overlap).numpy()
    return {"frames": frames[kept], "boxes": corners[kept], "labels": classes[kept], "scores": values[kept]}
