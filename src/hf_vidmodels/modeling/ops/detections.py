"""From the scored boxes of clips to detections: suppression for every class of every clip in one call.

Order and thresholds of the official STEP code (59da38a).
"""

from typing import Any

import torch

from .tube_extension import keep_in_frame
from .tube_selection import pairwise_iou


def key_frame_boxes(outputs: Any, step: int, frame_size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Give boxes (B, M, 4) in the key frame, in pixels and inside it, and the probabilities (B, M, C) of a step.

    Tubes that only fill up have probability 0. A model without local branch moves no boxes: they are those that it was
    given.

    Args:
        outputs: what `StepForActionDetection` gave without labels.
        step: the step, counted from the end where negative.
        frame_size: (height, width).

    Raises:
        ValueError: there is no such step.
    """
    count = len(outputs.step_logits or ())
    if not -count <= step < count:
        raise ValueError(f"step must be one of the model's {count} steps, counted from 0, got {step}")
    tubes = outputs.step_boxes[step]
    tubes = outputs.tubes if tubes is None else tubes
    boxes = keep_in_frame(tubes[:, :, tubes.shape[2] // 2].float(), frame_size)
    return boxes, outputs.step_logits[step].float().sigmoid() * outputs.proposal_mask[..., None]


def suppress_by_class(
    boxes: torch.Tensor, scores: torch.Tensor, score_threshold: float, nms_threshold: float
) -> torch.Tensor:
    """Tell which classes are found at which boxes.

    The classes of a clip share its boxes, so overlaps are computed once for all, and every class of every clip is
    walked through at the same time: first its best box, then its second best, and so on. That is the result of
    `torchvision.ops.nms` for each, which takes ten times as long.

    Sides count both border pixels (x1 - x0 + 1), which matters for boxes of a few pixels.

    Args:
        boxes: (B, M, 4) in pixels.
        scores: (B, M, C).
        score_threshold: scores must be above it.
        nms_threshold: overlap above which the worse of two boxes of a class goes; of equal scores the later one.

    Returns:
        (B, M, C) bool.
    """
    batch, count, classes = scores.shape
    grown = torch.cat((boxes[..., :2], boxes[..., 2:] + 1), dim=-1).float()
    # A box does not suppress itself. A row for every box of every clip.
    is_near = (pairwise_iou(grown, grown) > nms_threshold) & ~torch.eye(count, dtype=torch.bool, device=boxes.device)
    is_near = is_near.flatten(0, 1)
    by_class = scores.float().transpose(1, 2).flatten(0, 1)
    values, order = by_class.sort(dim=-1, descending=True, stable=True)
    may_stay, order = (values > score_threshold).T.contiguous(), order.T.contiguous()
    row = torch.arange(batch * classes, device=boxes.device)
    of_near, of_gone = order + row // classes * count, order + row * count
    is_gone = torch.zeros_like(by_class, dtype=torch.bool)
    for rank in range(int(may_stay.any(1).sum())):
        stays = may_stay[rank] & ~is_gone.flatten().index_select(0, of_gone[rank])
        is_gone |= is_near.index_select(0, of_near[rank]) & stays[:, None]
    return ((by_class > score_threshold) & ~is_gone).unflatten(0, (batch, classes)).transpose(1, 2)


def list_detections(
    boxes: torch.Tensor, scores: torch.Tensor, found: torch.Tensor, top_k: int
) -> list[dict[str, torch.Tensor]]:
    """List what was found, clip by clip.

    Args:
        boxes: (B, M, 4).
        scores: (B, M, C).
        found: (B, M, C) bool.
        top_k: most detections of a clip, by score; with 0 or less all of them, by class and then by box.

    Returns:
        for each clip `boxes` (K, 4), `scores` (K,) and `labels` (K,) int64; equal scores by class and then by box.
    """
    clips = []
    for of_clip, score, mask in zip(boxes, scores, found, strict=True):
        label, tube = mask.T.nonzero(as_tuple=True)
        values = score[tube, label]
        if top_k > 0:
            order = values.argsort(descending=True, stable=True)[:top_k]
            label, tube, values = label[order], tube[order], values[order]
        clips.append({"boxes": of_clip[tube], "scores": values, "labels": label})
    return clips


def keep_best(scores: torch.Tensor, found: torch.Tensor, top_k: int) -> torch.Tensor:
    """Give scores (B, M, C) that are 0 where nothing is found, or where `top_k` of a clip's are higher."""
    kept = torch.where(found, scores, 0)
    if top_k <= 0 or kept[0].numel() <= top_k:
        return kept
    flat = kept.flatten(1)
    places = flat.argsort(dim=1, descending=True, stable=True)[:, :top_k]
    return torch.zeros_like(flat).scatter(1, places, flat.gather(1, places)).view_as(kept)
