"""Learning rates of STTS's two recipes, as functions of the epoch, and the groups of weights that they are for.

Rates are the numbers themselves; epochs are fractional and count from 0. Facts of the official code at commit 6ae3404:
the MViT recipe trains the scorers fast and lets the network follow slowly, the Video Swin recipe is MMAction2's.
"""

import math
from collections.abc import Callable

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

# Names of groups, in the order in which they are optimised and logged.
SCORERS, BACKBONE, CLASSIFIER = "scorers", "backbone", "classifier"
SELECTOR_MODULES = ("temporal_selectors", "spatial_selectors")


def scorer_rate(epoch: float, num_epochs: float, peak: float, final: float) -> float:
    """Rate of the scorers in the MViT recipe: a half cosine from `peak` to `final`, without warm-up."""
    return final + (peak - final) * (1 + math.cos(math.pi * epoch / num_epochs)) / 2


def following_rate(epoch: float, scorers: float, start_epoch: float, greatest: float) -> float:
    """Rate of all else in the MViT recipe: 0 before `start_epoch`, then the scorers', but at most `greatest`."""
    return 0.0 if epoch < start_epoch else min(scorers, greatest)


def stepped_cosine_rate(
    epoch: float, num_epochs: float, peak: float, warmup_epochs: float, warmup_start: float
) -> float:
    """Rate of the Video Swin recipe: a half cosine to 0 that changes once an epoch, after a linear warm-up.

    Args:
        epoch: of the coming step.
        num_epochs: of the training.
        peak: rate of epoch 0 after the warm-up.
        warmup_epochs: length of the warm-up, in which the rate changes every step.
        warmup_start: share of the epoch's rate that the warm-up begins with.
    """
    rate = peak * (1 + math.cos(math.pi * math.floor(epoch) / num_epochs)) / 2
    if epoch >= warmup_epochs:
        return rate
    return rate * (1 - (1 - epoch / warmup_epochs) * (1 - warmup_start))


def split_parameters(module: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """Part the weights of an `SttsForVideoClassification` into scorers, backbone and classifier, by name."""
    parts: dict[str, dict[str, nn.Parameter]] = {SCORERS: {}, BACKBONE: {}, CLASSIFIER: {}}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            first = name.split(".", 1)[0]
            parts[SCORERS if first in SELECTOR_MODULES else first][name] = parameter
    return parts


def is_decayed(name: str, parameter: nn.Parameter, part: str, backbone_type: str) -> bool:
    """Whether a weight decays: in MViT's recipe all of the scorers and elsewhere what has more than one dimension, in
    Video Swin's all but norms and tables of position biases.
    """
    if backbone_type == "mvit":
        return part == SCORERS or parameter.ndim > 1
    return "norm" not in name and "position_bias_table" not in name


def schedule_groups(optimizer: Optimizer, rate_of: Callable[[str, float], float], steps_per_epoch: float) -> LambdaLR:
    """Make the schedule of an optimizer whose groups carry a `name`.

    Args:
        optimizer: its groups' `lr` are the peaks, above 0.
        rate_of: (name, epoch) -> rate.
        steps_per_epoch: optimiser steps in an epoch.
    """

    def factor_of(name: str, peak: float) -> Callable[[int], float]:
        return lambda step: rate_of(name, step / steps_per_epoch) / peak

    return LambdaLR(optimizer, [factor_of(group["name"], group["lr"]) for group in optimizer.param_groups])
