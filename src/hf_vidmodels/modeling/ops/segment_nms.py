"""Hard and soft non-maximum suppression (NMS) of temporal segments.

`segment_nms` is the hard suppression of ASM-Loc (CVPR 2022) and of most localisation code, with plain lengths or with
the pixel convention that counts one unit more. `soft_segment_nms` follows the one-dimensional operator of OpenTAD and
ActionFormer, where an overlap lowers a score instead of removing the segment (Bodla et al., "Soft-NMS", ICCV 2017).
"""

import math
from typing import NamedTuple

import torch
from torchvision.ops import nms

from .segments import check_segments, temporal_intersection, temporal_iou

SOFT_NMS_METHODS = ("hard", "suppress", "linear", "gaussian", "length_gaussian")
THRESHOLD_METHODS = ("hard", "suppress", "linear")

# The operator adds this to every length (not to intersections), so that no union is zero.
LENGTH_EPSILON = 1e-6


class SoftNmsResult(NamedTuple):
    """What `soft_segment_nms` keeps, video by video, by descending score inside a video.

    Attributes:
        indices: `(K,)` int64 rows of the input.
        segments: `(K, 2)` float32, `[start, end]`; those of the input, or their votes.
        scores: `(K,)` float32 lowered scores.
    """

    indices: torch.Tensor
    segments: torch.Tensor
    scores: torch.Tensor


def segment_nms(
    segments: torch.Tensor,
    scores: torch.Tensor,
    iou_threshold: float,
    *,
    labels: torch.Tensor | None = None,
    length_offset: float = 0.0,
) -> torch.Tensor:
    """Keep the best-scored segments and drop those that overlap a kept one by tIoU >= `iou_threshold`.

    The comparison includes equality (torchvision's own NMS drops only above the threshold). All labels are handled in
    one call; the cost grows with the total number of segments times the number kept.

    Args:
        segments: `(N, 2)` `[start, end]`, `end >= start`.
        scores: `(N,)` finite, of any sign.
        iou_threshold: in (0, 1].
        labels: `(N,)` integers; segments of different labels never suppress each other. `None`: all may. To treat
            many videos in one call, number the (video, class) pairs.
        length_offset: added to lengths and intersections before the ratio. 0 for plain lengths; 1 for the pixel
            convention, which ASM-Loc applies to seconds, so that segments up to 1 s apart still overlap.

    Returns:
        `(K,)` int64 kept rows by descending score, among equal scores the later row first, as in an ascending sort
        read backwards.

    Raises:
        ValueError: for shapes that do not fit, inverted segments, scores that are not finite, or a threshold or an
            offset out of range.
    """
    _check_scored_segments(segments, scores)
    _check_groups(labels, "labels", len(segments))
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be in (0, 1], got {iou_threshold}")
    if not length_offset >= 0:
        raise ValueError(f"length_offset must be 0 or more, got {length_offset}")
    # Boxes of height 1 have the IoU of their segments; labels lie on heights that do not touch.
    start, end = segments.double().unbind(dim=1)
    bottom = torch.zeros_like(start) if labels is None else 2 * labels.double()
    boxes = torch.stack([start, bottom, end + length_offset, bottom + 1], dim=1)
    # The sort in torchvision is stable: reversed rows put the later of two equal scores first.
    kept = nms(boxes.flip(0), scores.double().flip(0), math.nextafter(iou_threshold, 0.0))
    return len(segments) - 1 - kept


