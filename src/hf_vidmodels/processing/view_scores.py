"""Joining the answers of several views of one video."""

import torch

VIEW_AGGREGATIONS = ("sum", "mean", "max")


def combine_views(logits: torch.Tensor, aggregation: str, *, multi_label: bool = False) -> torch.Tensor:
    """Join the class probabilities of the views of each video.

    SlowFast and MViT sum softmax probabilities, Video Swin takes their mean, Charades the maximum of sigmoids.

    Args:
        logits: float (B, N, C), before any activation.
        aggregation: `"sum"`, `"mean"` or `"max"`.
        multi_label: whether classes are independent (sigmoid) and not exclusive (softmax).

    Returns:
        float32 (B, C), in [0, N] for sums and in [0, 1] otherwise.

    Raises:
        ValueError: another shape, or an unknown aggregation.
    """
    check_aggregation(aggregation)
    if logits.dim() != 3:
        raise ValueError(f"logits must be (videos, views, classes), got {tuple(logits.shape)}")
    probabilities = logits.float().sigmoid() if multi_label else logits.float().softmax(-1)
    if aggregation == "sum":
        return probabilities.sum(1)
    if aggregation == "mean":
        return probabilities.mean(1)
    return probabilities.amax(1)


def check_aggregation(aggregation: str) -> None:
    """Refuse an unknown way of joining views.

    Raises:
        ValueError: it is none of `VIEW_AGGREGATIONS`.
    """
    if aggregation not in VIEW_AGGREGATIONS:
        raise ValueError(f"view_aggregation must be one of {VIEW_AGGREGATIONS}, got {aggregation!r}")
