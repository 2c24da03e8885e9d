"""Self-training loss of MAL: the mask shall be what a colour CRF makes of it (official code, commit 0ab9be4)."""

import torch

from .dice_distance import dice_distance
from .mean_field import refine_masks


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
