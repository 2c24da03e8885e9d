"""Multiple-instance loss of a mask against a box (MAL, CVPR 2023; numbers of the official code, commit 0ab9be4).

Every row and column that crosses the box is a bag with an object in it somewhere, every other one a bag without.
"""

import torch

from .dice_distance import dice_distance


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
