"""Losses of a mask (MAL, CVPR 2023; numbers of the official code, commit 0ab9be4): against a box, and against a CRF.

`box_bag_loss` is a multiple-instance loss: every row and column that crosses the box is a bag with an object in it
somewhere, every other one a bag without. `crf_loss` trains the mask to be what a colour CRF makes of it.
"""

import torch

from .mean_field import refine_masks

SMOOTHING = 0.001


def dice_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return 1 - 2 <a, b> / (|a|^2 + |b|^2 + 0.002) over the last axis of (..., N); in [0, 1] for a, b >= 0."""
    overlap = (first * second).sum(-1)
    return 1 - 2 * overlap / (first.square().sum(-1) + SMOOTHING + second.square().sum(-1) + SMOOTHING)


def box_bag_loss(probabilities: torch.Tensor, box_mask: torch.Tensor) -> torch.Tensor:
    """Compare the greatest values of the mask's rows and columns with those of the box.

    Args:
        probabilities: (B, H, W) in [0, 1].
        box_mask: (B, H, W) in [0, 1].

    Returns:
        (B,) in [0, 2]. The gradient of each greatest value goes to one pixel.
    """
    row_distance = dice_distance(probabilities.max(2).values, box_mask.max(2).values)
    column_distance = dice_distance(probabilities.max(1).values, box_mask.max(1).values)
    return row_distance + column_distance


def crf_loss(
    probabilities: torch.Tensor,
    mean_probabilities: torch.Tensor,
    image: torch.Tensor,
    box_mask: torch.Tensor | None,
    **settings: float | int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare masks with the refinement of the mean of student and teacher.

    Args:
        probabilities: (B, H, W) in [0, 1], of the student, with gradients.
        mean_probabilities: (B, H, W) in [0, 1], where the refinement starts; gets no gradient.
        image: (B, C, H, W), normalised colours.
        box_mask: (B, H, W) in [0, 1], or None.
        settings: of `mean_field`.

    Returns:
        The dice distance, a scalar mean over the batch, and the refined masks (B, H, W) of zeros and ones.
    """
    refined = refine_masks(image, mean_probabilities.detach(), box_mask, **settings)
    return dice_distance(probabilities.flatten(1), refined.flatten(1)).mean(), refined
