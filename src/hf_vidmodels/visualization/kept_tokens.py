"""What a video transformer with token selection looked at: a film strip and a video, bright where tokens were kept."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import new_figure
from .shown_pictures import WITHOUT_TICKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIP_COLUMNS = 8
PANEL_INCHES = 1.5
PANEL_TITLE_INCHES = 0.22
HEAD_INCHES = 0.75
TITLE_SIZE = 8
KEPT_COLOUR = "#e69f00"
DROPPED_BRIGHTNESS = 0.3
OUTSIDE_BRIGHTNESS = 0.45
OUTLINE = (230, 159, 0)
# Luma of ITU-R BT.601.
GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Region = Mapping[str, Any]


def draw_kept_tokens(
    frames: np.ndarray,
    regions: Sequence[Region] | None,
    answers: Sequence[tuple[str, float]],
    *,
    title: str = "",
    times: Sequence[float] | None = None,
) -> "Figure":
    """Draw the frames of a clip: kept ones in colour with their kept region outlined, dropped ones dark and grey.

    Args:
        frames: (T, H, W, 3) uint8, as the model saw them.
        regions: what was kept, dicts of `frames` (numbers of the clip's frames) and `box` (xyxy in their pixels), as
            `kept_regions` of a model gives them; None for a model that keeps everything.
        answers: class names and scores, best first.
        title: name of the video.
        times: seconds of each frame in its video; None to number them.

    Returns:
        The figure.

    Raises:
        ValueError: for frames of another shape or type, or regions that name frames outside the clip.
    """
    shown = shade_dropped(frames, regions)
    boxes = _box_of_frame(frames, regions)
    num_rows = -(-len(frames) // STRIP_COLUMNS)
    columns = min(len(frames), STRIP_COLUMNS)
    row_inches = PANEL_INCHES * frames.shape[1] / frames.shape[2] + PANEL_TITLE_INCHES
    figure = new_figure(figsize=(PANEL_INCHES * columns, row_inches * num_rows + HEAD_INCHES), layout="constrained")
    figure.suptitle(_head(frames, regions, answers, title), fontsize=TITLE_SIZE + 2)
    panels = figure.subplots(num_rows, columns, squeeze=False, subplot_kw=WITHOUT_TICKS)
    for axis in panels.flat:
        axis.axis("off")
    for number, (axis, frame) in enumerate(zip(panels.flat, shown, strict=False)):
        name = f"frame {number + 1}" if times is None else f"{times[number]:.2f} s"
        axis.imshow(frame, interpolation="nearest")
        is_kept = boxes[number] is not None
        axis.set_title(
            name if is_kept else f"{name}, dropped", fontsize=TITLE_SIZE, color="black" if is_kept else "grey"
        )
        if is_kept and regions is not None:
            _outline(axis, boxes[number])
    return figure


def shade_dropped(frames: np.ndarray, regions: Sequence[Region] | None, *, outlines: bool = False) -> np.ndarray:
    """Darken what was dropped: whole frames, in grey, and what lies outside the kept region of the others.

    Args:
        frames: (T, H, W, 3) uint8.
        regions: as for `draw_kept_tokens`.
        outlines: also draw a line of one pixel around kept regions, for videos.

    Returns:
        uint8 (T, H, W, 3).

    Raises:
        ValueError: as `draw_kept_tokens`.
    """
    boxes = _box_of_frame(frames, regions)
    shaded = np.empty_like(frames)
    for number, (frame, box) in enumerate(zip(frames, boxes, strict=True)):
        if box is None:
            grey = (frame @ GREY_WEIGHTS * DROPPED_BRIGHTNESS).astype(np.uint8)
            shaded[number] = grey[..., None]
            continue
        left, top, right, bottom = (round(edge) for edge in box)
        shaded[number] = frame * OUTSIDE_BRIGHTNESS
        if outlines and regions is not None:
            shaded[number, max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = OUTLINE
        shaded[number, top:bottom, left:right] = frame[top:bottom, left:right]
    return shaded


def _box_of_frame(frames: np.ndarray, regions: Sequence[Region] | None) -> list[Sequence[float] | None]:
    """Give the kept box of every frame, None for dropped ones."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 (T, H, W, 3), got {frames.dtype} of shape {frames.shape}")
    height, width = frames.shape[1:3]
    if regions is None:
        return [(0, 0, width, height)] * len(frames)
    boxes: list[Sequence[float] | None] = [None] * len(frames)
    for region in regions:
        for number in region["frames"]:
            if not 0 <= number < len(frames):
                raise ValueError(f"a kept region names frame {number}, but the clip has {len(frames)} frames")
            boxes[number] = region["box"]
    return boxes


def _head(
    frames: np.ndarray, regions: Sequence[Region] | None, answers: Sequence[tuple[str, float]], title: str
) -> str:
    best = "   ".join(f"{label} {score:.2f}" for label, score in answers)
    lines = [f"{title}: {best}" if title else best]
    if regions is not None:
        boxes = [box for box in _box_of_frame(frames, regions) if box is not None]
        pixels = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        share = pixels / (len(frames) * frames.shape[1] * frames.shape[2])
        lines.append(
            f"looked at {len(boxes)} of {len(frames)} frames, there inside the outlines: {share:.0%} of the clip"
        )
    # A dollar sign would start a formula.
    return "\n".join(lines).replace("$", r"\$")


def _outline(axis: "Axes", box: Sequence[float]) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    axis.add_patch(
        Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=KEPT_COLOUR, linewidth=2)
    )
