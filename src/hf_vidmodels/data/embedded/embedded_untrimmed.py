"""Scenes of temporal action localisation: long videos in which a digit acts now and then.

What makes them hard is what weakly supervised localisation struggles with: actions from one second to eight, whose
beginnings and ends are weak and only whose core is easy to tell; weak movements that are no action; and a tint of the
picture that often surrounds a class's actions, so that it tells the video's label without being the action.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .embedded_motions import ACTIONS, FULL, Poses, envelope, perform
from .embedded_scenes import (
    FPS,
    ActionInstance,
    Scene,
    add_tint,
    between,
    bright_colour,
    make_background,
    make_digit,
    percent,
)

# The typical surroundings of each action.
CONTEXT_COLOURS = ((225, 60, 60), (60, 190, 70), (70, 90, 235), (225, 200, 50), (195, 70, 215))
_CONTEXT_RAMP = 10
_STRAY_CONTEXT_FRAMES = (40, 120)
_FIDGET_FRAMES = (16, 36)
_DISTRACTOR_SIDE = (10, 16)


@dataclass(frozen=True)
class UntrimmedParameters:
    """How many, how long and how hard the videos are. Pairs are least and greatest value; times are frames at 25 fps.

    Attributes:
        splits: name of each split and its number of videos.
        size: side of the square pictures in pixels.
        num_frames: length of a video.
        instances: number of actions in a video.
        shortest: length of the shortest action.
        octaves: lengths are spread evenly over so many doublings of `shortest`.
        gap: least distance of two actions.
        second_class_percent: chance that a video has actions of two classes.
        ramp_percent: share of an action, at each end, in which it grows to full strength or fades from it.
        period: one repetition of a motion.
        fidgets: number of weak movements outside the actions.
        fidget_strength: their strength, of 256.
        context_percent: chance that an action is surrounded by its class's tint.
        context_margin: how much earlier the tint comes than the action, and how much longer it stays.
        context_strength: strength of a tint, of 256.
        stray_contexts: number of tints without an action.
        distractors: number of further digits, which only drift.
        actor_side: side of the acting digit in pixels.
    """

    splits: tuple[tuple[str, int], ...] = (("train", 96), ("test", 40))
    size: int = 64
    num_frames: tuple[int, int] = (300, 700)
    instances: tuple[int, int] = (1, 4)
    shortest: int = 25
    octaves: int = 3
    gap: int = 30
    second_class_percent: int = 25
    ramp_percent: int = 30
    period: tuple[int, int] = (14, 20)
    fidgets: tuple[int, int] = (1, 3)
    fidget_strength: tuple[int, int] = (20, 70)
    context_percent: int = 60
    context_margin: tuple[int, int] = (20, 60)
    context_strength: tuple[int, int] = (50, 110)
    stray_contexts: tuple[int, int] = (0, 2)
    distractors: tuple[int, int] = (1, 2)
    actor_side: tuple[int, int] = (20, 28)


def untrimmed_scene(rng: np.random.Generator, split: str, parameters: UntrimmedParameters) -> Scene:
    """Compose one video."""
    p = parameters
    num_frames = between(rng, p.num_frames)
    background = make_background(rng, p.size, num_frames)
    num_sprites = between(rng, p.distractors) + 1
    actor = int(rng.integers(num_sprites))
    sprites = [
        make_digit(
            rng,
            split,
            p.size,
            num_frames,
            between(rng, p.actor_side if number == actor else _DISTRACTOR_SIDE),
            bright_colour(rng, background),
        )
        for number in range(num_sprites)
    ]
    poses = sprites[actor].poses
    classes = rng.permutation(len(ACTIONS))[: 2 if percent(rng, p.second_class_percent) else 1]
    spans = _place_actions(rng, num_frames, p)
    actions = []
    for number, (start, end) in enumerate(spans):
        # Each class of the video comes once before any is drawn again.
        label = int(classes[number] if number < len(classes) else rng.choice(classes))
        actions.append(ActionInstance(label, actor, start, end))
        strength = envelope(end - start, (end - start) * p.ramp_percent // 100)
        perform(poses, ACTIONS[label], start, strength, between(rng, p.period))
        if percent(rng, p.context_percent):
            first, last = start - between(rng, p.context_margin), end + between(rng, p.context_margin)
            strength = envelope(last - first, _CONTEXT_RAMP) * between(rng, p.context_strength) // FULL
            add_tint(background, CONTEXT_COLOURS[label], first, strength)
    for _ in range(between(rng, p.stray_contexts)):
        strength = envelope(between(rng, _STRAY_CONTEXT_FRAMES), _CONTEXT_RAMP) * between(rng, p.context_strength)
        add_tint(
            background, CONTEXT_COLOURS[rng.integers(len(ACTIONS))], int(rng.integers(num_frames)), strength // FULL
        )
    _fidget(rng, poses, spans, p)
    return Scene(p.size, num_frames, background, sprites, actions)


def _place_actions(rng: np.random.Generator, num_frames: int, p: UntrimmedParameters) -> list[tuple[int, int]]:
    """Spans (start, end) that keep `gap` frames between each other and to the ends of the video."""
    lengths = []
    for _ in range(between(rng, p.instances)):
        base = p.shortest << int(rng.integers(p.octaves))
        lengths.append(base + int(rng.integers(base)))
    while sum(lengths) + (len(lengths) + 1) * p.gap > num_frames:
        lengths.remove(max(lengths))
    slack = num_frames - sum(lengths) - (len(lengths) + 1) * p.gap
    spans, end = [], 0
    cuts = np.sort(rng.integers(0, slack + 1, len(lengths))).tolist()
    for length, extra in zip(lengths, np.diff([0, *cuts]).tolist(), strict=True):
        start = end + p.gap + extra
        end = start + length
        spans.append((start, end))
    return spans


def _fidget(rng: np.random.Generator, poses: Poses, spans: list[tuple[int, int]], p: UntrimmedParameters) -> None:
    """Add weak movements where no action is; one that finds no room is left out."""
    taken = list(spans)
    num_frames = len(poses.x)
    for _ in range(between(rng, p.fidgets)):
        length = between(rng, _FIDGET_FRAMES)
        start = int(rng.integers(max(1, num_frames - length)))
        action, strength, period = rng.choice(ACTIONS), between(rng, p.fidget_strength), between(rng, p.period)
        if start + length < num_frames and all(start >= end or start + length <= first for first, end in taken):
            perform(poses, action, start, envelope(length, length // 3) * strength // FULL, period)
            taken.append((start, start + length))


def annotate_untrimmed(
    scene: Scene, video_id: str, number: int, parameters: UntrimmedParameters
) -> list[dict[str, Any]]:
    """One row for temporal action localisation: times in seconds, classes by name."""
    segments = [
        {"start": action.start / FPS, "end": action.end / FPS, "label": ACTIONS[action.label]}
        for action in scene.actions
    ]
    labels = sorted({segment["label"] for segment in segments}, key=ACTIONS.index)
    return [
        {
            "video_id": video_id,
            "duration": scene.num_frames / FPS,
            "fps": float(FPS),
            "labels": labels,
            "segments": segments,
            "subset": video_id.rpartition("_")[0],
        }
    ]
