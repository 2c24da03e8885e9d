"""Losses of weak supervision on probabilities, computed in float32 with the clamp of the official ASM-Loc code."""

import torch

SMALLEST_PROBABILITY = 1e-7


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
