"""Asking a video classifier about all views of a video, whether it looks at each by itself or at the clips of a video
together.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel


def sees_whole_videos(model: PreTrainedModel) -> bool:
    """Whether the model takes several clips of a video (B, N, T, 3, H, W) and answers for each, as `clip_logits`."""
    return getattr(model, "sees_whole_videos", False)


def logits_of_views(
    model: PreTrainedModel,
    views: torch.Tensor,
    num_crops: int,
    batch_size: int,
    options: Mapping[str, Any] | None = None,
) -> torch.Tensor:
    """Classify all views of some videos.

    A model that sees whole videos gets the views of one crop of one video together, and never those of two.

    Args:
        model: in evaluation mode, on its device.
        views: (V, N, T, 3, H, W), the crops of a view side by side in N.
        num_crops: crops of each view.
        batch_size: clips in one forward pass; a video's views of one crop are never parted.
        options: further arguments of the model's forward pass.

    Returns:
        (V, N, num_labels) on the model's device.
    """
    options = options or {}
    num_videos, num_views = views.shape[:2]
    if not sees_whole_videos(model):
        parts = views.flatten(0, 1).split(batch_size)
        logits = torch.cat([model(part.to(model.device), **options).logits for part in parts])
        return logits.unflatten(0, (num_videos, num_views))
    by_crop = views.unflatten(1, (-1, num_crops)).transpose(1, 2).flatten(0, 1)
    parts = by_crop.split(max(batch_size // by_crop.shape[1], 1))
    logits = torch.cat([model(part.to(model.device), **options).clip_logits for part in parts])
    return logits.unflatten(0, (num_videos, num_crops)).transpose(1, 2).flatten(1, 2)
