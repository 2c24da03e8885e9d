"""Instances drawn over their picture: mask, box, class name and score, each instance in a colour of its own."""

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Small pictures are enlarged so that text and outlines fit, large ones reduced to what a screen shows.
LEAST_SIDE, GREATEST_SIDE = 640, 1600
MASK_OPACITY = 0.45
FONT_SIZE = 15
BACKGROUND = (255, 255, 255)
GAP = 8
# Steps by this share of the colour circle never come close to each other again.
_GOLDEN_SHARE = 0.61803398875


def draw_instances(
    picture: Any,
    boxes: Sequence[Sequence[float]],
    masks: np.ndarray | None = None,
    names: Sequence[str | None] | None = None,
    scores: Sequence[float | None] | None = None,
    *,
    title: str = "",
) -> Image.Image:
    """Draw instances over a picture.

    Args:
        picture: PIL image or (H, W, 3) uint8.
        boxes: (n, 4) xyxy in pixels of the picture.
        masks: (n, H, W), true inside the object; None draws boxes only.
        names: class name of each instance, or None.
        scores: of each instance, or None.
        title: line above the picture.

    Returns:
        The drawing. Its longer side is between 640 and 1600 pixels, whatever the picture's (the title comes on top).

    Raises:
        ValueError: when there are not as many masks, names or scores as boxes, or masks of another size.
    """
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(np.asarray(picture))
    picture = picture.convert("RGB")
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    for what, values in (("masks", masks), ("names", names), ("scores", scores)):
        if values is not None and len(values) != len(boxes):
            raise ValueError(f"every box needs its own: got {len(boxes)} boxes and {len(values)} {what}")
    if masks is not None and len(masks) and np.shape(masks)[1:] != (picture.height, picture.width):
        raise ValueError(
            f"masks must have the size of the picture, {picture.height} x {picture.width}, got {np.shape(masks)[1:]}"
        )
    scale = _scale(max(picture.size))
    size = (round(picture.width * scale), round(picture.height * scale))
    colours = instance_colours(len(boxes))
    drawing = picture.resize(size, Image.Resampling.BICUBIC)
    if masks is not None:
        enlarged = [_resized(mask, size) for mask in masks]
        drawing = Image.fromarray(paint_masks(np.asarray(drawing), enlarged, colours, outline=2))
    _draw_boxes(drawing, boxes * scale, colours, dashed=masks is not None)
    texts = [_caption(names and names[row], None if scores is None else scores[row]) for row in range(len(boxes))]
    _draw_tags(drawing, boxes * scale, texts, colours)
    return _with_title(drawing, title) if title else drawing


def paint_masks(
    picture: np.ndarray,
    masks: Sequence[np.ndarray],
    colours: Sequence[tuple[int, int, int]] | None = None,
    outline: int = 1,
) -> np.ndarray:
    """Tint the inside of masks and draw their outlines, at the resolution of the picture.

    Args:
        picture: (H, W, 3) uint8.
        masks: n of (H, W) bool; later ones lie above.
        colours: of each; None = `instance_colours`.
        outline: width of the outline in pixels, inside the mask.

    Returns:
        (H, W, 3) uint8, a copy.
    """
    canvas = picture.astype(np.float32)
    for mask, colour in zip(masks, colours or instance_colours(len(masks)), strict=True):
        inner = mask
        for _ in range(outline):
            padded = np.pad(inner, 1)
            inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        canvas[inner] += (np.array(colour, np.float32) - canvas[inner]) * MASK_OPACITY
        canvas[mask & ~inner] = colour
    return canvas.round().astype(np.uint8)


