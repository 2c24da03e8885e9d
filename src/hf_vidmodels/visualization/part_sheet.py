"""A sheet of what the parts of a picture say: where each speaks for the answer, and which training pictures it finds
alike.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .figures import new_figure
from .picture_grid import plain_text
from .shown_pictures import WITHOUT_TICKS, show_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES, NEAR_SHARE, HEAD_INCHES = 1.5, 0.8, 0.75
RIGHT, WRONG = "#009E73", "#D55E00"
# Evidence is shown from transparent to this much of the colour.
OVERLAY = 0.75


class PartView(NamedTuple):
    """What one part says of a picture.

    `evidence` (h, w) is what its places add to the answer's score; `neighbours` are training pictures, uint8
    (H, W, 3), the most alike first, with their classes.
    """

    evidence: np.ndarray
    neighbours: list[tuple[np.ndarray, str]]


class PartRow(NamedTuple):
    """A picture, uint8 (H, W, 3), the class that is answered, its true class, and what each part says."""

    picture: np.ndarray
    answer: str
    truth: str
    parts: list[PartView]


def draw_part_sheet(rows: Sequence[PartRow], title: str) -> "Figure":
    """Draw a picture a line: with each part where it speaks for the answer, and the training pictures that it is near.

    Args:
        rows: at least one; all with as many parts and neighbours.
        title: heading.
    """
    num_parts, num_near = len(rows[0].parts), len(rows[0].parts[0].neighbours)
    widths = [1.0] + ([1.0] + [NEAR_SHARE] * num_near) * num_parts
    size = (PANEL_INCHES * sum(widths), (PANEL_INCHES + 0.2) * len(rows) + HEAD_INCHES)
    figure = new_figure(figsize=size, layout="constrained")
    figure.suptitle(
        plain_text(
            f"{title}\norange: where a part speaks for the answer; beside it the training pictures whose same part is "
            "most alike, framed green where they show the answered class"
        ),
        x=0.01,
        ha="left",
        fontsize=9,
    )
    panels = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths, subplot_kw=WITHOUT_TICKS)
    for axes in panels.ravel():
        for spine in axes.spines.values():
            spine.set_visible(False)
    for line, row in zip(panels, rows, strict=True):
        show_picture(line[0], row.picture, PANEL_INCHES)
        _name(line[0], f"says {row.answer}\ntrue: {row.truth}", RIGHT if row.answer == row.truth else WRONG)
        # One scale for all parts, so that a part that says little looks so.
        most = max(max(float(part.evidence.max()) for part in row.parts), 1e-12)
        for number, part in enumerate(row.parts):
            first = 1 + number * (1 + num_near)
            show_picture(line[first], row.picture, PANEL_INCHES)
            _overlay(line[first], part.evidence, most)
            _name(line[first], f"part {number + 1}", "black")
            for axes, (picture, label) in zip(line[first + 1 : first + 1 + num_near], part.neighbours, strict=True):
                show_picture(axes, picture, PANEL_INCHES)
                is_same = label == row.answer
                _name(axes, label, RIGHT if is_same else "black")
                if is_same:
                    for spine in axes.spines.values():
                        spine.set(visible=True, color=RIGHT, linewidth=2)
    return figure


def _overlay(axes: "Axes", evidence: np.ndarray, most: float) -> None:
    """Lay what is positive over the picture that is shown, smoothly from place to place."""
    strength = np.clip(evidence / most, 0, 1)
    colour = np.zeros((*strength.shape, 4))
    colour[..., :3] = [int(WRONG[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    colour[..., 3] = OVERLAY * strength
    axes.imshow(colour, extent=axes.images[0].get_extent(), interpolation="bilinear")


def _name(axes: "Axes", text: str, colour: str) -> None:
    axes.set_title(plain_text(text), fontsize=7, color=colour)
