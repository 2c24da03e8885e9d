"""A video as a bag of snippets: its score from those of the snippets, and losses of weak supervision.

Losses are computed on probabilities, in float32 with the clamp of the official ASM-Loc code.
"""

import torch

SMALLEST_PROBABILITY = 1e-7


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


def soft_cross_entropy(probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean over the batch of `-sum_c target_c log(max(p_c, 1e-7))`, for (B, K) probabilities and targets."""
    return -(targets * _safe_log(probabilities)).sum(-1).mean()


def uncertain_cross_entropy(
    probabilities: torch.Tensor,
    targets: torch.Tensor,
    uncertainty: torch.Tensor,
    uncertainty_weight: float,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy of snippets, weighted by exp(-u) and charged for u (ASM-Loc, pseudo instance-level loss).

    Args:
        probabilities: (B, T, K).
        targets: (B, T, K), rows sum to 1.
        uncertainty: (B, T), unbounded.
        uncertainty_weight: beta, the price of uncertainty.
        attention_mask: (B, T), 1 for real snippets; the mean is over those.
    """
    uncertainty = uncertainty.float()
    per_snippet = -(targets * _safe_log(probabilities)).sum(-1) * torch.exp(-uncertainty)
    per_snippet = per_snippet + uncertainty_weight * uncertainty
    if attention_mask is None:
        return per_snippet.mean()
    mask = attention_mask.float()
    return (per_snippet * mask).sum() / mask.sum()


def _safe_log(probabilities: torch.Tensor) -> torch.Tensor:
    return probabilities.float().clamp_min(SMALLEST_PROBABILITY).log()
