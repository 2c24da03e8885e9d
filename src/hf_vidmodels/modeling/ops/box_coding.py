"""Differences of boxes as a network learns them: centres in units of a box's size, sizes as logarithms.

Sides count both border pixels (x1 - x0 + 1), as in Fast R-CNN (Girshick, ICCV 2015) and the official STEP code.
"""

import torch


def encode_boxes(targets: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Give what moves `boxes` to `targets`.

    Args:
        targets: (..., 4) x0, y0, x1, y1 in pixels.
        boxes: (..., 4).

    Returns:
        (..., 4) shifts of the centre in units of the sides, and logarithms of the ratios of the sides.
    """
    target_centres, target_sides = _centres_and_sides(targets)
    centres, sides = _centres_and_sides(boxes)
    return torch.cat(((target_centres - centres) / sides, (target_sides / sides).log()), dim=-1)


def decode_boxes(deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Move `boxes` (..., 4) by `deltas` (..., 4), the inverse of `encode_boxes`; nothing is clamped."""
    centres, sides = _centres_and_sides(boxes)
    moved, stretched = deltas[..., :2] * sides + centres, sides * deltas[..., 2:].exp()
    corners = moved - 0.5 * stretched
    return torch.cat((corners, corners + stretched - 1), dim=-1)


def _centres_and_sides(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2] + 1
    return boxes[..., :2] + 0.5 * sides, sides
