"""Scenes of the trimmed videos: clips for video classification and tubes for action detection."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .embedded_motions import ACTIONS, FULL, envelope, perform
from .embedded_rendering import mask_box, shown_masks
from .embedded_scenes import (
    FPS,
    ActionInstance,
    Scene,
    between,
    bright_colour,
    make_background,
    make_digit,
    percent,
)

_RAMP = 5


@dataclass(frozen=True)
class ClipParameters:
    """How many, how long and how hard the clips are. Pairs are least and greatest value; times are frames at 25 fps.

    One digit performs the clip's action during a part of the clip; many others only drift or fidget, so that few
    frames and a small region tell the class.

    Attributes:
        splits: name of each split and its number of clips.
        size: side of the square pictures in pixels.
        num_frames: length of a clip.
        action_frames: length of the action.
        actor_side: side of the acting digit in pixels.
        period: one repetition of a motion.
        distractors: number of further digits, as large as the acting one.
        fidget_percent: chance that a distractor makes one weak movement.
        fidget_strength: its strength, of 256.
    """

    splits: tuple[tuple[str, int], ...] = (("train", 120), ("test", 60))
    size: int = 96
    num_frames: tuple[int, int] = (50, 100)
    action_frames: tuple[int, int] = (22, 32)
    actor_side: tuple[int, int] = (16, 22)
    period: tuple[int, int] = (10, 14)
    distractors: tuple[int, int] = (4, 6)
    fidget_percent: int = 50
    fidget_strength: tuple[int, int] = (40, 90)


def clip_scene(rng: np.random.Generator, split: str, parameters: ClipParameters) -> Scene:
    """A short video of one action among distractors."""
    p = parameters
    num_frames = between(rng, p.num_frames)
    background = make_background(rng, p.size, num_frames)
    num_sprites = between(rng, p.distractors) + 1
    actor, label = int(rng.integers(num_sprites)), int(rng.integers(len(ACTIONS)))
    sprites, actions = [], []
    for number in range(num_sprites):
        colour = bright_colour(rng, background)
        sprite = make_digit(rng, split, p.size, num_frames, between(rng, p.actor_side), colour)
        length = between(rng, p.action_frames)
        start = int(rng.integers(num_frames - length + 1))
        strength, period = envelope(length, _RAMP), between(rng, p.period)
        if number == actor:
            perform(sprite.poses, ACTIONS[label], start, strength, period)
            actions.append(ActionInstance(label, actor, start, start + length))
        elif percent(rng, p.fidget_percent):
            weak = strength * between(rng, p.fidget_strength) // FULL
            perform(sprite.poses, rng.choice(ACTIONS), start, weak, period)
        sprites.append(sprite)
    return Scene(p.size, num_frames, background, sprites, actions)


def annotate_clip(scene: Scene, video_id: str, number: int, parameters: ClipParameters) -> list[dict[str, Any]]:
    """One row for video classification."""
    return [{"label": ACTIONS[scene.actions[0].label]}]


@dataclass(frozen=True)
class TubeParameters:
    """How many, how long and how crowded the videos are. Pairs are least and greatest value; times are frames.

    Attributes:
        splits: name of each split and its number of videos.
        size: side of the square pictures in pixels.
        num_frames: length of a video.
        digits: number of digits, each with its own actions.
        side: of a digit in pixels.
        action_frames: length of one action.
        pause: between two actions of one digit.
        period: one repetition of a motion.
        second_action_percent: chance that a digit does two things at once.
    """

    splits: tuple[tuple[str, int], ...] = (("train", 40), ("test", 20))
    size: int = 96
    num_frames: tuple[int, int] = (125, 200)
    digits: tuple[int, int] = (2, 4)
    side: tuple[int, int] = (18, 28)
    action_frames: tuple[int, int] = (40, 90)
    pause: tuple[int, int] = (10, 50)
    period: tuple[int, int] = (12, 18)
    second_action_percent: int = 25


def tube_scene(rng: np.random.Generator, split: str, parameters: TubeParameters) -> Scene:
    """A video of several digits that act independently of each other."""
    p = parameters
    num_frames = between(rng, p.num_frames)
    background = make_background(rng, p.size, num_frames)
    sprites, actions = [], []
    for number in range(between(rng, p.digits)):
        colour = bright_colour(rng, background)
        sprite = make_digit(rng, split, p.size, num_frames, between(rng, p.side), colour)
        start = int(rng.integers(p.pause[1]))
        while start + p.action_frames[0] <= num_frames:
            end = min(num_frames, start + between(rng, p.action_frames))
            together = 2 if percent(rng, p.second_action_percent) else 1
            for label in np.sort(rng.permutation(len(ACTIONS))[:together]).tolist():
                perform(sprite.poses, ACTIONS[label], start, envelope(end - start, _RAMP), between(rng, p.period))
                actions.append(ActionInstance(label, number, start, end))
            start = end + between(rng, p.pause)
        sprites.append(sprite)
    return Scene(p.size, num_frames, background, sprites, actions)


def annotate_tubes(scene: Scene, video_id: str, number: int, parameters: TubeParameters) -> list[dict[str, Any]]:
    """One row for every full second of the video, as AVA has it: who acts then, where, and what each of them does.

    `actor_ids` tells which boxes of different rows are the same digit. Digits that do nothing are not annotated.
    """
    rows = []
    for keyframe in range(FPS, scene.num_frames, FPS):
        masks = shown_masks(scene, keyframe)
        acting: dict[int, list[str]] = {}
        for action in scene.actions:
            if action.start <= keyframe < action.end and masks[action.actor].any():
                acting.setdefault(action.actor, []).append(ACTIONS[action.label])
        rows.append(
            {
                "video_id": video_id,
                "timestamp": keyframe / FPS,
                "boxes": [[edge / scene.size for edge in mask_box(masks[actor])] for actor in acting],
                "labels": list(acting.values()),
                "keyframe": keyframe,
                "actor_ids": list(acting),
            }
        )
    return rows
