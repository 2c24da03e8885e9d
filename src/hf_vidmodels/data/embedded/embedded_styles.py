"""Scenes of the corpus of writing styles: drawn digits, of which those of one digit differ in one part alone.

Every digit is written in a style of its own: slanted, stretched, thick or thin, angular or round, shaky or steady. Its
class is the digit and one detail, a short bar or a dot at some place of the stroke, or none. Clutter are such details
and pieces of strokes in the colours of digits, away from the digit, so that neither the look of the whole nor the
presence of a detail tells the class.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .embedded_motions import FULL, SUBPIXELS, TURN, Poses
from .embedded_rendering import TEXELS
from .embedded_scenes import CLUTTER, Scene, Sprite, between, bright_colour, make_background

# Side of the square that strokes are drawn in.
UNITS = 1024
# The stroke of each digit from its start to its end, x and y.
STROKES = {
    2: ((250, 330), (330, 190), (520, 150), (700, 230), (720, 400), (560, 580), (250, 830), (730, 830)),
    3: ((280, 220), (500, 150), (700, 250), (640, 420), (430, 480), (660, 540), (740, 700), (560, 850), (270, 800)),
    5: ((730, 170), (340, 170), (310, 460), (520, 410), (710, 520), (730, 690), (580, 840), (280, 800)),
    7: ((250, 180), (760, 180), (640, 390), (540, 560), (480, 730)),
}
PLAIN, SERIF, BARRED, DOTTED = "plain", "serif", "barred", "dotted"
DETAILS = (PLAIN, SERIF, BARRED, DOTTED)
STYLES = tuple(f"{digit} {detail}" for digit in STROKES for detail in DETAILS)
# Share of the stroke at which it is barred, in percent.
_BARRED_AT = 62
# A dot stands so far from the stroke's end.
_DOT_DISTANCE = 150
# How far a bar reaches out of the stroke on either side.
_BAR_REACH = (60, 90)
# Draws of a place for a piece of clutter.
_TRIALS = 20


@dataclass(frozen=True)
class StyleParameters:
    """How many and how hard the pictures are. Pairs are least and greatest value.

    Attributes:
        splits: name of each split and its number of pictures.
        size: side of the square pictures in pixels.
        side: of a digit's square in pixels.
        thickness: of strokes, in 1/1024 of that side.
        slant: how far the top leans over the bottom, in percent of the height.
        stretch: width, in percent of the height.
        shake: most that a point of a stroke is off its place, in 1/1024 of the side.
        clutter: number of pieces.
    """

    splits: tuple[tuple[str, int], ...] = (("train", 1000), ("validation", 1500), ("test", 1500))
    size: int = 72
    side: tuple[int, int] = (46, 58)
    thickness: tuple[int, int] = (60, 90)
    slant: tuple[int, int] = (-20, 20)
    stretch: tuple[int, int] = (70, 100)
    shake: int = 35
    clutter: tuple[int, int] = (2, 4)


def style_scene(rng: np.random.Generator, split: str, parameters: StyleParameters) -> Scene:
    """One frame with clutter and a digit in front of it; the digit's sprite has the number of its class."""
    p = parameters
    background = make_background(rng, p.size, 1)
    label = int(rng.integers(len(STYLES)))
    strokes, thickness = write_digit(rng, label, p)
    digit = Sprite(
        sample=0,
        digit=label,
        rows=(0, 8),
        columns=(0, 8),
        colour=bright_colour(rng, background),
        poses=_place(rng, p.size, between(rng, p.side)),
        coverage=draw_strokes(strokes, thickness),
    )
    sprites = []
    for _ in range(between(rng, p.clutter)):
        poses = _away_from(rng, digit.poses, p)
        if poses is not None:
            coverage = draw_strokes(_clutter_strokes(rng), between(rng, p.thickness))
            sprites.append(
                Sprite(0, CLUTTER, (0, 8), (0, 8), bright_colour(rng, background), poses, coverage=coverage)
            )
    return Scene(p.size, 1, background, [*sprites, digit])


def annotate_style(scene: Scene, image_id: str, number: int, parameters: StyleParameters) -> list[dict[str, Any]]:
    """One row for image classification."""
    return [{"label": STYLES[scene.sprites[-1].digit]}]


