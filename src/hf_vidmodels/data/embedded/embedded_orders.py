"""Scenes of `embedded/motions`: videos whose class is told by the order of what happens and by nothing else.

One digit comes nearer or goes away, turns clockwise or anticlockwise, and glows red before blue or blue before red.
Each of the eight classes is one choice of the three, and the same video played backwards belongs to the class of the
three other choices. All choices are drawn from one distribution over frames, so whoever sees the frames without their
order can only guess.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from .embedded_motions import FULL, SUBPIXELS, TURN, envelope
from .embedded_scenes import (
    ActionInstance,
    Scene,
    Sprite,
    between,
    bright_colour,
    make_background,
    make_digit,
)

DISTANCES, TURNS, GLOWS = ("comes", "goes"), ("clockwise", "anticlockwise"), ("red first", "blue first")
MOTIONS = tuple(f"{distance}, {turn}, {glow}" for distance, turn, glow in product(DISTANCES, TURNS, GLOWS))
RED, BLUE = np.array([230, 50, 50]), np.array([60, 80, 240])
_RAMP = 3


@dataclass(frozen=True)
class MotionParameters:
    """How many, how long and how hard the videos are. Pairs are least and greatest value; times are frames at 25 fps.

    Attributes:
        splits: name of each split and its number of videos. Settings are chosen on `"validation"`, whose digits are
            from the handwriting seen in training.
        size: side of the square pictures in pixels.
        num_frames: length of a video.
        near_side: side of the acting digit in pixels where it is nearest.
        far_percent: its side where it is farthest, in percent of that.
        turn: how far it turns, in 1/1024 turn.
        glow_frames: length of one glow.
        distractors: number of further digits, which come, go and turn likewise, but do not glow.
    """

    splits: tuple[tuple[str, int], ...] = (("train", 2400), ("validation", 600), ("test", 1200))
    size: int = 64
    num_frames: tuple[int, int] = (28, 36)
    near_side: tuple[int, int] = (30, 36)
    far_percent: tuple[int, int] = (50, 60)
    turn: tuple[int, int] = (400, 640)
    glow_frames: tuple[int, int] = (6, 9)
    distractors: tuple[int, int] = (0, 1)


def motion_scene(rng: np.random.Generator, split: str, parameters: MotionParameters) -> Scene:
    """A video of one glowing digit, and maybe others that do not glow."""
    p = parameters
    num_frames = between(rng, p.num_frames)
    background = make_background(rng, p.size, num_frames)
    num_sprites = between(rng, p.distractors) + 1
    actor, label = int(rng.integers(num_sprites)), int(rng.integers(len(MOTIONS)))
    sprites = []
    for number in range(num_sprites):
        side = between(rng, p.near_side)
        sprite = make_digit(rng, split, p.size, num_frames, side, bright_colour(rng, background))
        motion = label if number == actor else int(rng.integers(len(MOTIONS)))
        _move(rng, sprite, motion, p)
        if number == actor:
            _glow(rng, sprite, motion, p)
        sprites.append(sprite)
    return Scene(p.size, num_frames, background, sprites, [ActionInstance(label, actor, 0, num_frames)])


def annotate_motion(scene: Scene, video_id: str, number: int, parameters: MotionParameters) -> list[dict[str, Any]]:
    """One row for video classification."""
    return [{"label": MOTIONS[scene.actions[0].label]}]


def _move(rng: np.random.Generator, sprite: Sprite, motion: int, p: MotionParameters) -> None:
    """Let a digit come or go and turn, by steps that are drawn alike for both directions of each."""
    poses, num_frames = sprite.poses, len(sprite.poses.x)
    goes, anticlockwise, _ = _choices(motion)
    near = poses.size[0]
    far = near * between(rng, p.far_percent) // 100
    rising = far + (near - far) * _course(rng, num_frames) // FULL
    poses.size[:] = rising[::-1] if goes else rising
    turned = between(rng, p.turn) * _course(rng, num_frames) // FULL
    first = int(rng.integers(TURN))
    poses.angle[:] = (first + (-turned if anticlockwise else turned)) % TURN
    margin = int(near) * 2 // 3
    for axis in (poses.x, poses.y):
        axis[:] = np.clip(axis, margin, p.size * SUBPIXELS - margin)


def _glow(rng: np.random.Generator, sprite: Sprite, motion: int, p: MotionParameters) -> None:
    """Let a digit glow twice, once in each half of the video."""
    num_frames, blue_first = len(sprite.poses.x), _choices(motion)[2]
    half = num_frames // 2
    sprite.glow = np.zeros(num_frames, np.int64)
    colours = np.zeros((num_frames, 3), np.int64)
    order = (BLUE, RED) if blue_first else (RED, BLUE)
    for begin, colour in zip((0, half), order, strict=True):
        length = between(rng, p.glow_frames)
        start = begin + int(rng.integers(half - length + 1))
        sprite.glow[start : start + length] = envelope(length, _RAMP)
        colours[begin : begin + half + 1] = colour
    sprite.glow_colour = colours


def _choices(motion: int) -> tuple[int, int, int]:
    """Give which of the two distances, turns and glows a class has, each 0 or 1."""
    return motion >> 2, motion >> 1 & 1, motion & 1


def _course(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """A way from 0 to 256 in uneven steps, (T,)."""
    steps = rng.integers(1, 6, num_frames - 1)
    done = np.concatenate([[0], np.cumsum(steps)])
    return done * FULL // done[-1]
