"""People and what they do, drawn on frames: sheets of stills, and single frames of a film."""

import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..processing.decoding import VideoSource, open_video
from ..processing.key_frame_clips import iterate_clips
from .picture_grid import PicturePanel, draw_picture_grid
from .timeline_content import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import ImageFont

ACTIONS_SHOWN, NAME_LENGTH = 3, 24
# Of the height of a frame.
TEXT_SIZE, LINE_WIDTH = 1 / 28, 1 / 180
SMALLEST_TEXT = 10
TRUTH_COLOUR = "white"


def person_colour(person: int) -> str:
    """Give the colour of a person as `#rrggbb`; they repeat when there are more people than colours."""
    return PALETTE[person % len(PALETTE)]


def draw_action_frames(key_frames: Sequence[Mapping[str, Any]], title: str) -> "Figure":
    """Draw a sheet of stills with the people on them.

    Args:
        key_frames: of each still `video` (what `open_video` takes), `fps` (of folders of frames, else None),
            `timestamp` in seconds, `title`, and `people`: dicts of `person` (number, for the colour), `box` (xyxy
            relative to width and height) and `actions` (pairs of name and score, best first); `true_boxes` (xyxy,
            relative) are drawn in white, where they are known.
        title: heading.

    Raises:
        FileNotFoundError, UnreadableVideoError: a video cannot be read.
    """
    panels = []
    for still in key_frames:
        frame = frame_shown_at(still["video"], still["timestamp"], still["fps"])
        scale = np.array([frame.shape[1], frame.shape[0]] * 2)
        people = still["people"]
        truth = [(np.asarray(box) * scale, "") for box in still.get("true_boxes", ())]
        boxes = [(np.asarray(person["box"]) * scale, "\n".join(action_lines(person["actions"]))) for person in people]
        colours = [TRUTH_COLOUR] * len(truth) + [person_colour(person["person"]) for person in people]
        panels.append(PicturePanel(frame, truth + boxes, still["title"], colours))
    return draw_picture_grid(panels, title)


def frame_shown_at(video: VideoSource, timestamp: float, fps: float | None = None) -> np.ndarray:
    """Give the frame uint8 (H, W, 3) that a film shows at a time in seconds; the nearest one outside of it.

    Args:
        video: what `open_video` takes.
        timestamp: seconds.
        fps: frames a second of a folder of frames.

    Raises:
        FileNotFoundError, UnreadableVideoError: it cannot be read.
        ValueError: it has no timing and `fps` is not given.
    """
    clips = iterate_clips(open_video(video), np.array([[timestamp]]), lambda frames: frames, fps)
    return next(clips)[0].permute(1, 2, 0).numpy()


def action_lines(actions: Sequence[tuple[str, float]]) -> list[str]:
    """Name the best actions of a person with their scores, such as `walk 0.92`."""
    return [f"{textwrap.shorten(name, NAME_LENGTH)} {score:.2f}" for name, score in actions[:ACTIONS_SHOWN]]


def annotate_frame(frame: np.ndarray, people: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Draw people on one frame of a film: a box in the colour of each, and what they do over it.

    Args:
        frame: uint8 (H, W, 3).
        people: dicts of `person`, `box` (xyxy relative to width and height) and `actions`, as `draw_action_frames`.

    Returns:
        uint8 (H, W, 3), the frame itself where nobody is.
    """
    if not people:
        return frame
    from PIL import Image, ImageDraw

    height, width = frame.shape[:2]
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    font = _font(max(SMALLEST_TEXT, round(height * TEXT_SIZE)))
    for person in people:
        left, top, right, bottom = np.asarray(person["box"]) * [width, height, width, height]
        colour = person_colour(person["person"])
        draw.rectangle((left, top, max(right, left), max(bottom, top)), outline=colour, width=_line_width(height))
        lines = [f"{person['person'] + 1}", *action_lines(person["actions"])]
        _write_lines(draw, lines, (left, top), colour, font, (width, height))
    return np.asarray(picture)


def _line_width(height: int) -> int:
    return max(1, round(height * LINE_WIDTH))


def _write_lines(
    draw: Any,
    lines: Sequence[str],
    corner: tuple[float, float],
    colour: str,
    font: "ImageFont.ImageFont",
    size: tuple[int, int],
) -> None:
    """Write lines over the upper left corner of a box, or inside the box where there is no room over it."""
    text = "\n".join(lines)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=font, spacing=2)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(corner[0], 0), max(size[0] - width, 0))
    y = corner[1] - height if corner[1] >= height else min(max(corner[1], 0), max(size[1] - height, 0))
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.multiline_text((x + 2 - left, y + 2 - top), text, font=font, fill="white", spacing=2)


@cache
def _font(size: int) -> "ImageFont.ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)
