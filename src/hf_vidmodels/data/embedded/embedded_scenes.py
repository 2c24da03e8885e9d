"""The scene description behind every embedded corpus, and the parts that scenes are built from.

A scene says in whole numbers what is seen (digits, a drifting texture, light) and what is true of it (which digit
performs which action when). Pixels (`embedded_rendering.py`) and the annotations of all tasks are both derived from
it, so that they cannot disagree.
"""

from dataclasses import dataclass, field

import numpy as np

from .embedded_digits import draw_handwriting, load_handwriting
from .embedded_motions import FULL, SUBPIXELS, TURN, Poses, wander

FPS = 25
CLUTTER = -1


@dataclass
class Sprite:
    """One digit, or a piece of one, with its way through the scene.

    Attributes:
        sample: number of the handwriting sample.
        digit: what it says, 0 to 9, or `CLUTTER` for a piece that says nothing.
        rows: first and last row (exclusive) of the 8 x 8 sample that is shown.
        columns: first and last column (exclusive).
        colour: (3,) int64 RGB, 0 to 255.
        poses: where it is.
        glow: (T,) int64, how much of its own colour gives way to `glow_colour`, 0 to 256; none when `None`.
        glow_colour: (3,) int64 RGB, 0 to 255, or (T, 3).
        coverage: (32, 32) int64, 0 to 256, of a drawn shape that takes the place of the handwriting.
    """

    sample: int
    digit: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    colour: np.ndarray
    poses: Poses
    glow: np.ndarray | None = None
    glow_colour: np.ndarray | None = None
    coverage: np.ndarray | None = None


@dataclass
class Background:
    """A periodic texture between two colours that drifts, flickers and may be tinted.

    Attributes:
        coarse: (size / 8, size / 8) int64 noise, 0 to 255.
        fine: (size / 4, size / 4) int64 noise, 0 to 255.
        colours: (2, 3) int64, RGB at the two ends of the noise.
        drift: (T, 2) int64, shift down and right in pixels.
        light: (T,) int64, brightness of the whole picture, 0 to 256.
        tint: (T, 3) int64, RGB of the tint.
        tint_strength: (T,) int64, 0 to 256.
    """

    coarse: np.ndarray
    fine: np.ndarray
    colours: np.ndarray
    drift: np.ndarray
    light: np.ndarray
    tint: np.ndarray
    tint_strength: np.ndarray


@dataclass
class ActionInstance:
    """Frames `start` to `end` (exclusive) in which sprite number `actor` performs `ACTIONS[label]`."""

    label: int
    actor: int
    start: int
    end: int


@dataclass
class Scene:
    """All that is seen and true in one video, or picture (one frame). Later sprites cover earlier ones.

    Attributes:
        size: side of the square picture in pixels, a multiple of 8.
        num_frames: T.
        background: behind everything.
        sprites: what moves, from the back to the front.
        actions: what happens.
    """

    size: int
    num_frames: int
    background: Background
    sprites: list[Sprite]
    actions: list[ActionInstance] = field(default_factory=list)


def between(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    """A whole number from `bounds`, both included."""
    return int(rng.integers(bounds[0], bounds[1] + 1))


def percent(rng: np.random.Generator, chance: int) -> bool:
    """True with a chance of `chance` in 100."""
    return bool(rng.integers(100) < chance)


def make_background(rng: np.random.Generator, size: int, num_frames: int) -> Background:
    """Two random colours, their texture, its drift, and flickering light; no tint yet."""
    dark = rng.integers(10, 110, 3)
    reach = 2 * size * SUBPIXELS
    drift = [wander(rng, num_frames, -reach, reach, rest_percent=20, leg=(300, 600)) // SUBPIXELS for _ in range(2)]
    return Background(
        coarse=rng.integers(0, 256, (size // 8, size // 8)),
        fine=rng.integers(0, 256, (size // 4, size // 4)),
        colours=np.stack([dark, dark + rng.integers(20, 120, 3)]),
        drift=np.stack(drift, axis=1),
        light=wander(rng, num_frames, 200, FULL, rest_percent=0, leg=(20, 60)) - rng.integers(0, 7, num_frames),
        tint=np.zeros((num_frames, 3), np.int64),
        tint_strength=np.zeros(num_frames, np.int64),
    )


def add_tint(background: Background, colour: tuple[int, int, int], start: int, strength: np.ndarray) -> None:
    """Tint the frames from `start` on by `strength` (n,), 0 to 256; where tints meet, the stronger one stays."""
    num_frames = len(background.tint_strength)
    frames = np.arange(start, start + len(strength))
    inside = (frames >= 0) & (frames < num_frames)
    frames, strength = frames[inside], strength[inside]
    stronger = strength > background.tint_strength[frames]
    background.tint_strength[frames[stronger]] = strength[stronger]
    background.tint[frames[stronger]] = colour


def make_digit(
    rng: np.random.Generator,
    split: str,
    scene_size: int,
    num_frames: int,
    side: int,
    colour: np.ndarray,
    *,
    rest_percent: int = 50,
    leg: tuple[int, int] = (50, 110),
) -> Sprite:
    """A digit of the split's handwriting that drifts and rests inside the picture.

    Args:
        rng: source of all choices.
        split: whose handwriting.
        scene_size: side of the picture in pixels.
        num_frames: T.
        side: of the digit's square in pixels.
        colour: (3,) RGB.
        rest_percent: chance that it rests for a leg of its way, across and along alike.
        leg: least and greatest frames of a leg.
    """
    margin = side * SUBPIXELS * 2 // 3
    x, y = (
        wander(rng, num_frames, margin, scene_size * SUBPIXELS - margin, rest_percent=rest_percent, leg=leg)
        for _ in range(2)
    )
    poses = Poses(
        x=x,
        y=y,
        size=np.full(num_frames, side * SUBPIXELS),
        angle=np.full(num_frames, between(rng, (-60, 60)) % TURN),
        opacity=np.full(num_frames, FULL),
    )
    sample = draw_handwriting(rng, split)
    return Sprite(sample, int(load_handwriting()[1][sample]), (0, 8), (0, 8), colour, poses)


def bright_colour(rng: np.random.Generator, background: Background) -> np.ndarray:
    """A colour that stands out from the background."""
    return np.minimum(255, background.colours[1] + rng.integers(30, 130, 3))
