"""Scenes of `embedded/stories`: long videos whose class follows from two events far apart.

A digit glows for a while near the beginning, and one glows near the end. The class says whether both glows have the
same colour. Each colour is as frequent in both classes, so whoever sees one part of the video, or adds up what single
parts speak for, can only guess.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .embedded_motions import envelope
from .embedded_scenes import ActionInstance, Scene, Sprite, between, bright_colour, make_background, make_digit

STORIES = ("alike", "unlike")
COLOURS = np.array([[230, 50, 50], [60, 80, 240], [50, 210, 70], [235, 210, 50]])
_RAMP = 2


@dataclass(frozen=True)
class StoryParameters:
    """How many, how long and how hard the videos are. Pairs are least and greatest value; times are frames at 25 fps.

    Attributes:
        splits: name of each split and its number of videos. Settings are chosen on `"validation"`, whose digits are
            from the handwriting seen in training.
        size: side of the square pictures in pixels.
        num_frames: length of a video.
        side: side of the digits in pixels.
        glow_frames: length of one glow.
        distractors: number of further digits, which do not glow.
        num_colours: how many of `COLOURS` there are.
    """

    splits: tuple[tuple[str, int], ...] = (("train", 1600), ("validation", 400), ("test", 1000))
    size: int = 48
    num_frames: tuple[int, int] = (72, 84)
    side: tuple[int, int] = (20, 26)
    glow_frames: tuple[int, int] = (16, 20)
    distractors: tuple[int, int] = (0, 1)
    num_colours: int = 4


def story_scene(rng: np.random.Generator, split: str, parameters: StoryParameters) -> Scene:
    """A video of two glows, one in its first and one in its last two fifths."""
    p = parameters
    num_frames = between(rng, p.num_frames)
    background = make_background(rng, p.size, num_frames)
    num_sprites = between(rng, p.distractors) + 1
    sprites = [
        make_digit(rng, split, p.size, num_frames, between(rng, p.side), bright_colour(rng, background))
        for _ in range(num_sprites)
    ]
    label, first = int(rng.integers(len(STORIES))), int(rng.integers(p.num_colours))
    second = (first + label * int(rng.integers(1, p.num_colours))) % p.num_colours
    part = num_frames * 2 // 5
    events = [
        _glow(rng, sprites, begin, part, COLOURS[colour], label, p)
        for begin, colour in ((0, first), (num_frames - part, second))
    ]
    return Scene(p.size, num_frames, background, sprites, events)


def annotate_story(scene: Scene, video_id: str, number: int, parameters: StoryParameters) -> list[dict[str, Any]]:
    """One row for video classification."""
    return [{"label": STORIES[scene.actions[0].label]}]


def _glow(
    rng: np.random.Generator,
    sprites: list[Sprite],
    begin: int,
    part: int,
    colour: np.ndarray,
    label: int,
    p: StoryParameters,
) -> ActionInstance:
    """Let one digit, not always the same, glow once inside `part` frames from `begin` on."""
    actor, length = int(rng.integers(len(sprites))), between(rng, p.glow_frames)
    start = begin + int(rng.integers(part - length + 1))
    sprite, num_frames = sprites[actor], len(sprites[actor].poses.x)
    if sprite.glow is None:
        sprite.glow, sprite.glow_colour = np.zeros(num_frames, np.int64), np.zeros((num_frames, 3), np.int64)
    sprite.glow[start : start + length] = envelope(length, _RAMP)
    sprite.glow_colour[start : start + length] = colour
    return ActionInstance(label, actor, start, start + length)
