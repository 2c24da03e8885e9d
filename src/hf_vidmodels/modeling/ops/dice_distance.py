"""The dice distance, in the form that MAL uses for vectors of probabilities (official code, commit 0ab9be4)."""

import torch

SMOOTHING = 0.001


def dice_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return 1 - 2 <a, b> / (|a|^2 + |b|^2 + 0.002) over the last axis of (..., N); in [0, 1] for a, b >= 0."""
    overlap = (first * second).sum(-1)
    return 1 - 2 * overlap / (first.square().sum(-1) + SMOOTHING + second.square().sum(-1) + SMOOTHING)
