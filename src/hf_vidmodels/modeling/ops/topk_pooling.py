"""Multiple-instance pooling over time: the mean of the largest entries of each class."""

import torch


def topk_mean(scores: torch.Tensor, ratio: int, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Average the `max(length // ratio, 1)` largest scores of each class along time.

    Args:
        scores: (B, T, K).
        ratio: how many snippets share one of the averaged ones.
        attention_mask: (B, T), 1 for real snippets; the length of a video is their number (T without a mask).

    Returns:
        (B, K).
    """
    longest = max(scores.shape[1] // ratio, 1)
    if attention_mask is None:
        return scores.topk(longest, dim=1).values.mean(1)
    valid = attention_mask.bool()
    counts = (valid.sum(1, keepdim=True) // ratio).clamp_min(1)
    largest = scores.masked_fill(~valid[:, :, None], float("-inf")).topk(longest, dim=1).values
    within = torch.arange(longest, device=scores.device) < counts
    return largest.masked_fill(~within[:, :, None], 0).sum(1) / counts
