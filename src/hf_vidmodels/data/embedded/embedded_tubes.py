"""Scenes of the videos for action detection: several digits that wander fast and act independently of each other."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .embedded_motions import ACTIONS, envelope, perform
from .embedded_rendering import mask_box, shown_masks
from .embedded_scenes import (
    ActionInstance,
    Scene,
    between,
    bright_colour,
    make_background,
    make_digit,
    percent,
)

TUBE_FPS = 24
# Every half second.
KEYFRAME_SPACING = 12
_RAMP = 5


@dataclass(frozen=True)
class TubeParameters:
    """How many, how long and how crowded the videos are. Pairs are least and greatest value; times are frames.

    Digits wander by about their own size in a second, so that a box that stands still loses them within a clip. What
    they do is told by their motion alone, and one repetition takes longer than a second.

    Attributes:
        splits: name of each split and its number of videos. Settings are chosen on `"validation"`, whose videos are
            like those of `"test"` but for their digits, which are from the handwriting seen in training.
        size: side of the square pictures in pixels.
        num_frames: length of a video.
        digits: number of digits, each with its own actions.
        side: of a digit in pixels.
        leg: from one turn of a digit's way to the next.
        rest_percent: chance that a digit rests for a leg.
        action_frames: length of one action.
        pause: between two actions of one digit.
        period: one repetition of a motion.
        second_action_percent: chance that a digit does two things at once.
    """

    splits: tuple[tuple[str, int], ...] = (("train", 80), ("validation", 40), ("test", 60))
    size: int = 80
    num_frames: tuple[int, int] = (144, 216)
    digits: tuple[int, int] = (1, 2)
    side: tuple[int, int] = (30, 40)
    leg: tuple[int, int] = (25, 50)
    rest_percent: int = 20
    action_frames: tuple[int, int] = (75, 125)
    pause: tuple[int, int] = (5, 25)
    period: tuple[int, int] = (30, 45)
    second_action_percent: int = 20


def tube_scene(rng: np.random.Generator, split: str, parameters: TubeParameters) -> Scene:
    """A video of several digits that act independently of each other."""
    p = parameters
    num_frames = between(rng, p.num_frames)
    background = make_background(rng, p.size, num_frames)
    sprites, actions = [], []
    for number in range(between(rng, p.digits)):
        colour = bright_colour(rng, background)
        way = {"rest_percent": p.rest_percent, "leg": p.leg}
        sprite = make_digit(rng, split, p.size, num_frames, between(rng, p.side), colour, **way)
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
    """One row for every half second of the video: who acts then, where, what each does, from when on.

    `actor_ids` tells which boxes of different rows are the same digit; `starts` and `ends` are those of the action, or
    of two at once. Digits that do nothing are not annotated.
    """
    rows = []
    for keyframe in range(KEYFRAME_SPACING, scene.num_frames, KEYFRAME_SPACING):
        masks = shown_masks(scene, keyframe)
        acting: dict[int, list[ActionInstance]] = {}
        for action in scene.actions:
            if action.start <= keyframe < action.end and masks[action.actor].any():
                acting.setdefault(action.actor, []).append(action)
        rows.append(
            {
                "video_id": video_id,
                "timestamp": keyframe / TUBE_FPS,
                "boxes": [[edge / scene.size for edge in mask_box(masks[actor])] for actor in acting],
                "labels": [[ACTIONS[action.label] for action in actions] for actions in acting.values()],
                "keyframe": keyframe,
                "actor_ids": list(acting),
                "starts": [actions[0].start / TUBE_FPS for actions in acting.values()],
                "ends": [actions[0].end / TUBE_FPS for actions in acting.values()],
            }
        )
    return rows
