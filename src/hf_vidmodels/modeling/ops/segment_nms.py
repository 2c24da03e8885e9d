"""Non-maximum suppression (NMS) of temporal segments, as ASM-Loc (CVPR 2022) and most localisation code have it.

Lengths are plain, or by the pixel convention that counts one unit more.
"""

import math

import torch
from torchvision.ops import nms


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
    if segments.ndim != 2 or segments.shape[1] != 2:
        raise ValueError(f"segments must have shape (N, 2) with [start, end] rows, got {tuple(segments.shape)}")
    wrong = ~torch.isfinite(segments).all(dim=1) | (segments[:, 1] < segments[:, 0])
    if wrong.any():
        index = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"segments must be finite with end >= start, got {segments[index].tolist()} at row {index}; drop such rows"
        )
    if scores.shape != segments.shape[:1]:
        raise ValueError(f"scores must have shape ({len(segments)},) as segments have rows, got {tuple(scores.shape)}")
    if not torch.isfinite(scores).all():
        raise ValueError("scores must be finite, got NaN or infinity")
    if labels is not None and (labels.shape != (len(segments),) or labels.is_floating_point() or labels.is_complex()):
        raise ValueError(
            f"labels must be integers of shape ({len(segments)},) as segments have rows, got {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )
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
