"""Scenes of `embedded/stories`: long videos whose class follows from two events far apart.

In a grey world a digit glows for a while near the beginning, and one near the end. Two warm glows may have the same
colour or two colours, two cold ones too; those are four classes. As often as in one of these a yellow and a blue glow
meet. Warm or cold is seen in one part of the video. The same colour or two is not: each of a pair of colours is as
frequent in either class, so whoever sees one part can only guess, and whoever adds up what single parts speak for is
wrong for at least one of three pairs.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .embedded_motions import envelope
from .embedded_scenes import ActionInstance, Scene, Sprite, between, bright_colour, make_background, make_digit

STORIES = ("warm alike", "warm unlike", "cold alike", "cold unlike", "warm and cold")
RED, YELLOW, BLUE, GREEN = np.array([[230, 50, 50], [235, 210, 50], [60, 80, 240], [50, 210, 70]])
# The colours of both glows, two ways for each class.
GLOWS = (
    ((RED, RED), (YELLOW, YELLOW)),
    ((RED, YELLOW), (YELLOW, RED)),
    ((BLUE, BLUE), (GREEN, GREEN)),
    ((BLUE, GREEN), (GREEN, BLUE)),
    ((YELLOW, BLUE), (BLUE, YELLOW)),
)
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
    """

    splits: tuple[tuple[str, int], ...] = (("train", 1600), ("validation", 400), ("test", 800))
    size: int = 32
    num_frames: tuple[int, int] = (72, 84)
    side: tuple[int, int] = (20, 24)
    glow_frames: tuple[int, int] = (24, 28)
    distractors: tuple[int, int] = (0, 1)


def story_scene(rng: np.random.Generator, split: str, parameters: StoryParameters) -> Scene:
    """A video of two glows, one in its first and one in its last two fifths, in colours that its class allows."""
    p = parameters
    num_frames = between(rng, p.num_frames)
    background = make_background(rng, p.size, num_frames)
    background = replace(background, colours=_grey(background.colours))
    num_sprites = between(rng, p.distractors) + 1
    sprites = [
        make_digit(rng, split, p.size, num_frames, between(rng, p.side), _grey(bright_colour(rng, background)))
        for _ in range(num_sprites)
    ]
    label, way = int(rng.integers(len(STORIES))), int(rng.integers(2))
    part = num_frames * 2 // 5
    events = [
        _glow(rng, sprites, begin, part, colour, label, p)
        for begin, colour in zip((0, num_frames - part), GLOWS[label][way], strict=True)
    ]
    return Scene(p.size, num_frames, background, sprites, events)


def _grey(colours: np.ndarray) -> np.ndarray:
    """Give each colour (..., 3) the brightness of its middle channel, so that only what glows has a colour."""
    return np.repeat(colours[..., 1:2], 3, axis=-1)


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
