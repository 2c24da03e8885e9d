"""Frames made from the frames after them by a displacement, and how far they are from what they should be.

Sampling, the Charbonnier penalty, edge-aware smoothness and structural similarity are those of unsupervised optical
flow; that the lowest motion features of Yang et al. (BMVC 2021) are learned by them in this form is our
reconstruction.
"""

import torch
from torch import nn

# Constants of structural similarity for pictures in [0, 1] (Wang et al., 2004).
SSIM_CONSTANTS = (0.01**2, 0.03**2)
SSIM_WINDOW = 3
LEAST_COUNT = 1e-12


def warp(pictures: torch.Tensor, displacement: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample pictures at displaced places, bilinearly.

    Args:
        pictures: (N, C, H, W).
        displacement: (N, 2, H, W), how far (x, y) from each pixel its value is taken, in pixels.

    Returns:
        the samples (N, C, H, W), with zeros outside the picture; and (N, 1, H, W), 1 where the place lies between the
        centres of the outermost pixels, else 0.
    """
    height, width = pictures.shape[-2:]
    x = torch.arange(width, device=pictures.device, dtype=displacement.dtype) + displacement[:, 0]
    y = torch.arange(height, device=pictures.device, dtype=displacement.dtype)[:, None] + displacement[:, 1]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    sampled = nn.functional.grid_sample(pictures, grid.to(pictures.dtype), padding_mode="zeros", align_corners=False)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return sampled, inside[:, None].to(pictures.dtype)


def photometric_loss(
    pictures: torch.Tensor,
    reconstructed: torch.Tensor,
    mask: torch.Tensor,
    eps: float = 1e-3,
    ssim_weight: float = 0.0,
) -> torch.Tensor:
    """Give the mean distance of pictures, over valid pixels and channels.

    Args:
        pictures: (N, C, H, W) in [0, 1].
        reconstructed: likewise.
        mask: (N, 1, H, W), 1 where a pixel is valid, else 0.
        eps: of Charbonnier's penalty, the root of the square of the difference plus that of eps.
        ssim_weight: share of (1 - structural similarity) / 2, in [0, 1).
    """
    count = mask.sum() * pictures.shape[1] + LEAST_COUNT
    loss = (mask * (pictures - reconstructed).square().add(eps**2).sqrt()).sum() / count
    if not ssim_weight:
        return loss
    dissimilarity = (mask * (1 - structural_similarity(pictures, reconstructed)) / 2).sum() / count
    return ssim_weight * dissimilarity + (1 - ssim_weight) * loss


def structural_similarity(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Compare means, deviations and correlation around every pixel of pictures (N, C, H, W) in [0, 1]: 1 if equal."""

    def mean(values: torch.Tensor) -> torch.Tensor:
        margin = SSIM_WINDOW // 2
        return nn.functional.avg_pool2d(values, SSIM_WINDOW, 1, margin, count_include_pad=False)

    low, high = SSIM_CONSTANTS
    of_first, of_second = mean(first), mean(second)
    variances = mean(first * first) - of_first**2 + mean(second * second) - of_second**2
    covariance = mean(first * second) - of_first * of_second
    likeness = (2 * of_first * of_second + low) * (2 * covariance + high)
    return likeness / ((of_first**2 + of_second**2 + low) * (variances + high))


def smoothness_loss(displacement: torch.Tensor, pictures: torch.Tensor, edge_weight: float = 10.0) -> torch.Tensor:
    """Give how much a displacement changes from pixel to pixel, less counted where the picture does too.

    Args:
        displacement: (N, 2, H, W).
        pictures: (N, C, H, W) in [0, 1].
        edge_weight: how fast the weight falls with the mean difference of a pixel's channels to the next pixel's.

    Returns:
        sum of the means along both axes; 0 along an axis of one pixel.
    """
    total = displacement.new_zeros(())
    for axis in (-1, -2):
        if displacement.shape[axis] > 1:
            edges = pictures.diff(dim=axis).abs().mean(1, keepdim=True)
            total = total + (displacement.diff(dim=axis).abs() * (-edge_weight * edges).exp()).mean()
    return total