def soft_segment_nms(
    segments: torch.Tensor,
    scores: torch.Tensor,
    *,
    method: str = "gaussian",
    iou_threshold: float | None = None,
    sigma: float = 0.5,
    min_overlap: float = 0.0,
    min_overlap_per_length: float = 0.0,
    min_score: float = 0.001,
    max_segments: int = 200,
    labels: torch.Tensor | None = None,
    batch_index: torch.Tensor | None = None,
    voting_threshold: float = 0.0,
) -> SoftNmsResult:
    """Select segments by descending score, lowering the scores of those that overlap a selected one.

    In turn the segment with the highest remaining score is selected (among equal scores the earlier one) and the
    scores of the others are multiplied by a factor of their overlap o with it:

    - `"suppress"` (0 in OpenTAD): 0 if o >= `iou_threshold`;
    - `"linear"` (1): 1 - o if o >= `iou_threshold`;
    - `"gaussian"` (2): exp(-o^2 / `sigma`);
    - `"length_gaussian"` (3): the same, if o >= `min_overlap` + `min_overlap_per_length` * length of the selected;
    - `"hard"`: a segment with o >= `iou_threshold` is removed, and one whose own score is not above `min_score` never
      enters.

    After each selection, segments whose score fell under `min_score` are dropped (not for `"hard"`); the first one
    selected is never tested. Videos and classes are rows of one padded overlap tensor, so that the only loop is the
    one over selections; it takes memory rows * (longest row)^2. Everything is computed in float32.

    Args:
        segments: `(N, 2)` `[start, end]`, `end >= start`.
        scores: `(N,)` finite and not negative, because they are multiplied.
        method: one of `SOFT_NMS_METHODS`.
        iou_threshold: in [0, 1]; needed by `"hard"`, `"suppress"` and `"linear"`, not used by the others.
        sigma: width of the Gaussian, positive.
        min_overlap: overlap from which `"length_gaussian"` lowers a score.
        min_overlap_per_length: growth of that overlap per unit of the selected segment's length.
        min_score: see above.
        max_segments: most segments kept per class and per video.
        labels: `(N,)` integer classes, which do not touch each other's scores. `None`: one class.
        batch_index: `(N,)` integer number of the video of each segment. `None`: one video.
        voting_threshold: above 0, every kept segment becomes the mean of all input segments of its video whose plain
            tIoU with it is at least this, weighted by their original scores. Only without `labels`.

    Returns:
        Kept rows, segments and lowered scores, by ascending `batch_index` and in it by descending score.

    Raises:
        ValueError: for shapes that do not fit, inverted segments, negative or non-finite scores, an unknown method, a
            value out of range, or voting together with labels.
    """
    _check_scored_segments(segments, scores)
    _check_groups(labels, "labels", len(segments))
    _check_groups(batch_index, "batch_index", len(segments))
    _check_soft_settings(method, iou_threshold, sigma, max_segments)
    if (scores < 0).any():
        raise ValueError("scores must not be negative, because soft-NMS multiplies them; got a negative score")
    if voting_threshold > 0 and labels is not None:
        raise ValueError("voting_threshold needs one class per video: pass labels=None or voting_threshold=0")

    segments, scores = segments.float(), scores.float()
    one_group = torch.zeros(len(segments), dtype=torch.int64, device=segments.device)
    videos = one_group if batch_index is None else batch_index
    if len(segments) == 0:
        return SoftNmsResult(one_group, segments, scores)
    members, occupied = _padded_rows(videos, one_group if labels is None else labels)
    row_segments, row_scores = segments[members], scores[members]

    factors = _decay_factors(row_segments, method, iou_threshold, sigma, min_overlap, min_overlap_per_length)
    selected, selected_scores, valid = _select_by_rank(
        row_scores, occupied, factors, min_score, max_segments, hard=method == "hard"
    )
    kept = members.gather(1, selected)
    kept_segments = segments[kept]
    if voting_threshold > 0:
        kept_segments = _vote(kept_segments, row_segments, row_scores * occupied, voting_threshold)
    result = SoftNmsResult(kept[valid], kept_segments[valid], selected_scores[valid])
    return _best_of_each_video(result, videos, max_segments)


def _check_scored_segments(segments: torch.Tensor, scores: torch.Tensor) -> None:
    check_segments(segments)
    if scores.shape != segments.shape[:1]:
        raise ValueError(f"scores must have shape ({len(segments)},) as segments have rows, got {tuple(scores.shape)}")
    if not torch.isfinite(scores).all():
        raise ValueError("scores must be finite, got NaN or infinity")


def _check_groups(groups: torch.Tensor | None, name: str, count: int) -> None:
    if groups is None:
        return
    if groups.shape != (count,):
        raise ValueError(f"{name} must have shape ({count},) as segments have rows, got {tuple(groups.shape)}")
    if groups.is_floating_point() or groups.is_complex():
        raise ValueError(f"{name} must be integers, got {groups.dtype}")


