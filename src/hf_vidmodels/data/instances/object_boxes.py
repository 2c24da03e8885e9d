"""Boxes of objects: read from JSON, and which of them cannot be right, for files, data sets and the labelling command.

Boxes are x, y, width, height in pixels, as COCO has them.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...printable_text import short_value

# Annotators and detectors overshoot the edge of a picture a little; such boxes are clipped where they are used.
EDGE_PIXELS = 2.0
EDGE_SHARE = 0.05
# Of relative numbers in files.
ROUNDING = 1e-3

# What is wrong, and the way out, by the name of the rule.
BOX_RULES = {
    "not_finite": ("has numbers in it that are NaN or infinite", "correct or remove it"),
    "no_size": ("has no positive width and height", "boxes are x, y, width, height"),
    "relative": (
        "lies inside the first pixel of its picture, as do all others: they look relative to width and height",
        "boxes are in pixels; multiply x and width by the picture's width, y and height by its height",
    ),
    "xyxy": (
        "reaches beyond its picture of {width:g} x {height:g} but would fit as two corners",
        "boxes are x, y, width, height; convert x1, y1, x2, y2 first",
    ),
    "outside": ("lies outside its picture of {width:g} x {height:g}", "correct or remove it"),
}


def read_box(value: Any, name: str) -> tuple[float, float, float, float]:
    """Give the four numbers of a box in a JSON file; whether they can be right is left to `find_box_faults`.

    Raises:
        ValueError: it is no list of four numbers; text and booleans are none.
    """
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        raise ValueError(f"{name} has the bbox {short_value(value)}; expected four numbers x, y, width, height")
    return tuple(map(float, value))


def read_area(value: Any, box: Sequence[float], name: str) -> float:
    """Give the area of an object in a JSON file, that of its box where there is none.

    Raises:
        ValueError: it is no number of 0 or more.
    """
    if value is None:
        return box[2] * box[3]
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"{name} has the area {short_value(value)}; expected square pixels, 0 or more")
    return float(value)


def _is_number(value: Any) -> bool:
    # Integers beyond the range of float are no coordinates.
    return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > 2**63


def find_box_faults(
    boxes: np.ndarray, heights: np.ndarray | None = None, widths: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Find the boxes that break a rule.

    Args:
        boxes: (N, 4) x, y, width, height in pixels.
        heights: (N,) height of the picture of each; NaN or None where unknown, then what needs it is not checked.
        widths: likewise.

    Returns:
        For each key of `BOX_RULES` a boolean array (N,), true for the boxes whose first broken rule it is.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    unknown = np.full(len(boxes), np.nan)
    limits = np.stack([unknown if widths is None else widths, unknown if heights is None else heights], axis=1)
    corners, sides = boxes[:, :2], boxes[:, 2:]
    with np.errstate(invalid="ignore", over="ignore"):
        ends = corners + sides
        tolerance = EDGE_PIXELS + EDGE_SHARE * sides
        beyond = ((ends > limits + tolerance) | (corners < -tolerance)).any(axis=1)
        fits_as_corners = ((corners >= -EDGE_PIXELS) & (sides > corners) & (sides <= limits + EDGE_PIXELS)).all(axis=1)
        has_area = np.isfinite(boxes).all(axis=1) & (sides > 0).all(axis=1)
        inside = ((corners >= 0) & (ends <= 1 + ROUNDING)).all(axis=1)
        are_relative = inside[has_area].all() and not (limits <= 1).any()
        faults = {
            "not_finite": ~np.isfinite(boxes).all(axis=1),
            "no_size": (sides <= 0).any(axis=1),
            "relative": has_area & are_relative,
            "xyxy": beyond & fits_as_corners,
            "outside": ((ends <= 0) | (corners >= limits)).any(axis=1),
        }
    found = np.zeros(len(boxes), bool)
    for rule, broken in faults.items():
        faults[rule] = broken & ~found
        found |= broken
    return faults


def describe_box_fault(
    rule: str,
    name: Any,
    box: Sequence[float],
    height: float | None = None,
    width: float | None = None,
    num_others: int = 0,
) -> str:
    """Give the sentence about one box that broke a rule, without a full stop.

    Args:
        rule: a key of `BOX_RULES`.
        name: what the box belongs to, such as `annotation 12`.
        box: its four numbers.
        height: of its picture in pixels, where the rule needs it.
        width: likewise.
        num_others: how many further boxes broke the same rule.
    """
    what, way_out = BOX_RULES[rule]
    shown = ", ".join(f"{number:g}" for number in box)
    others = f" (and {num_others} more like it)" if num_others else ""
    return f"the bbox [{shown}] of {name} {what.format(width=width, height=height)}{others}; {way_out}"


def refuse_faulty_boxes(
    boxes: np.ndarray,
    names: Sequence[Any],
    heights: np.ndarray | None = None,
    widths: np.ndarray | None = None,
    where: str = "",
) -> None:
    """Refuse boxes that break a rule; arguments as `find_box_faults`.

    Args:
        boxes: (N, 4).
        names: N names such as `annotation 12`.
        heights: (N,).
        widths: (N,).
        where: beginning of the sentence, such as a file's name and a colon.

    Raises:
        ValueError: one does; names the first, says how many there are.
    """
    for rule, broken in find_box_faults(boxes, heights, widths).items():
        if broken.any():
            first = int(np.argmax(broken))
            height, width = (None if sides is None else float(sides[first]) for sides in (heights, widths))
            sentence = describe_box_fault(rule, names[first], boxes[first], height, width, int(broken.sum()) - 1)
            raise ValueError(f"{where}{sentence}")
