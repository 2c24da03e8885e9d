"""Sheets of semi-supervised training: pictures with their pseudo-labels over time, and accuracies over steps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import new_figure
from .picture_grid import plain_text
from .shown_pictures import WITHOUT_TICKS, show_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT, WRONG, UNKNOWN = "#009E73", "#D55E00", "black"
HEAD_COLORS = {"conv": "#0072B2", "transformer": "#D55E00", "top1": "black"}
UNCOUNTED_ALPHA = 0.45
PICTURE_SIZE, MOMENT_WIDTH = 0.9, 1.3
CURVES_WIDTH, CURVES_HEIGHT = 9.0, 5.6


def draw_pseudo_labels(
    pictures: Sequence[np.ndarray],
    truth: Sequence[str | None],
    moments: Sequence[tuple[str, Sequence[tuple[str, float, float]]]],
) -> "Figure":
    """Draw one picture a line, and beside it its pseudo-label at each moment; pale ones did not count.

    Args:
        pictures: uint8 (H, W, 3) each.
        truth: class of each, None where it is not known.
        moments: name of each moment, with (class, confidence, weight) of every picture.
    """
    lines, columns = len(pictures), len(moments)
    width = PICTURE_SIZE + MOMENT_WIDTH * (columns + 1)
    figure = new_figure(figsize=(width, PICTURE_SIZE * lines + 0.6), layout="constrained")
    places = figure.subplots(
        lines, 1 + columns, squeeze=False, width_ratios=[1.0] + [1.3] * columns, subplot_kw=WITHOUT_TICKS
    )
    for axes in places.ravel():
        axes.set_axis_off()
    for column, (name, _) in enumerate(moments, start=1):
        places[0, column].set_title(plain_text(name), fontsize=9)
    for line, picture in enumerate(pictures):
        show_picture(places[line, 0], picture, MOMENT_WIDTH)
        known = truth[line]
        places[line, 0].set_title(plain_text("truth unknown" if known is None else f"true: {known}"), fontsize=7)
        for column, (_, answers) in enumerate(moments, start=1):
            label, confidence, weight = answers[line]
            color = UNKNOWN if known is None else RIGHT if label == known else WRONG
            places[line, column].text(
                0.5,
                0.5,
                plain_text(f"{label}\n{confidence:.2f}"),
                ha="center",
                va="center",
                fontsize=10,
                color=color,
                alpha=1.0 if weight > 0 else UNCOUNTED_ALPHA,
            )
    figure.suptitle("pseudo-labels over training; pale: below the threshold", x=0.01, ha="left", fontsize=10)
    return figure


def draw_stream_curves(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw the rows of a run's training log: accuracies of both heads, and the share and accuracy of pseudo-labels.

    Args:
        rows: with `step`, and any of `conv_accuracy`, `transformer_accuracy` (labelled batches), `eval_...` metrics,
            `mask_ratio`, `kept_right` and `pseudo_label_accuracy`.
    """
    figure = new_figure(figsize=(CURVES_WIDTH, CURVES_HEIGHT), layout="constrained")
    heads, labels = figure.subplots(2, 1, sharex=True)
    for head, color in HEAD_COLORS.items():
        _draw(heads, rows, f"{head}_accuracy", f"{head} head, labelled batches", color=color, linewidth=0.8, alpha=0.5)
        measured = "eval_top1_accuracy" if head == "top1" else f"eval_{head}_top1_accuracy"
        name = "both together, evaluation" if head == "top1" else f"{head} head, evaluation"
        _draw(heads, rows, measured, name, color=color, marker="o", markersize=3.5)
    _draw(labels, rows, "mask_ratio", "share that counts", color="black")
    _draw(labels, rows, "pseudo_label_accuracy", "right, of all", color=WRONG, linewidth=0.8, alpha=0.6)
    kept = [
        {"step": row["step"], "kept": row["kept_right"] / row["mask_ratio"]}
        for row in rows
        if row.get("mask_ratio") and "kept_right" in row
    ]
    _draw(labels, kept, "kept", "right, of those that count", color=RIGHT)
    heads.set_ylabel("accuracy")
    labels.set_ylabel("pseudo-labels")
    labels.set_xlabel("optimisation step")
    for axes in (heads, labels):
        axes.set_ylim(0, 1.02)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        if axes.get_lines():
            axes.legend(fontsize=8, framealpha=0.9, edgecolor="none")
    return figure


def _draw(axes: "Axes", rows: Sequence[Mapping[str, Any]], key: str, name: str, **style: Any) -> None:
    found = [(row["step"], row[key]) for row in rows if key in row]
    if found:
        # A line of one point would not be seen.
        style = {"marker": "." if len(found) == 1 else None} | style
        axes.plot(*zip(*found, strict=True), label=name, **style)
