"""What evaluations of classifiers of pictures and videos share: labels, metrics and the answers' form."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedConfig

from ..data.arrow_columns import arrow_column
from ..metrics.classification_accuracy import mean_class_accuracy, topk_accuracy
from ..metrics.multi_label_classification import mean_average_precision

if TYPE_CHECKING:
    from datasets import Dataset

TOP_KS = (1, 5)


def is_multi_label(config: PreTrainedConfig) -> bool:
    """Say whether a classifier's classes are independent, so that an example may have several."""
    return config.problem_type == "multi_label_classification"


def class_probabilities(logits: torch.Tensor, config: PreTrainedConfig) -> torch.Tensor:
    """Turn logits (..., C) into float32 probabilities: of independent classes, or of exclusive ones."""
    return logits.float().sigmoid() if is_multi_label(config) else logits.float().softmax(-1)


def require_labels(dataset: "Dataset", split: str, *, multi_label: bool = False) -> None:
    """Refuse examples without a class, and labels of another kind than the model's.

    Args:
        dataset: a split with the column `label`.
        split: its name, for the error.
        multi_label: whether every example has a list of classes, or exactly one.

    Raises:
        ValueError: there are such.
    """
    examples = "pictures" if "image" in dataset.features else "videos"
    if multi_label == hasattr(dataset.features["label"], "num_classes"):
        raise ValueError(
            f"the {examples} of split {split!r} have one class each, but the model has problem_type "
            "multi_label_classification and needs lists of classes"
            if multi_label
            else f"the {examples} of split {split!r} have lists of labels, but accuracy needs one class for each; a "
            "model with problem_type multi_label_classification takes lists"
        )
    labels = arrow_column(dataset, "label")
    if labels.null_count:
        raise ValueError(
            f"{labels.null_count} of {len(dataset)} {examples} of split {split!r} have no label: leave them "
            "out or name their class"
        )


def class_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Measure the answers of a classifier; the first metric is the one to choose a model by.

    Args:
        scores: (N, C), higher is likelier.
        labels: (N,) class ids, or (N, C) multi-hot where examples have several classes.

    Returns:
        `top1_accuracy`, `top5_accuracy` (with more than 5 classes) and `mean_class_accuracy`, or for multi-hot labels
        `mAP`.
    """
    if labels.ndim == 2:
        return {"mAP": mean_average_precision(scores, labels)}
    num_classes = scores.shape[1]
    # All examples are among the five best of five classes.
    accuracies = {f"top{k}_accuracy": topk_accuracy(scores, labels, k) for k in TOP_KS if k < num_classes or k == 1}
    return {**accuracies, "mean_class_accuracy": mean_class_accuracy(scores, labels)}


def best_classes(scores: np.ndarray, id2label: Mapping[int, str]) -> list[dict[str, Any]]:
    """Give the five best of the scores (C,) of one example as `label` and `score`, highest first."""
    best = np.argsort(-scores, kind="stable")[: max(TOP_KS)]
    return [{"label": id2label[int(label)], "score": round(float(scores[label]), 6)} for label in best]
