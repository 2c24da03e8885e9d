"""How the digits of the embedded corpora move: random wandering, and the action classes.

Everything is whole-number arithmetic, so that every platform gets the same scene from the same seed: positions and
sizes count 1/64 pixel, angles 1/1024 turn, strengths and opacities 1/256.
"""

from dataclasses import dataclass

import numpy as np

SUBPIXELS = 64
TURN = 1024
FULL = 256
# Rounded to whole numbers far from any tie, so that differences of the last bit between C libraries vanish.
SINE = np.round(np.sin(np.arange(TURN) * (2 * np.pi / TURN)) * 1024).astype(np.int64)
COSINE = np.roll(SINE, -TURN // 4)

ACTIONS = ("swing", "bounce", "spin", "pulse", "blink")
# What small pictures at a low frame rate show as well: the digit as a whole goes to and fro.
WAYS = ("swing", "bounce", "slant", "climb", "circle")


@dataclass
class Poses:
    """Where and how one digit is shown in each of T frames.

    Attributes:
        x: (T,) int64, centre from the left edge, 1/64 pixel.
        y: (T,) int64, centre from the upper edge, 1/64 pixel.
        size: (T,) int64, side of the digit's square, 1/64 pixel.
        angle: (T,) int64, clockwise on the screen, 1/1024 turn.
        opacity: (T,) int64, 0 to 256.
    """

    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    angle: np.ndarray
    opacity: np.ndarray


def wander(
    rng: np.random.Generator,
    num_frames: int,
    low: int,
    high: int,
    *,
    rest_percent: int,
    leg: tuple[int, int] = (40, 75),
) -> np.ndarray:
    """A way between random points of `[low, high]`, with rests.

    Args:
        rng: source of all choices.
        num_frames: T.
        low: least value.
        high: greatest value.
        rest_percent: chance that a leg of the way is a rest.
        leg: least and greatest frames of a leg.

    Returns:
        (T,) int64.
    """
    times, values = [0], [int(rng.integers(low, high + 1))]
    while times[-1] < num_frames:
        times.append(times[-1] + int(rng.integers(leg[0], leg[1] + 1)))
        target = int(rng.integers(low, high + 1))
        values.append(values[-1] if rng.integers(100) < rest_percent else target)
    knots, points = np.array(times), np.array(values)
    frames = np.arange(num_frames)
    part = np.searchsorted(knots, frames, side="right") - 1
    span = knots[part + 1] - knots[part]
    return points[part] + (points[part + 1] - points[part]) * (frames - knots[part]) // span


def envelope(length: int, ramp: int) -> np.ndarray:
    """Strength (length,) from 0 up to 256 within `ramp` frames, and down again within the last `ramp`."""
    frames = np.arange(length)
    rising = (2 * frames + 1) * FULL // (2 * max(ramp, 1))
    falling = rising[::-1]
    return np.minimum(FULL, np.minimum(rising, falling))


def perform(poses: Poses, action: str, start: int, strength: np.ndarray, period: int) -> None:
    """Let a digit perform an action, in place.

    * swing: to the right and left by 0.55 of its size;
    * bounce: up and back by 0.9 of its size;
    * spin: turns clockwise;
    * pulse: grows and shrinks by 0.4;
    * blink: fades nearly away in half of the time;
    * slant: down to the right and up to the left by 0.4 of its size each way;
    * climb: up to the right and down to the left by as much;
    * circle: round a circle with a radius of 0.4 of its size.

    Args:
        poses: of the digit; frames from `start` on are changed.
        action: one of `ACTIONS` or `WAYS`.
        start: first frame.
        strength: (n,) 0 to 256 for each frame of the action.
        period: frames a repetition.
    """
    frames = slice(start, start + len(strength))
    wave = SINE[np.arange(len(strength)) * TURN // period % TURN]
    size = poses.size[frames]
    if action == "swing":
        poses.x[frames] += strength * wave * (size * 55 // 100) // (FULL * 1024)
    elif action == "bounce":
        half_wave = np.abs(SINE[np.arange(len(strength)) * TURN // (2 * period) % TURN])
        poses.y[frames] -= strength * half_wave * (size * 90 // 100) // (FULL * 1024)
    elif action == "spin":
        turned = np.cumsum(strength * TURN // period) // FULL
        poses.angle[frames] += turned
        poses.angle[frames.stop :] += turned[-1]
    elif action == "pulse":
        poses.size[frames] += strength * wave * (size * 40 // 100) // (FULL * 1024)
    elif action == "blink":
        faded = (wave > 0) * strength * 85 // 100
        poses.opacity[frames] = poses.opacity[frames] * (FULL - faded) // FULL
    elif action in ("slant", "climb", "circle"):
        down = COSINE[np.arange(len(strength)) * TURN // period % TURN] if action == "circle" else wave
        reach = strength * (size * 40 // 100)
        poses.x[frames] += reach * wave // (FULL * 1024)
        poses.y[frames] += reach * (-down if action == "climb" else down) // (FULL * 1024)
    else:
        raise ValueError(f"unknown action {action!r}; the actions are {', '.join(dict.fromkeys(ACTIONS + WAYS))}")
