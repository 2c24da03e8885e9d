"""Geometry of crops around boxes (MAL, CVPR 2023; rounding as in the official code, commit 0ab9be4).

Boxes are (x0, y0, x1, y1) in pixels of the picture. An extended box has whole-numbered sides, ends excluded, and may
leave the picture, where the picture is repeated: a constant border would disturb the colour CRF.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

PAD_MODES = ("wrap", "edge")


def draw_margins(generator: np.random.Generator, margin_rate: Sequence[float]) -> np.ndarray:
    """Draw how far a training crop extends its box.

    Args:
        generator: gives six numbers, four margins and two gates.
        margin_rate: least and greatest margin.

    Returns:
        (4,) float64 margins left, top, right, bottom, in half sides of the box.
    """
    draws = generator.random(6)
    return shared_margins(draws[:4], draws[4:], margin_rate)


def shared_margins(uniform: np.ndarray, gates: np.ndarray, margin_rate: Sequence[float]) -> np.ndarray:
    """Map (4,) numbers in [0, 1) to margins, of which opposite sides share what the (2,) gates give them."""
    least, greatest = margin_rate
    margins = least + (greatest - least) * np.asarray(uniform, dtype=np.float64)
    horizontal, vertical = np.asarray(gates, dtype=np.float64)
    return margins * np.array([horizontal, vertical, 1 - horizontal, 1 - vertical])


def extend_boxes(boxes: np.ndarray, margins: np.ndarray | float) -> np.ndarray:
    """Move the sides of boxes away from their centres and round outwards, and one pixel further right and below.

    Args:
        boxes: (N, 4).
        margins: (N, 4) or broadcastable: by which share of half a side each side moves, left, top, right, bottom.

    Returns:
        (N, 4) int64, ends excluded.
    """
    # In float64 and in this order, because results next to whole numbers decide the rounding.
    boxes = np.asarray(boxes, dtype=np.float64)
    growth = 1 + np.broadcast_to(np.asarray(margins, dtype=np.float64), boxes.shape)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    first = np.floor(centres - (centres - boxes[:, :2]) * growth[:, :2])
    last = np.ceil(centres + (boxes[:, 2:] - centres) * growth[:, 2:] + 1)
    return np.concatenate([first, last], axis=1).astype(np.int64)


def cut_picture(picture: np.ndarray, extended_box: np.ndarray, pad_mode: str = "wrap") -> np.ndarray:
    """Give the (h, w, ...) part of a (H, W, ...) picture that an extended box covers, repeated beyond its edges."""
    height, width = picture.shape[:2]
    left, top, right, bottom = (int(side) for side in extended_box)
    if min(left, top) >= 0 and right <= width and bottom <= height:
        return picture[top:bottom, left:right]
    rows = _source_indices(top, bottom, height, pad_mode)
    columns = _source_indices(left, right, width, pad_mode)
    return picture[rows[:, None], columns]


def resize_crop(crop: np.ndarray, side: int, resample: int) -> np.ndarray:
    """Resize a (h, w, 3) uint8 crop to (side, side, 3), whatever its aspect, exactly as Pillow does.

    Pillow 13 filters tall crops along the other axis first than earlier ones do: some pixels differ by a few levels.
    """
    return np.asarray(Image.fromarray(np.ascontiguousarray(crop)).resize((side, side), resample))


def cut_box_mask(
    box: np.ndarray,
    picture_size: tuple[int, int],
    extended_box: np.ndarray,
    side: int,
    resample: int,
    pad_mode: str | None = None,
) -> np.ndarray:
    """Give the mask of a box as its crop shows it.

    Equals the crop of a picture of zeros and ones after Pillow has resized it: that filters rows and columns one after
    the other and rounds in between, so the mask is the product of one line for the rows and one for the columns.

    Args:
        box: (4,), whose pixels from floor to floor, both included, are 1.
        picture_size: (height, width).
        extended_box: (4,) what the crop covers.
        side: of the resized crop.
        resample: Pillow's filter.
        pad_mode: what is beyond the picture: None = zeros (test), `"wrap"` as the picture (training).

    Returns:
        (side, side) uint8, 0 or 1.
    """
    first, last = np.trunc(box[:2]).astype(np.int64), np.trunc(box[2:]).astype(np.int64)
    lines = []
    for axis, size in ((1, picture_size[0]), (0, picture_size[1])):
        positions = np.arange(extended_box[axis], extended_box[axis + 2])
        inside = (positions >= 0) & (positions < size)
        if pad_mode is not None:
            positions, inside = _source_indices(positions[0], positions[-1] + 1, size, pad_mode), True
        line = (inside & (positions >= first[axis]) & (positions <= last[axis])).astype(np.uint8)
        lines.append(np.asarray(Image.fromarray(line[None]).resize((side, 1), resample))[0])
    return lines[0][:, None] * lines[1]


def visible_part(extended_box: np.ndarray, picture_size: tuple[int, int]) -> tuple[tuple[slice, slice], ...]:
    """Give the rows and columns of the picture that an extended box covers, and the same in the crop.

    Args:
        extended_box: (4,).
        picture_size: (height, width).

    Returns:
        Two pairs of slices (rows, columns), of the picture and of the unresized crop.
    """
    height, width = picture_size
    left, top, right, bottom = (int(side) for side in extended_box)
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    return (rows, columns), (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )


def _source_indices(start: int, stop: int, size: int, pad_mode: str) -> np.ndarray:
    indices = np.arange(start, stop)
    return indices % size if pad_mode == "wrap" else indices.clip(0, size - 1)