def _check_soft_settings(method: str, iou_threshold: float | None, sigma: float, max_segments: int) -> None:
    if method not in SOFT_NMS_METHODS:
        raise ValueError(f"method must be one of {', '.join(SOFT_NMS_METHODS)}, got {method!r}")
    if method in THRESHOLD_METHODS and (iou_threshold is None or not 0 <= iou_threshold <= 1):
        raise ValueError(f"method {method!r} needs an iou_threshold in [0, 1], got {iou_threshold}")
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    if max_segments < 1:
        raise ValueError(f"max_segments must be at least 1, got {max_segments}")


def _padded_rows(videos: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of each (video, label) group as a row `(R, W)`, in input order, and which places are occupied."""
    _, row, row_lengths = torch.stack([videos, labels], dim=1).unique(dim=0, return_inverse=True, return_counts=True)
    order = row.argsort(stable=True)
    row_starts = row_lengths.cumsum(0) - row_lengths
    place = torch.arange(len(order), device=order.device) - row_starts[row[order]]
    members = order.new_zeros(len(row_lengths), int(row_lengths.max()))
    members[row[order], place] = order
    occupied = torch.arange(members.shape[1], device=order.device) < row_lengths[:, None]
    return members, occupied


def _decay_factors(
    segments: torch.Tensor,
    method: str,
    iou_threshold: float | None,
    sigma: float,
    min_overlap: float,
    min_overlap_per_length: float,
) -> torch.Tensor:
    """What the score of segment j is multiplied by once i is selected, at `[row, i, j]`; `(R, W, W)`."""
    lengths = segments[..., 1] - segments[..., 0] + LENGTH_EPSILON
    intersection = temporal_intersection(segments, segments)
    overlap = intersection / (lengths[..., :, None] + lengths[..., None, :] - intersection)
    if method == "gaussian":
        return torch.exp(-overlap.square() / sigma)
    if method == "length_gaussian":
        touched = overlap >= min_overlap + min_overlap_per_length * lengths[..., :, None]
        return torch.where(touched, torch.exp(-overlap.square() / sigma), 1)
    lowered = 1 - overlap if method == "linear" else torch.zeros_like(overlap)
    return torch.where(overlap >= iou_threshold, lowered, 1)


def _select_by_rank(
    scores: torch.Tensor,
    occupied: torch.Tensor,
    factors: torch.Tensor,
    min_score: float,
    max_segments: int,
    *,
    hard: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run all rows' selections side by side.

    Returns:
        Selected places, their scores and whether the row still had a segment, each `(R, ranks)`.
    """
    alive = occupied & (scores > min_score) if hard else occupied
    rows = torch.arange(len(scores), device=scores.device)
    ranks = []
    for _ in range(min(scores.shape[1], max_segments)):
        best_scores, best = scores.masked_fill(~alive, -torch.inf).max(dim=1)
        has_any = alive[rows, best]
        if not has_any.any():
            break
        ranks.append((best, best_scores, has_any))
        factor = factors[rows, best]
        scores = scores * factor
        alive = alive & (factor > 0 if hard else scores >= min_score)
        alive[rows, best] = False
    if not ranks:
        empty = scores[:, :0]
        return empty.long(), empty, empty.bool()
    selected, selected_scores, valid = (torch.stack(column, dim=1) for column in zip(*ranks, strict=True))
    return selected, selected_scores, valid


def _vote(
    kept: torch.Tensor, candidates: torch.Tensor, candidate_scores: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Move each kept segment `(R, K, 2)` to the score-weighted mean of the candidates `(R, W, 2)` that overlap it."""
    weights = torch.where(temporal_iou(kept, candidates) >= threshold, candidate_scores[:, None, :], 0)
    total = weights.sum(dim=-1, keepdim=True)
    # A segment of length zero overlaps nothing, not even itself: it stays where it is.
    return torch.where(total > 0, weights @ candidates / torch.where(total > 0, total, 1), kept)


def _best_of_each_video(result: SoftNmsResult, videos: torch.Tensor, max_segments: int) -> SoftNmsResult:
    order = result.scores.argsort(descending=True, stable=True)
    order = order[videos[result.indices[order]].argsort(stable=True)]
    _, lengths = videos[result.indices[order]].unique_consecutive(return_counts=True)
    starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    rank = torch.arange(len(order), device=order.device) - starts
    order = order[rank < max_segments]
    return SoftNmsResult(result.indices[order], result.segments[order], result.scores[order])
