"""The loss of classifiers: class ids, target probabilities, or several independent classes."""

import torch
from torch import nn

# How far the sum of target probabilities may be from 1.
SUM_TOLERANCE = 1e-3


def classification_loss(logits: torch.Tensor, labels: torch.Tensor, *, multi_label: bool = False) -> torch.Tensor:
    """Give the loss of a batch, float32.

    Args:
        logits: (B, C).
        labels: class ids (B,), or floating point (B, C): target probabilities, which sum to 1, or with `multi_label`
            1 where the example has the class and 0 elsewhere.
        multi_label: whether classes are independent (binary cross entropy) and not exclusive (cross entropy).

    Raises:
        ValueError: for labels of another shape, class ids out of range, and rows that do not sum to 1. Values are
            looked at on the CPU only: on an accelerator that would stall the step, and there an assertion of the
            device speaks.
    """
    if multi_label:
        return _independent(logits, labels)
    if labels.is_floating_point():
        return _exclusive(logits, labels)
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"labels must be class ids of shape ({len(logits)},) or target probabilities of shape "
            f"{tuple(logits.shape)}, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        count = logits.shape[1]
        outside = labels[(labels < 0) | (labels >= count)]
        if len(outside):
            raise ValueError(f"labels must be class ids 0..{count - 1} for num_labels={count}, got {int(outside[0])}")
    return nn.functional.cross_entropy(logits.float(), labels.long())


def _exclusive(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if labels.shape != logits.shape:
        raise ValueError(
            f"labels of floating point must be target probabilities of shape {tuple(logits.shape)}, got "
            f"{tuple(labels.shape)}"
        )
    if not torch.compiler.is_compiling():
        sums = labels.float().sum(-1)
        is_wrong = (sums - 1).abs() > SUM_TOLERANCE
        if labels.device.type == "cuda":
            torch._assert_async(~is_wrong.any())
        elif labels.device.type == "cpu" and is_wrong.any():
            raise ValueError(
                f"target probabilities must sum to 1 for each example, got a sum of {float(sums[is_wrong][0]):g}; for "
                "examples of several classes set problem_type='multi_label_classification'"
            )
    return nn.functional.cross_entropy(logits.float(), labels.float())


def _independent(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if labels.shape != logits.shape:
        raise ValueError(
            f"labels of a model with problem_type 'multi_label_classification' must be 0 or 1 for each class: shape "
            f"{tuple(logits.shape)}, got {tuple(labels.shape)}"
        )
    return nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float())
