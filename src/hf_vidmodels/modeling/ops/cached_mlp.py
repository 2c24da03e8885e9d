"""Two linear layers with an activation between, over many tokens, a part of them at a time.

What lies between the layers is several times as large as tokens are. For all tokens at once it is written to memory
and read again by every operation, in training by those of the gradient too; of a part it stays in a CPU's cache.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

# A CPU's cache holds so many numbers between the layers.
CACHED_ACTIVATION = 2**20

Activation = Callable[[torch.Tensor], torch.Tensor]


def exceeds_cache(tokens: torch.Tensor, width: int) -> bool:
    """Tell whether tokens (..., C) on a CPU, expanded to a width, are more than its cache holds."""
    return tokens.device.type == "cpu" and tokens[..., 0].numel() * width > CACHED_ACTIVATION


def takes_cached_mlp(tokens: torch.Tensor, expand: nn.Module, activation: nn.Module, contract: nn.Module) -> bool:
    """Tell whether `cached_mlp` computes what the three layers would.

    It does outside autocast and compiled code, for bare linear layers and an activation that learns nothing, and where
    sums of the parts' gradients are as exact as one product: not in bfloat16.
    """
    return (
        is_bare_linear(expand)
        and is_bare_linear(contract)
        and expand.bias is not None
        and contract.bias is not None
        and tokens.dtype in (torch.float32, torch.float64)
        and tokens.dtype == expand.weight.dtype == contract.weight.dtype
        and not any(True for _ in activation.parameters())
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def is_bare_linear(layer: nn.Module) -> bool:
    """Tell whether a layer is its weight and bias alone, without adapter, hook or forward pass from outside."""
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return type(layer) is nn.Linear and not any(hooks) and "forward" not in vars(layer)


def cached_mlp(tokens: torch.Tensor, expand: nn.Linear, activation: Activation, contract: nn.Linear) -> torch.Tensor:
    """Give contract(activation(expand(tokens))).

    For the gradient it keeps what the activation takes, not what it gives: it is computed again, a part at a time.

    Args:
        tokens: (B, N, C), of the dtype of the weights.
        expand: linear from C to any width, with bias.
        activation: of each number for itself, without parameters or chance.
        contract: linear from there to C', with bias.

    Returns:
        (B, N, C').
    """
    layers = expand.weight, expand.bias, contract.weight, contract.bias
    mapped = CachedMlp.apply(tokens.flatten(0, 1), *layers, activation)
    return mapped.unflatten(0, tokens.shape[:2])


class CachedMlp(torch.autograd.Function):
    """`cached_mlp` of tokens (N, C), weights (H, C) and (C', H), and biases (H,) and (C',)."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        last_weight: torch.Tensor,
        last_bias: torch.Tensor,
        activation: Activation,
    ) -> torch.Tensor:
        """Map (N, C) to (N, C')."""
        result = tokens.new_empty(len(tokens), len(last_weight))
        expanded = tokens.new_empty(len(tokens), len(weight))
        for rows in parts(len(tokens), len(weight)):
            torch.addmm(bias, tokens[rows], weight.T, out=expanded[rows])
            torch.addmm(last_bias, activation(expanded[rows]), last_weight.T, out=result[rows])
        ctx.save_for_backward(tokens, expanded, weight, last_weight)
        ctx.activation = activation
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Give the gradients of tokens, weights and biases from that of the result."""
        tokens, expanded, weight, last_weight = ctx.saved_tensors
        of_tokens, of_weight, of_bias, of_last_weight, of_last_bias, _ = ctx.needs_input_grad
        token_gradient = torch.empty_like(tokens) if of_tokens else None
        weight_gradient = torch.zeros_like(weight) if of_weight else None
        bias_gradient = weight.new_zeros(len(weight)) if of_bias else None
        last_weight_gradient = torch.zeros_like(last_weight) if of_last_weight else None
        for rows in parts(len(tokens), len(weight)):
            with torch.enable_grad():
                part = expanded[rows].detach().requires_grad_()
                activated = ctx.activation(part)
            activated.backward(upstream[rows] @ last_weight)
            part_gradient = part.grad
            # Counters of operations pass over `addmm_`.
            if of_last_weight:
                torch.addmm(last_weight_gradient, upstream[rows].T, activated.detach(), out=last_weight_gradient)
            if of_weight:
                torch.addmm(weight_gradient, part_gradient.T, tokens[rows], out=weight_gradient)
            if of_bias:
                bias_gradient += part_gradient.sum(0)
            if of_tokens:
                torch.mm(part_gradient, weight, out=token_gradient[rows])
        last_bias_gradient = upstream.sum(0) if of_last_bias else None
        return token_gradient, weight_gradient, bias_gradient, last_weight_gradient, last_bias_gradient, None


def parts(count: int, width: int) -> list[slice]:
    """Part so many tokens into rows that, expanded to a width, the cache holds."""
    size = max(CACHED_ACTIVATION // width, 1)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
