"""Scenes of the trimmed videos for video classification: one short action among distractors."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .embedded_motions import ACTIONS, FULL, envelope, perform
from .embedded_scenes import (
    ActionInstance,
    Scene,
    Sprite,
    between,
    bright_colour,
    make_background,
    make_digit,
    percent,
)

# What a digit glows in while it performs each of the actions.
GLOW_COLOURS = ((225, 60, 60), (60, 190, 70), (70, 90, 235), (225, 200, 50), (195, 70, 215))
_CLIP_RAMP = 4
# Share, of 100, that clips keep of the colours and of the contrast of their background.
_COLOURFULNESS, _CONTRAST = 20, 50


@dataclass(frozen=True)
class ClipParameters:
    """How many, how long and how hard the clips are. Pairs are least and greatest value; times are frames at 25 fps.

    One digit performs the clip's action during a short part of the clip and glows in the action's colour meanwhile;
    many others only drift, or move and glow weakly as for an action of any class. So few frames and a small region
    tell the class. A part of the training clips are close-ups, without which a small network hardly begins to learn:
    one digit alone that acts all the time.

    Attributes:
        splits: name of each split and its number of clips. Settings are chosen on `"validation"`, whose clips are like
            those of `"test"` but for their digits, which are from the handwriting seen in training.
        size: side of the square pictures in pixels.
        num_frames: length of a clip.
        action_frames: length of the action.
        actor_side: side of the acting digit in pixels.
        period: one repetition of a motion.
        distractors: number of further digits, as large as the acting one.
        fidget_percent: chance that a distractor makes one weak movement.
        fidget_strength: strength of its movement and of its glow, of 256.
        close_up_percent: share of close-ups in the split `"train"`; the others have none.
    """

    splits: tuple[tuple[str, int], ...] = (("train", 1200), ("validation", 600), ("test", 1200))
    size: int = 64
    num_frames: tuple[int, int] = (56, 72)
    action_frames: tuple[int, int] = (12, 16)
    actor_side: tuple[int, int] = (12, 15)
    period: tuple[int, int] = (8, 12)
    distractors: tuple[int, int] = (4, 6)
    fidget_percent: int = 50
    fidget_strength: tuple[int, int] = (40, 90)
    close_up_percent: int = 40


def clip_scene(rng: np.random.Generator, split: str, parameters: ClipParameters) -> Scene:
    """A short video of one action among distractors, or a close-up of it."""
    p = parameters
    num_frames = between(rng, p.num_frames)
    background = make_background(rng, p.size, num_frames)
    dark, bright = background.colours
    background.colours = _muted(np.stack([dark, dark + (bright - dark) * _CONTRAST // 100]))
    is_close_up = split == "train" and percent(rng, p.close_up_percent)
    num_sprites = 1 if is_close_up else between(rng, p.distractors) + 1
    actor, label = int(rng.integers(num_sprites)), int(rng.integers(len(ACTIONS)))
    sprites, actions = [], []
    for number in range(num_sprites):
        colour = _muted(bright_colour(rng, background))
        sprite = make_digit(rng, split, p.size, num_frames, between(rng, p.actor_side), colour)
        length = num_frames if is_close_up else between(rng, p.action_frames)
        start = int(rng.integers(num_frames - length + 1))
        strength, period = envelope(length, _CLIP_RAMP), between(rng, p.period)
        if number == actor:
            _act(sprite, label, start, strength, period)
            actions.append(ActionInstance(label, actor, start, start + length))
        elif percent(rng, p.fidget_percent):
            weak = strength * between(rng, p.fidget_strength) // FULL
            _act(sprite, int(rng.integers(len(ACTIONS))), start, weak, period)
        sprites.append(sprite)
    return Scene(p.size, num_frames, background, sprites, actions)


def _act(sprite: Sprite, label: int, start: int, strength: np.ndarray, period: int) -> None:
    """Let a digit perform an action and glow in its colour, both by `strength`."""
    perform(sprite.poses, ACTIONS[label], start, strength, period)
    sprite.glow = np.zeros_like(sprite.poses.opacity)
    sprite.glow[start : start + len(strength)] = strength
    sprite.glow_colour = np.array(GLOW_COLOURS[label])


def _muted(colours: np.ndarray) -> np.ndarray:
    """Bring colours (..., 3) near to grey."""
    grey = colours.sum(-1, keepdims=True) // 3
    return grey + (colours - grey) * _COLOURFULNESS // 100


def annotate_clip(scene: Scene, video_id: str, number: int, parameters: ClipParameters) -> list[dict[str, Any]]:
    """One row for video classification."""
    return [{"label": ACTIONS[scene.actions[0].label]}]