def draw_strokes(strokes: list[np.ndarray], thickness: int) -> np.ndarray:
    """Draw lines with round ends.

    Args:
        strokes: points (n, 2) of each line, x and y from 0 to 1024; a single point is a dot.
        thickness: in the same units.

    Returns:
        how much of each texel is covered, int64 (32, 32), 0 to 256.
    """
    texel = UNITS // TEXELS
    centres = np.arange(TEXELS) * texel + texel // 2
    nearest = np.full((TEXELS, TEXELS), UNITS * UNITS, np.int64)
    for points in strokes:
        for start, end in zip(points[:-1], points[1:], strict=True) if len(points) > 1 else [(points[0], points[0])]:
            along, length = end - start, max(1, int(((end - start) ** 2).sum()))
            right, down = centres[None, :] - start[0], centres[:, None] - start[1]
            part = np.clip(right * along[0] + down * along[1], 0, length)
            apart = (right - along[0] * part // length) ** 2 + (down - along[1] * part // length) ** 2
            nearest = np.minimum(nearest, apart)
    # A square root of whole numbers is rounded alike everywhere.
    distance = np.sqrt(nearest).astype(np.int64)
    return np.clip((thickness // 2 + texel // 2 - distance) * FULL // texel, 0, FULL)


def write_digit(rng: np.random.Generator, label: int, p: StyleParameters) -> tuple[list[np.ndarray], int]:
    """Write the digit of a class in a style of its own; the same generator writes all classes of a digit alike.

    Returns:
        the strokes, of which the first is the digit and a second its detail, and their thickness.
    """
    digit, detail = list(STROKES)[label // len(DETAILS)], DETAILS[label % len(DETAILS)]
    thickness, slant, stretch = between(rng, p.thickness), between(rng, p.slant), between(rng, p.stretch)
    points = np.array(STROKES[digit])
    points = points + rng.integers(-p.shake, p.shake + 1, points.shape)
    for _ in range(int(rng.integers(3))):
        points = _rounder(points)
    strokes = [points, *_detail(rng, points, detail, thickness)]
    return [_leaning(stroke, slant, stretch) for stroke in strokes], thickness


def _rounder(points: np.ndarray) -> np.ndarray:
    """Cut the corners of a line; its ends stay."""
    before, after = points[:-1], points[1:]
    cut = np.stack([3 * before + after, before + 3 * after], axis=1).reshape(-1, 2) // 4
    return np.concatenate([points[:1], cut, points[-1:]])


def _detail(rng: np.random.Generator, points: np.ndarray, detail: str, thickness: int) -> list[np.ndarray]:
    if detail == PLAIN:
        return []
    if detail == DOTTED:
        away = _unit(points[-1] - points[-2]) * (_DOT_DISTANCE + thickness // 2) // UNITS
        return [points[-1:] + away]
    number = 0 if detail == SERIF else len(points) * _BARRED_AT // 100
    along = _unit(points[number + 1] - points[number])
    half = thickness // 2 + between(rng, _BAR_REACH)
    across = np.array([-along[1], along[0]]) * half // UNITS
    return [np.stack([points[number] - across, points[number] + across])]


def _unit(direction: np.ndarray) -> np.ndarray:
    """Give a direction the length 1024."""
    return direction * UNITS // max(1, int(np.sqrt((direction**2).sum())))


def _leaning(points: np.ndarray, slant: int, stretch: int) -> np.ndarray:
    middle = UNITS // 2
    x, y = points[:, 0], points[:, 1]
    return np.stack([middle + (x - middle) * stretch // 100 + (middle - y) * slant // 100, y], axis=1)


def _clutter_strokes(rng: np.random.Generator) -> list[np.ndarray]:
    """A dot, a bar, or a bent piece of a stroke."""
    middle = np.array([UNITS // 2, UNITS // 2])
    kind = int(rng.integers(3))
    if kind == 0:
        return [middle[None]]
    if kind == 1:
        half = rng.integers(-_BAR_REACH[1], _BAR_REACH[1] + 1, 2)
        return [np.stack([middle - half, middle + half])]
    return [_rounder(middle + rng.integers(-220, 221, (3, 2)))]


def _place(rng: np.random.Generator, size: int, side: int) -> Poses:
    """A pose that keeps a square of `side` pixels inside the picture."""
    x, y = (int(rng.integers(side * SUBPIXELS // 2, (2 * size - side) * SUBPIXELS // 2 + 1)) for _ in range(2))
    return _pose(x, y, side, between(rng, (-40, 40)))


def _pose(x: int, y: int, side: int, angle: int) -> Poses:
    single = {"x": x, "y": y, "size": side * SUBPIXELS, "angle": angle % TURN, "opacity": FULL}
    return Poses(**{name: np.full(1, value) for name, value in single.items()})


def _away_from(rng: np.random.Generator, digit: Poses, p: StyleParameters) -> Poses | None:
    """A pose for clutter that leaves the digit's stroke and details alone; None where there is no room."""
    reach = int(digit.size[0]) * 45 // 100
    for _ in range(_TRIALS):
        x, y = (int(rng.integers(0, p.size * SUBPIXELS)) for _ in range(2))
        if max(abs(x - int(digit.x[0])), abs(y - int(digit.y[0]))) > reach:
            return _pose(x, y, between(rng, p.side), int(rng.integers(TURN)))
    return None
