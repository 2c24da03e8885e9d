"""The loss of one or several heads on labelled pictures and on pictures with pseudo-labels: Semiformer's, which with
one head is that of FixMatch.
"""

from collections.abc import Sequence

import torch
from torch import nn

# Pictures with such a label count for nothing.
IGNORED_LABELS = (-1, -100)


def labelled_losses(
    heads: Sequence[torch.Tensor], labels: torch.Tensor, label_smoothing: float = 0.0
) -> list[torch.Tensor]:
    """Give the loss of every head on labelled pictures, each divided by their number, so that their sum is a mean.

    Args:
        heads: logits (B, C) of each head.
        labels: (B,) class ids, those of `IGNORED_LABELS` count for nothing; or (B, C) target probabilities.
        label_smoothing: share of a target that is spread over all classes.

    Returns:
        float32 of shape `()` each; 0 when no picture counts.

    Raises:
        ValueError: for labels of another shape or out of range; values are looked at on the CPU only, as on an
            accelerator that would stall the step.
    """
    _check_labels(labels, heads[0])
    if labels.is_floating_point():
        losses = [nn.functional.cross_entropy(head.float(), labels, label_smoothing=label_smoothing) for head in heads]
        return [loss / len(heads) for loss in losses]
    counts = (labels >= 0).float()
    total = counts.sum().clamp(min=1)
    return [
        (_cross_entropies(head, labels.clamp(min=0), label_smoothing) * counts).sum() / total / len(heads)
        for head in heads
    ]


def unlabelled_losses(
    heads: Sequence[torch.Tensor], labels: torch.Tensor, weights: torch.Tensor, label_smoothing: float = 0.0
) -> list[torch.Tensor]:
    """Give the loss of every head on pictures with pseudo-labels, each divided by their number.

    The mean is over all pictures, those of weight 0 included.

    Args:
        heads: logits (B, C) of each head.
        labels: (B,) class ids.
        weights: (B,).
        label_smoothing: share of a target that is spread over all classes.

    Returns:
        float32 of shape `()` each.
    """
    return [(_cross_entropies(head, labels, label_smoothing) * weights).mean() / len(heads) for head in heads]


def _cross_entropies(logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    return nn.functional.cross_entropy(
        logits.float(), labels.long(), reduction="none", label_smoothing=label_smoothing
    )


def _check_labels(labels: torch.Tensor, logits: torch.Tensor) -> None:
    expected = logits.shape if labels.is_floating_point() else logits.shape[:1]
    if labels.shape != expected:
        raise ValueError(
            f"labels must be class ids of shape ({len(logits)},) or target probabilities of shape "
            f"{tuple(logits.shape)}, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    count = logits.shape[1]
    outside = [label for label in labels.tolist() if not 0 <= label < count and label not in IGNORED_LABELS]
    if outside:
        raise ValueError(
            f"labels must be class ids 0..{count - 1} for num_labels={count}, or -1 or -100 for pictures that do not "
            f"count, got {outside[0]}"
        )
