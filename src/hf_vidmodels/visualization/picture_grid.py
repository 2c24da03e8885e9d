"""A grid of pictures with boxes and captions: annotations of a corpus, answers of a classifier."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .figures import new_figure
from .shown_pictures import WITHOUT_TICKS, show_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOX_COLOR = "#D55E00"
COLUMNS = 4
PICTURE_SIZE = 2.6
LINE_POINTS, LINE_LENGTH = 9, 40
# Of a character of a box's name, on average.
CHARACTER_POINTS = 4.5


class PicturePanel(NamedTuple):
    """One picture of a grid: uint8 (H, W, 3), its boxes (xyxy in pixels) with a name each, and lines over it.

    `colours` are those of the boxes; empty for one colour.
    """

    picture: np.ndarray
    boxes: list[tuple[Sequence[float], str]]
    caption: str
    colours: Sequence[str] = ()


def draw_picture_grid(panels: Sequence[PicturePanel], title: str) -> "Figure":
    """Draw the pictures line by line.

    Args:
        panels: at least one.
        title: heading.
    """
    from matplotlib.patches import Rectangle

    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = new_figure(figsize=(PICTURE_SIZE * columns, (PICTURE_SIZE + 0.2) * lines + 0.4), layout="constrained")
    figure.suptitle(plain_text(title), x=0.01, ha="left", fontsize=12)
    places = figure.subplots(lines, columns, squeeze=False, subplot_kw=WITHOUT_TICKS).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, (picture, boxes, caption, colours) in zip(places, panels, strict=False):
        show_picture(axes, picture, PICTURE_SIZE)
        colours = colours or [BOX_COLOR] * len(boxes)
        for ((left, top, right, bottom), name), colour in zip(boxes, colours, strict=True):
            axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=1.5))
            if name:
                label = {"fontsize": 7, "color": "white", "backgroundcolor": colour}
                # Inside the box where there is no room over it, and back from the right edge where a name would be cut
                # there; a long name must not shrink the pictures.
                lines_of_name, width = name.split("\n"), picture.shape[1]
                pixels_a_point = max(picture.shape[:2]) / (72 * PICTURE_SIZE)
                is_over = top >= LINE_POINTS * (len(lines_of_name) + 1) * pixels_a_point
                needed = CHARACTER_POINTS * max(map(len, lines_of_name)) * pixels_a_point
                is_pushed = left + needed > width and needed <= width
                text = axes.text(
                    width if is_pushed else left,
                    top,
                    plain_text(name),
                    ha="right" if is_pushed else "left",
                    multialignment="left",
                    va="bottom" if is_over else "top",
                    clip_on=True,
                    **label,
                )
                text.set_in_layout(False)
        axes.set_title(plain_text("\n".join(cut_line(line) for line in caption.splitlines())), fontsize=8)
    return figure


def cut_line(text: str) -> str:
    """Cut a line that is longer than a picture is wide."""
    return text if len(text) <= LINE_LENGTH else f"{text[: LINE_LENGTH - 1]}…"


def plain_text(text: str) -> str:
    """Keep matplotlib from reading a formula into names that hold `$`."""
    return text.replace("$", r"\$")
