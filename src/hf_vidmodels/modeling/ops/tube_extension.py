"""Tubes that become longer in time, and boxes that stay in the frame (STEP, section 3.2; official code 59da38a)."""

import torch

# A box with sides of no more than these pixels has lost its person.
LEAST_SIDE = 2


def extend_by_boxes(tubes: torch.Tensor, previous: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """Put the predicted boxes (N, T, 4) of the chunks before and after around tubes (N, T_s, 4)."""
    return torch.cat((previous, tubes, following), dim=1)


def extend_by_mean(tubes: torch.Tensor, chunk_length: int) -> torch.Tensor:
    """Repeat the mean box of tubes (N, T_s, 4) for a chunk on either side."""
    mean = tubes.mean(1, keepdim=True).expand(-1, chunk_length, -1)
    return torch.cat((mean, tubes, mean), dim=1)


def extend_linearly(tubes: torch.Tensor, chunk_length: int, image_size: tuple[int, int]) -> torch.Tensor:
    """Go on along the line through two frames that are a chunk apart, on either side of tubes.

    Args:
        tubes: (N, T_s, 4) in pixels, T_s at least `chunk_length`.
        chunk_length: T, frames that are added on either side, at least 2.
        image_size: (height, width) that the boxes are cut to, up to the last pixel.

    Returns:
        (N, T_s + 2 T, 4).
    """
    frames = list(tubes.unbind(1))
    for _ in range(chunk_length):
        frames.append((chunk_length * frames[-1] - frames[-chunk_length]) / (chunk_length - 1))
    for _ in range(chunk_length):
        frames.insert(0, (chunk_length * frames[0] - frames[chunk_length - 1]) / (chunk_length - 1))
    height, width = image_size
    x0, y0, x1, y1 = torch.stack(frames, dim=1).unbind(-1)
    return torch.stack((x0.clamp_min(0), y0.clamp_min(0), x1.clamp_max(width - 1), y1.clamp_max(height - 1)), dim=-1)


def keep_in_frame(boxes: torch.Tensor, image_size: tuple[int, int]) -> torch.Tensor:
    """Cut boxes at the frame; those of which next to nothing is left, or that are no numbers, become the whole frame.

    Args:
        boxes: (..., 4) x0, y0, x1, y1 in pixels.
        image_size: (height, width).

    Returns:
        (..., 4).
    """
    height, width = image_size
    x0, y0, x1, y1 = boxes.unbind(-1)
    x0, y0, x1, y1 = x0.clamp_min(0), y0.clamp_min(0), x1.clamp_max(width), y1.clamp_max(height)
    is_left = (x0 < x1 - LEAST_SIDE) & (y0 < y1 - LEAST_SIDE)
    pairs = ((x0, 0), (y0, 0), (x1, width), (y1, height))
    return torch.stack([torch.where(is_left, side, whole) for side, whole in pairs], dim=-1)
