"""A picture of which classes a classifier takes for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figures import new_figure
from .picture_grid import plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLASSES = 40
CELL_SIZE, FRAME_SIZE = 0.28, 2.2
# With more classes numbers in the cells could not be read.
MOST_NUMBERED = 20


def confusion_counts(answers: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Count examples as int64 (true class, answered class).

    Args:
        answers: (N,) class ids.
        labels: (N,) class ids.
        num_classes: C.
    """
    return np.bincount(labels * num_classes + answers, minlength=num_classes**2).reshape(num_classes, num_classes)


def draw_confusion(counts: np.ndarray, class_names: Sequence[str], title: str) -> "Figure":
    """Draw the share of each true class that was answered as each class.

    Args:
        counts: (C, C), true classes by answered classes.
        class_names: C names.
        title: heading; of more than 40 classes, those with most mistakes are shown, which is said there.
    """
    num_classes = len(counts)
    mistakes = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    shown = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_CLASSES])
    if len(shown) < num_classes:
        title = f"{title}; the {len(shown)} of {num_classes} classes with most mistakes"
    totals = np.maximum(counts.sum(1, keepdims=True), 1)
    shares = (counts / totals)[np.ix_(shown, shown)]
    side = FRAME_SIZE + CELL_SIZE * len(shown)
    figure = new_figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    names = [plain_text(class_names[index]) for index in shown]
    axes.set_xticks(range(len(shown)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(shown)), names, fontsize=7)
    axes.set_xlabel("answer, in % of the pictures of a true class")
    axes.set_ylabel("truth")
    axes.set_title(plain_text(title), fontsize=9, loc="left")
    if len(shown) <= MOST_NUMBERED:
        for row, column in zip(*np.nonzero(shares), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", fontsize=6, color=color
            )
    return figure
