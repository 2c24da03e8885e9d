"""Contact sheets of attention: each picture beside its heat maps and boxes, one column for each explained class."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..printable_text import cut_text
from .figures import new_figure
from .shown_pictures import WITHOUT_TICKS, show_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = 2.5
PANEL_TITLE_INCHES = 0.45
SHEET_TITLE_INCHES = 0.3
TALLEST = 1.2
TITLE_SIZE = 8
HEAT_OPACITY = 0.55
BOX_COLOUR = "#00e5ff"
TRUTH_COLOUR = "#ffffff"
LONGEST_LABEL = 28


def draw_contact_sheet(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> "Figure":
    """Draw pictures with what a network looks at in them.

    Args:
        rows: for each picture `image` (PIL image or uint8 array (H, W, 3)), `title`, `explanations` (dicts of `label`,
            `score`, `heatmap` (H, W) in [0, 1] and `box` {xmin, ymin, xmax, ymax} in pixels, as the pipeline
            "object-localization" gives them) and optionally `true_boxes` (N, 4), drawn dashed.
        title: of the sheet.

    Returns:
        A figure with one row for each picture; rows with fewer classes end earlier.

    Raises:
        ValueError: without pictures.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one picture, got none")
    num_columns = 1 + max(len(row["explanations"]) for row in rows)
    heights = [_panel_height(np.asarray(row["image"])) for row in rows]
    size = (PANEL_INCHES * num_columns, sum(heights) + (SHEET_TITLE_INCHES if title else 0))
    figure = new_figure(figsize=size, layout="constrained")
    axes = figure.subplots(
        len(rows), num_columns, squeeze=False, gridspec_kw={"height_ratios": heights}, subplot_kw=WITHOUT_TICKS
    )
    for axis in axes.flat:
        axis.axis("off")
    for row, panels in zip(rows, axes, strict=True):
        image = np.asarray(row["image"])
        _show_picture(panels[0], image, row["title"])
        for box in row.get("true_boxes", ()):
            _outline(panels[0], box, TRUTH_COLOUR, "--")
        for explanation, panel in zip(row["explanations"], panels[1:], strict=False):
            _show_explanation(panel, image, explanation, row.get("true_boxes", ()))
    if title:
        figure.suptitle(title, fontsize=TITLE_SIZE + 2)
    return figure


def _panel_height(image: np.ndarray) -> float:
    """Give the height in inches of a panel's picture and its title lines; tall pictures get narrower instead."""
    return PANEL_INCHES * min(image.shape[0] / image.shape[1], TALLEST) + PANEL_TITLE_INCHES


def _show_picture(axis: "Axes", image: np.ndarray, title: str) -> None:
    show_picture(axis, image, PANEL_INCHES * TALLEST)
    axis.set_title(cut_text(title, LONGEST_LABEL), fontsize=TITLE_SIZE)


def _show_explanation(
    axis: "Axes", image: np.ndarray, explanation: Mapping[str, Any], true_boxes: Sequence[Sequence[float]]
) -> None:
    show_picture(axis, image, PANEL_INCHES * TALLEST)
    heatmap = np.asarray(explanation["heatmap"], dtype=np.float32)
    show_picture(axis, heatmap, PANEL_INCHES * TALLEST, cmap="inferno", alpha=HEAT_OPACITY, vmin=0, vmax=1)
    for box in true_boxes:
        _outline(axis, box, TRUTH_COLOUR, "--")
    _outline(axis, [explanation["box"][name] for name in ("xmin", "ymin", "xmax", "ymax")], BOX_COLOUR, "-")
    title = cut_text(explanation["label"], LONGEST_LABEL)
    if explanation.get("score") is not None and "subtitle" not in explanation:
        title += f"\np = {explanation['score']:.2f}"
    axis.set_title(f"{title}\n{explanation['subtitle']}" if "subtitle" in explanation else title, fontsize=TITLE_SIZE)


def _outline(axis: "Axes", box: Sequence[float], colour: str, style: str) -> None:
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box
    axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.8, linestyle=style))
