"""The values that layers start from where several networks share them."""

import torch
from torch import nn
from transformers import initialization as init

# Normal draws are cut there, whatever their deviation.
TRUNCATION = 2.0
Norm = nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._BatchNorm


def start_norm(norm: Norm, scale: float = 1.0) -> None:
    """Let a norm scale by `scale` and shift by nothing; one of batches has seen none."""
    init.constant_(norm.weight, scale)
    init.zeros_(norm.bias)
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
        init.zeros_(norm.running_mean)
        init.ones_(norm.running_var)
        init.zeros_(norm.num_batches_tracked)


def start_truncated_normal(parameter: torch.Tensor, std: float) -> None:
    """Draw from a normal distribution cut at +-2."""
    init.trunc_normal_(parameter, std=std, a=-TRUNCATION, b=TRUNCATION)


def start_transformer_linear(layer: nn.Linear, std: float) -> None:
    """Draw weights from a cut normal distribution, and have no bias."""
    start_truncated_normal(layer.weight, std)
    if layer.bias is not None:
        init.zeros_(layer.bias)


def start_uniform(layer: nn.Module, num_inputs: int | None = None) -> None:
    """Draw weights and bias as PyTorch does by default: uniform, by the number of inputs.

    Args:
        layer: with `weight` and `bias`, or with a bias that is None.
        num_inputs: of each result; by default as of a linear layer or a convolution.
    """
    bound = (num_inputs or layer.weight[0].numel()) ** -0.5
    init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        init.uniform_(layer.bias, -bound, bound)
