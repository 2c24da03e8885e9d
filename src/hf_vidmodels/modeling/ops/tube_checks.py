"""The doors of a tube detector: what proposals and labels must be like.

Values are looked at on the CPU alone: on an accelerator that would stall the step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def check_proposals(
    proposals: torch.Tensor, mask: torch.Tensor | None, batch: int, length: int, frame_size: tuple[int, int]
) -> None:
    """Refuse proposals of another shape, or that are no boxes inside the frame.

    Args:
        proposals: (B, M, 4) or (B, M, length, 4) x0, y0, x1, y1 in pixels.
        mask: (B, M) bool, rows that do not only fill up, or None.
        batch: B.
        length: feature frames of the first step.
        frame_size: (height, width).

    Raises:
        ValueError: names the first box that is wrong.
    """
    shape = tuple(proposals.shape)
    if len(shape) not in (3, 4) or shape[0] != batch or shape[-1] != 4 or (len(shape) == 4 and shape[2] != length):
        raise ValueError(
            f"proposals must be ({batch}, M, 4) or ({batch}, M, {length}, 4) in pixels, got shape {shape}"
        )
    if not shape[1]:
        raise ValueError("proposals hold no box: give one for each clip at least, or leave them out for the cuboids")
    if mask is not None and tuple(mask.shape) != shape[:2]:
        raise ValueError(f"proposal_mask must be {shape[:2]} as the proposals, got {tuple(mask.shape)}")
    if not _may_look(proposals):
        return
    height, width = frame_size
    used = torch.ones(shape[:2], dtype=torch.bool) if mask is None else mask.bool()
    is_box = proposals.isfinite().all(-1) & (proposals[..., :2] < proposals[..., 2:]).all(-1)
    is_inside = (proposals[..., :2] >= 0).all(-1) & (proposals[..., 2] <= width) & (proposals[..., 3] <= height)
    is_good = (is_box & is_inside).reshape(*shape[:2], -1).all(-1)
    if (used & ~is_good).any():
        clip, number = (int(index) for index in (used & ~is_good).nonzero()[0])
        raise ValueError(
            f"proposal {number} of clip {clip} must be x0 < x1 and y0 < y1 in pixels inside the frame of "
            f"{width}x{height} (width x height), got {proposals[clip, number].reshape(-1, 4)[0].tolist()}"
        )
    if used.any() and proposals[used].max() <= 1:
        raise ValueError(
            "proposals must be in pixels of the frames, but all of them lie in [0, 1]: multiply them by width and "
            "height"
        )


def checked_film_proposals(
    proposals: Sequence[Any] | None, times: np.ndarray, *, needs_boxes: bool
) -> list[torch.Tensor] | None:
    """Give the proposals of a film as tensors (m, 4) of its key times, or None.

    Args:
        proposals: for each key time boxes (m, 4) relative to the frame.
        times: (K,) key times in seconds.
        needs_boxes: whether there must be some.

    Raises:
        ValueError: they are missing, not one set for each key time, or no boxes inside [0, 1].
    """
    if proposals is None:
        if needs_boxes:
            raise ValueError(
                "this model says what people in given boxes do and finds none itself: give proposals, the boxes of "
                "people at each key time"
            )
        return None
    if len(proposals) != len(times):
        raise ValueError(f"proposals must be given for each of {len(times)} key times, got {len(proposals)}")
    checked = []
    for time, of_time in zip(times.tolist(), proposals, strict=True):
        boxes = torch.as_tensor(np.asarray(of_time, dtype=np.float32)).reshape(-1, 4)
        wrong = ~(((boxes >= 0) & (boxes <= 1)).all(-1) & (boxes[:, :2] < boxes[:, 2:]).all(-1))
        if wrong.any():
            raise ValueError(
                f"the proposals at {time:g} s must be x0 < x1 and y0 < y1 relative to the frame, in [0, 1], got "
                f"{boxes[wrong][0].tolist()}; divide pixels by width and height"
            )
        checked.append(boxes)
    return checked


def pad_proposals(boxes: Sequence[torch.Tensor], sides: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Join relative boxes (m, 4) of B clips.

    Args:
        boxes: of each clip.
        sides: (4,) width, height, width, height in pixels.

    Returns:
        (B, M, 4) in pixels, where whole frames fill up, at least one each; and (B, M) bool, which do not.
    """
    count = max(1, *map(len, boxes))
    padded = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(len(boxes), count, 1)
    for row, of_clip in enumerate(boxes):
        padded[row, : len(of_clip)] = of_clip
    mask = torch.arange(count) < torch.tensor([[len(of_clip)] for of_clip in boxes])
    return padded.to(sides.device) * sides, mask.to(sides.device)


def check_labels(
    labels: torch.Tensor, box_labels: torch.Tensor | None, batch: int, num_labels: int, num_chunks: int
) -> None:
    """Refuse labels of another shape, labels without boxes, and boxes that are not in pixels.

    Args:
        labels: (B, n, num_labels).
        box_labels: (B, n, num_chunks, 4).
        batch: B.
        num_labels: classes of the model.
        num_chunks: chunks of its clips.

    Raises:
        ValueError: says what was expected.
    """
    if box_labels is None:
        raise ValueError("labels come with box_labels, which say where the people are, got labels alone")
    people = labels.shape[1] if labels.ndim == 3 else "n"
    for name, given, wanted in (
        ("labels", labels, (batch, people, num_labels)),
        ("box_labels", box_labels, (batch, people, num_chunks, 4)),
    ):
        if tuple(given.shape) != wanted:
            raise ValueError(
                f"{name} must be ({', '.join(map(str, wanted))}) for {batch} clips, {num_labels} classes and "
                f"{num_chunks} chunks, got shape {tuple(given.shape)}"
            )
    if _may_look(box_labels) and 0 < box_labels.max() <= 1:
        raise ValueError(
            "box_labels must be in pixels of the frames, but all of them lie in [0, 1]: multiply them by width and "
            "height"
        )


def _may_look(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.numel() > 0 and not torch.compiler.is_compiling()