def instance_colours(count: int) -> list[tuple[int, int, int]]:
    """Give RGB colours that differ however many there are; neighbours in the list lie far apart."""
    colours = []
    for number in range(count):
        value, saturation = ((1.0, 0.85), (0.75, 1.0), (1.0, 0.55))[number // 8 % 3]
        red, green, blue = colorsys.hsv_to_rgb((0.02 + number * _GOLDEN_SHARE) % 1, saturation, value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def tile_drawings(drawings: Sequence[Image.Image], columns: int = 2, title: str = "") -> Image.Image:
    """Put drawings into one picture, row by row; each row is as high as its highest drawing.

    Raises:
        ValueError: for no drawings.
    """
    if not drawings:
        raise ValueError("there is no drawing to put into a sheet")
    rows = [drawings[start : start + columns] for start in range(0, len(drawings), columns)]
    width = max(sum(drawing.width + GAP for drawing in row) for row in rows) - GAP
    sheet = Image.new("RGB", (width, sum(max(d.height for d in row) + GAP for row in rows) - GAP), BACKGROUND)
    top = 0
    for row in rows:
        left = 0
        for drawing in row:
            sheet.paste(drawing, (left, top))
            left += drawing.width + GAP
        top += max(drawing.height for drawing in row) + GAP
    return _with_title(sheet, title) if title else sheet


def _scale(longer_side: int) -> float:
    if longer_side < LEAST_SIDE:
        # Whole steps, so that all pixels of the picture and of masks stay equally large.
        return float(-(-LEAST_SIDE // longer_side))
    return min(1.0, GREATEST_SIDE / longer_side)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(np.asarray(mask).astype(np.uint8) * 255)
    return np.asarray(image.resize(size, Image.Resampling.NEAREST)) > 127


def _draw_boxes(
    drawing: Image.Image, boxes: np.ndarray, colours: Sequence[tuple[int, int, int]], *, dashed: bool
) -> None:
    pen = ImageDraw.Draw(drawing)
    right, bottom = drawing.width - 1, drawing.height - 1
    for (x0, y0, x1, y1), colour in zip(boxes, colours, strict=True):
        x0, x1 = (min(max(x, 0), right) for x in (x0, x1 - 1))
        y0, y1 = (min(max(y, 0), bottom) for y in (y0, y1 - 1))
        if not dashed:
            pen.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=colour, width=2)
            continue
        for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x0, y1), (x1, y1)), ((x0, y0), (x0, y1))):
            _dashed_line(pen, np.array(start), np.array(end), colour)


def _dashed_line(pen: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, colour: tuple[int, int, int]) -> None:
    length = float(np.abs(end - start).max())
    if length <= 0:
        return
    step = (end - start) / length
    for begin in np.arange(0, length, 10):
        dash = [*(start + step * begin), *(start + step * min(begin + 6, length))]
        pen.line(dash, fill=colour, width=2)


def _caption(name: str | None, score: float | None) -> str:
    return " ".join(part for part in (name, None if score is None else f"{score:.2f}") if part)


def _draw_tags(
    drawing: Image.Image, boxes: np.ndarray, texts: Sequence[str], colours: Sequence[tuple[int, int, int]]
) -> None:
    """Write texts at the upper left corners of boxes, moved down where another text is."""
    pen, font = ImageDraw.Draw(drawing), ImageFont.load_default(FONT_SIZE)
    height = FONT_SIZE + 5
    taken: list[tuple[float, float, float, float]] = []
    for (x0, y0, _, _), text, colour in zip(boxes, texts, colours, strict=True):
        if not text:
            continue
        width = pen.textlength(text, font=font) + 6
        left = min(max(x0, 0), max(drawing.width - width, 0))
        top = min(max(y0 - height, 0), drawing.height - height)
        while top + height < drawing.height and any(
            left < right and left + width > x and top < bottom and top + height > y for x, y, right, bottom in taken
        ):
            top += 1
        taken.append((left, top, left + width, top + height))
        pen.rectangle(taken[-1], fill=colour)
        luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
        pen.text((left + 3, top + 1), text, font=font, fill=(0, 0, 0) if luminance > 128 else (255, 255, 255))


def _with_title(drawing: Image.Image, title: str) -> Image.Image:
    font = ImageFont.load_default(FONT_SIZE + 2)
    height = FONT_SIZE + 12
    titled = Image.new("RGB", (drawing.width, drawing.height + height), BACKGROUND)
    titled.paste(drawing, (0, height))
    pen = ImageDraw.Draw(titled)
    while title and pen.textlength(title, font=font) > drawing.width - 6:
        title = title[:-4] + "..." if title.endswith("...") else title[:-1] + "..."
    pen.text((3, 4), title, font=font, fill=(0, 0, 0))
    return titled
