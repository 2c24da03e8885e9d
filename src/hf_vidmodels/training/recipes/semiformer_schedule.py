"""Learning rates of Semiformer's recipe, and which weights decay. Facts of the official code (commit 0e3b5be)."""

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine_rate(
    epoch: float, num_epochs: float, *, peak: float, warmup_epochs: float, warmup_rate: float, final_rate: float
) -> float:
    """Give the rate after so many epochs: a rise, then the rest of a half cosine over all epochs.

    Args:
        epoch: finished epochs, with their fraction.
        num_epochs: of the training.
        peak: rate that both lead to.
        warmup_epochs: length of the rise, which lies inside the cosine.
        warmup_rate: rate at its beginning.
        final_rate: rate at the end of the cosine.
    """
    if epoch < warmup_epochs:
        return warmup_rate + epoch * (peak - warmup_rate) / warmup_epochs
    return final_rate + 0.5 * (peak - final_rate) * (1 + math.cos(math.pi * epoch / num_epochs))


def official_epoch(finished: float) -> float:
    """Give the epoch whose rate the official code has: its schedule moves one epoch late, and once an epoch."""
    return max(math.floor(finished) - 1, 0)


def schedule_by_epochs(
    optimizer: Optimizer, rate_of: Callable[[float], float], steps_of_epochs: list[int], total_steps: int
) -> LambdaLR:
    """Make the schedule of an optimizer over epochs of different lengths.

    Args:
        optimizer: its groups share one rate above 0.
        rate_of: finished epochs, with their fraction, to the rate.
        steps_of_epochs: optimiser steps of each epoch.
        total_steps: that are made; where they are fewer, the epochs are squeezed into them.
    """
    ends = np.array(list(accumulate(steps_of_epochs, initial=0)))
    epochs = np.arange(len(ends))
    stretch = ends[-1] / total_steps
    peak = optimizer.param_groups[0]["lr"]
    return LambdaLR(optimizer, lambda step: rate_of(float(np.interp(step * stretch, ends, epochs))) / peak)


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Part what learns into matrices, kernels and positions, which decay, and vectors, biases and the class token."""
    groups: dict[str, list[nn.Parameter]] = {"weights": [], "others": []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            is_decayed = parameter.ndim > 1 and not name.endswith((".bias", "cls_token"))
            groups["weights" if is_decayed else "others"].append(parameter)
    return [
        {"params": groups["weights"], "name": "weights"},
        {"params": groups["others"], "name": "others", "weight_decay": 0.0},
    ]
