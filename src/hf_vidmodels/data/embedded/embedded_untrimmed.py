"""Scenes of temporal action localisation: minutes of video in which a digit acts now and then.

What makes them hard is what weakly supervised localisation struggles with. Most actions are short, so that a network
that samples a fixed number of snippets from minutes of video sees little of them. Some are performed weakly, next to
plain ones of the same class. Inside longer ones the digit rests. Weak movements of classes that the video does not
have are no action. And the whole picture often slides before and after an action, to a side that goes with its class,
so that the slide tells the video's label without being the action.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .embedded_motions import FULL, WAYS, Poses, envelope, perform
from .embedded_scenes import ActionInstance, Scene, between, bright_colour, make_background, make_digit, percent

UNTRIMMED_FPS = 8
# How the picture slides around each action, pixels down and right in eight frames at full strength.
CONTEXT_SLIDES = ((0, 10), (0, -10), (10, 0), (-10, 0), (8, 8))
_SLIDE_FRAMES = 8
_CONTEXT_RAMP = 4
_LONGEST_RAMP = 6
_STRAY_CONTEXT_FRAMES = (16, 64)
_FIDGET_FRAMES = (8, 24)
_DISTRACTOR_PERCENT_OF_SIZE = (16, 25)
_ACTOR_PERCENT_OF_SIZE = (30, 42)
_COMMON_SCENE_FRAMES = (48, 120)


@dataclass(frozen=True)
class UntrimmedParameters:
    """How many, how long and how hard the videos are. Pairs are least and greatest value; times are frames.

    Attributes:
        splits: name of each split and its number of videos.
        size: side of the square pictures in pixels.
        shortest_video: length of the shortest video.
        video_octaves: lengths of videos lie within so many doublings of `shortest_video`.
        instances: number of actions in a video, as far as there is room.
        shortest: length of the shortest action.
        octaves: lengths lie within so many doublings of `shortest`, the shorter ones more often.
        longest: length of the longest action.
        gap: least distance of two actions.
        second_class_percent: chance that a video has actions of two classes.
        period: one repetition of a motion.
        weak_percent: chance that an action is performed weakly; the first of each class never is.
        weak_strength: strength of weak actions and of fidgets, of 256.
        rest_every: frames of an action between two rests.
        rest: frames of a rest.
        fidgets: number of weak movements outside the actions.
        context_percent: chance that the picture slides before and after an action.
        context_margin: frames of a slide.
        stray_contexts: number of slides without an action.
        distractors: number of further digits, which only drift.
        common_scenes: number of scenes, alike in all videos, in which the digit swings, spins and pulses at once;
            they are no action.
    """

    splits: tuple[tuple[str, int], ...] = (("train", 300), ("validation", 100), ("test", 200))
    size: int = 48
    shortest_video: int = 480
    video_octaves: int = 2
    instances: tuple[int, int] = (3, 10)
    shortest: int = 8
    octaves: int = 5
    longest: int = 240
    gap: int = 24
    second_class_percent: int = 25
    period: tuple[int, int] = (10, 14)
    weak_percent: int = 35
    weak_strength: tuple[int, int] = (90, 140)
    rest_every: tuple[int, int] = (14, 28)
    rest: tuple[int, int] = (4, 8)
    fidgets: tuple[int, int] = (1, 4)
    context_percent: int = 50
    context_margin: tuple[int, int] = (12, 48)
    stray_contexts: tuple[int, int] = (1, 3)
    distractors: tuple[int, int] = (1, 2)
    common_scenes: tuple[int, int] = (0, 0)


# For a first look: fewer and shorter videos, and actions that are seen plainly for three seconds or more.
SMALL = UntrimmedParameters(
    splits=(("train", 60), ("validation", 20), ("test", 30)),
    video_octaves=1,
    instances=(2, 6),
    shortest=24,
    octaves=3,
    weak_percent=0,
    rest_every=(400, 500),
    fidgets=(0, 2),
    context_percent=15,
    stray_contexts=(0, 1),
)
# Every video has the same kind of scene, as recordings of one place have, and too few videos to see through it.
COMMON_SCENE = UntrimmedParameters(
    splits=(("train", 60), ("validation", 40), ("test", 60)), video_octaves=1, common_scenes=(1, 1)
)


def untrimmed_scene(rng: np.random.Generator, split: str, parameters: UntrimmedParameters) -> Scene:
    """Compose one video."""
    p = parameters
    num_frames = _skewed_length(rng, p.shortest_video, p.video_octaves)
    background = make_background(rng, p.size, num_frames)
    num_sprites = between(rng, p.distractors) + 1
    actor = int(rng.integers(num_sprites))
    sprites = [
        make_digit(
            rng,
            split,
            p.size,
            num_frames,
            p.size * between(rng, _ACTOR_PERCENT_OF_SIZE if number == actor else _DISTRACTOR_PERCENT_OF_SIZE) // 100,
            bright_colour(rng, background),
        )
        for number in range(num_sprites)
    ]
    poses = sprites[actor].poses
    order = rng.permutation(len(WAYS))
    classes, absent = np.split(order, [2 if percent(rng, p.second_class_percent) else 1])
    lengths = [min(_skewed_length(rng, p.shortest, p.octaves), p.longest) for _ in range(between(rng, p.instances))]
    common = [between(rng, _COMMON_SCENE_FRAMES) for _ in range(between(rng, p.common_scenes))]
    spans = _place(rng, num_frames, common + lengths, p.gap)
    for start, end in spans[: len(common)]:
        strength = envelope(end - start, _LONGEST_RAMP)
        for action in ("swing", "spin", "pulse"):
            perform(poses, action, start, strength, p.period[0])
    actions = []
    for number, (start, end) in enumerate(spans[len(common) :]):
        # Each class of the video comes once, and plainly, before any is drawn again.
        is_first = number < len(classes)
        label = int(classes[number] if is_first else rng.choice(classes))
        actions.append(ActionInstance(label, actor, start, end))
        strength = _with_rests(rng, envelope(end - start, min((end - start) // 5, _LONGEST_RAMP)), p)
        if percent(rng, p.weak_percent) and not is_first:
            strength = strength * between(rng, p.weak_strength) // FULL
        perform(poses, WAYS[label], start, strength, between(rng, p.period))
        if percent(rng, p.context_percent):
            before, after = between(rng, p.context_margin), between(rng, p.context_margin)
            _slide(background.drift, label, start - before, before)
            _slide(background.drift, label, end, after)
    for _ in range(between(rng, p.stray_contexts)):
        length = between(rng, _STRAY_CONTEXT_FRAMES)
        _slide(background.drift, int(rng.integers(len(WAYS))), int(rng.integers(num_frames)), length)
    _fidget(rng, poses, [WAYS[label] for label in absent], spans, p)
    actions.sort(key=lambda action: action.start)
    return Scene(p.size, num_frames, background, sprites, actions)


def _skewed_length(rng: np.random.Generator, shortest: int, octaves: int) -> int:
    """Draw a length within `octaves` doublings of `shortest`; the first doubling is the likeliest, the last rare."""
    base = shortest << int(min(rng.integers(octaves, size=2)))
    return base + int(rng.integers(base))


def _place(rng: np.random.Generator, num_frames: int, lengths: list[int], gap: int) -> list[tuple[int, int]]:
    """Place spans (start, end) at random, `gap` frames apart and from the ends, in the order in which they are given;
    the last ones are left out where there is no room."""
    while sum(lengths) + (len(lengths) + 1) * gap > num_frames:
        lengths = lengths[:-1]
    slack = num_frames - sum(lengths) - (len(lengths) + 1) * gap
    extras = np.diff([0, *np.sort(rng.integers(0, slack + 1, len(lengths))).tolist()]).tolist()
    spans, end = [(0, 0)] * len(lengths), 0
    for number, extra in zip(rng.permutation(len(lengths)).tolist(), extras, strict=True):
        start = end + gap + extra
        end = start + lengths[number]
        spans[number] = (start, end)
    return spans


def _with_rests(rng: np.random.Generator, strength: np.ndarray, p: UntrimmedParameters) -> np.ndarray:
    """Let a movement (n,) stop now and then, but neither at its beginning nor at its end."""
    strength = strength.copy()
    start = between(rng, p.rest_every)
    while start + p.rest[1] + _LONGEST_RAMP < len(strength):
        rest = between(rng, p.rest)
        strength[start : start + rest] = 0
        start += rest + between(rng, p.rest_every)
    return strength


def _slide(drift: np.ndarray, label: int, start: int, length: int) -> None:
    """Let the picture (T, 2) slide as it goes with a class, in place; what lies outside the video is left out."""
    strength = np.zeros(len(drift) + 2 * length, np.int64)
    strength[start + length : start + 2 * length] = envelope(length, _CONTEXT_RAMP)
    moved = np.cumsum(strength[length : length + len(drift)])
    drift += moved[:, None] * np.array(CONTEXT_SLIDES[label]) // (_SLIDE_FRAMES * FULL)


def _fidget(
    rng: np.random.Generator, poses: Poses, motions: list[str], spans: list[tuple[int, int]], p: UntrimmedParameters
) -> None:
    """Add weak movements where no action is; one that finds no room is left out."""
    taken = list(spans)
    num_frames = len(poses.x)
    for _ in range(between(rng, p.fidgets)):
        length = between(rng, _FIDGET_FRAMES)
        start = int(rng.integers(num_frames - length))
        motion, strength, period = rng.choice(motions), between(rng, p.weak_strength), between(rng, p.period)
        if all(start >= end or start + length <= first for first, end in taken):
            perform(poses, motion, start, envelope(length, length // 3) * strength // FULL, period)
            taken.append((start, start + length))


def annotate_untrimmed(
    scene: Scene, video_id: str, number: int, parameters: UntrimmedParameters
) -> list[dict[str, Any]]:
    """One row for temporal action localisation: times in seconds, classes by name."""
    segments = [
        {"start": action.start / UNTRIMMED_FPS, "end": action.end / UNTRIMMED_FPS, "label": WAYS[action.label]}
        for action in scene.actions
    ]
    labels = sorted({segment["label"] for segment in segments}, key=WAYS.index)
    return [
        {
            "video_id": video_id,
            "duration": scene.num_frames / UNTRIMMED_FPS,
            "fps": float(UNTRIMMED_FPS),
            "labels": labels,
            "segments": segments,
            "subset": video_id.rpartition("_")[0],
        }
    ]
