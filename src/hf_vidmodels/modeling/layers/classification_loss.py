"""The loss of classifiers: cross entropy for one class a clip, binary cross entropy for several."""

import torch
from torch import nn

MULTI_LABEL = "multi_label_classification"


def classification_loss(
    logits: torch.Tensor, labels: torch.Tensor, problem_type: str | None, num_labels: int
) -> torch.Tensor:
    """Give the mean loss of logits, in float32.

    Args:
        logits: (B, num_labels).
        labels: for one class each, class ids (B,) or target probabilities (B, num_labels), whose rows sum to 1; for
            `"multi_label_classification"` (B, num_labels) of 0 and 1, or shares between them.
        problem_type: of the configuration; None = one class each.
        num_labels: of the configuration.

    Raises:
        ValueError: labels of another shape, class ids outside the classes, or several classes a clip for a model that
            gives one. On an accelerator values are not looked at, which would stall the step.
    """
    look = labels.device.type == "cpu" and not torch.compiler.is_compiling()
    if problem_type == MULTI_LABEL:
        if labels.shape != logits.shape:
            raise ValueError(
                f"labels of a multi-label model must be 0 or 1 for each class, of shape {tuple(logits.shape)}, got "
                f"{tuple(labels.shape)}"
            )
        return nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float())
    if labels.is_floating_point():
        if labels.shape != logits.shape:
            raise ValueError(
                f"labels of floating point must be target probabilities of shape {tuple(logits.shape)}, got "
                f"{tuple(labels.shape)}"
            )
        if look and not torch.allclose(sums := labels.float().sum(-1), torch.ones(len(labels)), atol=1e-3):
            wrong = sums[(sums - 1).abs().argmax()]
            raise ValueError(
                f"target probabilities must sum to 1, got a row that sums to {wrong:.4g}; for several classes a clip "
                f"set problem_type={MULTI_LABEL!r} in the configuration"
            )
        return nn.functional.cross_entropy(logits.float(), labels.float())
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"labels must be class ids of shape ({len(logits)},) or target probabilities of shape "
            f"{tuple(logits.shape)}, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if look and len(outside := labels[(labels < 0) | (labels >= num_labels)]):
        raise ValueError(
            f"labels must be class ids 0..{num_labels - 1} for num_labels={num_labels}, got {int(outside[0])}"
        )
    return nn.functional.cross_entropy(logits.float(), labels.long())
