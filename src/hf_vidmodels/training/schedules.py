"""Optimizers and learning-rate schedules as the arguments describe them."""

import math
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import get_scheduler

from .arguments import TrainingArguments


def build_optimizer(groups: list[dict[str, Any]], args: TrainingArguments) -> Optimizer:
    """Return the optimizer that `args.optim` names over parameter groups, which may override rate and decay.

    Raises:
        ValueError: when the groups hold no parameter.
    """
    if not any(group["params"] for group in groups):
        raise ValueError("Nothing to train: no parameter of this stage requires gradients.")
    # On CPUs one pass over all values, where PyTorch's own choice makes one per operation; elsewhere that stands.
    parameters = [parameter for group in groups for parameter in group["params"]]
    is_fused = True if all(parameter.device.type == "cpu" for parameter in parameters) else None
    if args.optim == "sgd":
        return torch.optim.SGD(
            groups,
            lr=args.learning_rate,
            momentum=args.sgd_momentum,
            weight_decay=args.weight_decay,
            nesterov=args.sgd_nesterov,
            fused=is_fused,
        )
    adam = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[args.optim]
    return adam(
        groups,
        lr=args.learning_rate,
        betas=(args.adam_beta1, args.adam_beta2),
        eps=args.adam_epsilon,
        weight_decay=args.weight_decay,
        fused=is_fused,
    )


def build_scheduler(optimizer: Optimizer, args: TrainingArguments, total_steps: int) -> LRScheduler:
    """Return a schedule over `total_steps` optimiser steps, warm-up included."""
    warmup_steps = args.warmup_steps or math.ceil(args.warmup_ratio * total_steps)
    if args.lr_scheduler_type == "steps":
        return _step_schedule(optimizer, args, total_steps, warmup_steps)
    specific = {"min_lr_rate": args.min_lr_rate} if args.lr_scheduler_type == "cosine_with_min_lr" else None
    return get_scheduler(
        args.lr_scheduler_type,
        optimizer,
        num_warmup_steps=warmup_steps,
        num_training_steps=total_steps,
        scheduler_specific_kwargs=specific,
    )


def _step_schedule(optimizer: Optimizer, args: TrainingArguments, total_steps: int, warmup_steps: int) -> LRScheduler:
    """Rise linearly over the warm-up, and fall by a factor at each of the shares of `args.lr_decay_at`."""

    def share_of_peak(step: int) -> float:
        falls = sum(step >= share * total_steps for share in args.lr_decay_at)
        return min(1.0, (step + 1) / (warmup_steps + 1)) * args.lr_decay_factor**falls

    return LambdaLR(optimizer, share_of_peak)
