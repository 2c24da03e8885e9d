"""Scaled dot-product attention as all backbones call it: fused, or with its weights when somebody asks for them."""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention


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
        query: (B, heads, L, d).
        key: (B, heads, N, d).
        value: (B, heads, N, d).
        bias: (heads, L, N), added to the scaled products.
        dropout: rate of dropout on the weights; give 0 outside training.
        need_weights: also return the weights, which takes the unfused way.

    Returns:
        (B, heads, L, d) and the weights (B, heads, L, N) before dropout, or None.
    """
    if not need_weights:
        if bias is not None and _lacks_fused_training(query, bias, dropout):
            return LearnedBiasAttention.apply(query, key, value, bias), None
        # Fused kernels pass over a bias of three dimensions.
        mask = None if bias is None else bias[None]
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout), None
    products = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if bias is not None:
        products = products + bias
    weights = products.float().softmax(-1).to(value.dtype)
    return nn.functional.dropout(weights, dropout, training=dropout > 0) @ value, weights


class LearnedBiasAttention(torch.autograd.Function):
    """Attention whose bias is learned: fused forward, weights made again in the backward pass, one clip at a time.

    PyTorch's fused kernel for CPUs gives no gradient of the bias, so that training would keep the weights of all clips
    and heads and read them from memory several times; those of one clip (or window) stay in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Attend; shapes as in `attend`."""
        ctx.save_for_backward(query, key, value, bias)
        # The kernel is chosen by whether the bias may need a gradient, even where none is recorded.
        return scaled_dot_product_attention(query, key, value, attn_mask=bias.detach()[None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Give the gradients of query, key, value and bias from that of the result."""
        query, key, value, bias = ctx.saved_tensors
        scale = query.shape[-1] ** -0.5
        query_gradient, key_gradient, value_gradient = (torch.empty_like(part) for part in (query, key, value))
        bias_gradient = torch.zeros_like(bias)
        for index in range(len(query)):
            weights = torch.baddbmm(bias, query[index], key[index].mT, alpha=scale).softmax(-1)
            value_gradient[index] = weights.mT @ gradient[index]
            of_products = (gradient[index] @ value[index].mT).mul_(weights)
            of_products.addcmul_(weights, of_products.sum(-1, keepdim=True), value=-1)
            bias_gradient += of_products
            query_gradient[index] = (of_products @ key[index]).mul_(scale)
            key_gradient[index] = (of_products.mT @ query[index]).mul_(scale)
        return query_gradient, key_gradient, value_gradient, bias_gradient


def _lacks_fused_training(query: torch.Tensor, bias: torch.Tensor, dropout: float) -> bool:
    """Tell whether PyTorch would take the unfused way because the bias needs a gradient."""
    return (
        torch.is_grad_enabled()
        and bias.requires_grad
        and dropout == 0
        and query.device.type == "cpu"
        and query.dtype == bias.dtype
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
