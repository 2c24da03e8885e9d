"""The three losses of a progressive step (STEP, section 3.3; official code 59da38a), as means over masked rows."""

import torch
from torch import nn

from .box_coding import encode_boxes


def class_loss(logits: torch.Tensor, targets: torch.Tensor, is_used: torch.Tensor) -> torch.Tensor:
    """Give the binary cross entropy over the used tubes and all classes.

    Args:
        logits: (..., C).
        targets: (..., C) of 0 and 1; all 0 of negatives.
        is_used: (...) bool.
    """
    losses = nn.functional.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="none")
    return masked_mean(losses, is_used)


def box_loss(
    deltas: torch.Tensor, targets: torch.Tensor, boxes: torch.Tensor, is_learned: torch.Tensor
) -> torch.Tensor:
    """Give the smooth L1 distance of deltas to those that lead to the target boxes.

    Args:
        deltas: (..., 4) as the network gives them.
        targets: (..., 4) boxes in pixels.
        boxes: (..., 4) boxes that are moved, in pixels.
        is_learned: (...) bool; other rows may hold anything.
    """
    # What is not learned has targets without size, whose logarithm would spoil the gradients of the others.
    wanted = encode_boxes(torch.where(is_learned[..., None], targets, boxes), boxes)
    losses = nn.functional.smooth_l1_loss(deltas, wanted, reduction="none")
    return masked_mean(losses, is_learned)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Give the mean of (..., K) over the rows where `mask` (...) is true, 0 where there are none."""
    chosen = torch.where(mask[..., None], values, 0).sum()
    return chosen / (mask.sum() * values.shape[-1]).clamp_min(1)
