"""Scaled dot-product attention as all backbones call it: fused, or with its weights when somebody asks for them."""

import torch
from torch import nn


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Mix values by softmax(query key^T / sqrt(d) + bias).

    Args:
        query: (..., heads, L, d).
        key: (..., heads, N, d).
        value: (..., heads, N, d).
        bias: added to the scaled products, broadcast to (..., heads, L, N).
        dropout: rate of dropout on the weights; give 0 outside training.
        need_weights: also return the weights, which takes the unfused way.

    Returns:
        (..., heads, L, d) and the weights (..., heads, L, N) before dropout, or None.
    """
    if not need_weights:
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return mixed, None
    products = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if bias is not None:
        products = products + bias
    weights = products.float().softmax(-1).to(value.dtype)
    return nn.functional.dropout(weights, dropout, training=dropout > 0) @ value, weights
