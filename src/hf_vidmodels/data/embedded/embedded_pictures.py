"""Scenes of the picture corpora: digits to be masked, to be found, and to be classified, among clutter.

Clutter are halves of digits in the colours of digits, so that neither colour nor stroke alone tells an object.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .embedded_motions import Poses
from .embedded_rendering import mask_box, visible_masks
from .embedded_scenes import (
    CLUTTER,
    Background,
    Scene,
    Sprite,
    between,
    bright_colour,
    make_background,
    make_digit,
    percent,
)

DIGITS = tuple("0123456789")
_HALVES = (((0, 4), (0, 8)), ((4, 8), (0, 8)), ((0, 8), (0, 4)), ((0, 8), (4, 8)))
# A digit with fewer visible pixels counts as clutter.
_LEAST_VISIBLE = 40
# Draws of a digit that finds no room.
_TRIALS = 20
_SIMILAR_COLOUR = 45


@dataclass(frozen=True)
class PictureParameters:
    """How many and how hard the pictures of one corpus are. Pairs are least and greatest value.

    Attributes:
        splits: name of each split and its number of pictures.
        size: side of the square pictures in pixels.
        digits: number of whole digits; fewer where there is no room.
        side: of a digit in pixels.
        clutter: number of pieces.
        clutter_side: of the digit that a piece is the half of, in pixels.
        similar_percent: chance that a digit's colour is close to one of the background's.
        least_distance_percent: distance of the centres of two digits, down or across, that they keep at least; in
            percent of the mean of their sides.
        labelled_every: of the pictures outside the test split only each so-manieth has a label.
    """

    splits: tuple[tuple[str, int], ...]
    size: int
    digits: tuple[int, int]
    side: tuple[int, int]
    clutter: tuple[int, int]
    clutter_side: tuple[int, int]
    similar_percent: int = 0
    least_distance_percent: int = 0
    labelled_every: int = 1


BOXES = PictureParameters(
    splits=(("train", 900), ("validation", 150), ("test", 200)),
    size=128,
    digits=(1, 4),
    side=(36, 56),
    clutter=(5, 10),
    clutter_side=(20, 36),
    similar_percent=25,
    least_distance_percent=70,
)
OBJECTS = PictureParameters(
    splits=(("train", 300), ("test", 150)),
    size=96,
    digits=(1, 1),
    side=(26, 44),
    clutter=(6, 12),
    clutter_side=(16, 34),
)
IMAGES = PictureParameters(
    splits=(("train", 400), ("test", 200)),
    size=64,
    digits=(1, 1),
    side=(30, 44),
    clutter=(3, 7),
    clutter_side=(14, 28),
    similar_percent=20,
    labelled_every=5,
)
# Small and easy, so that few labels teach something. Every picture has its label, for a training to hide most of them.
MANY_IMAGES = PictureParameters(
    splits=(("train", 2000), ("validation", 400), ("test", 1000)),
    size=32,
    digits=(1, 1),
    side=(20, 24),
    clutter=(0, 1),
    clutter_side=(6, 10),
)


def picture_scene(rng: np.random.Generator, split: str, parameters: PictureParameters) -> Scene:
    """One frame with digits and clutter in random order of depth; a digit lies in front of everything."""
    p = parameters
    background = make_background(rng, p.size, 1)
    pieces = []
    for _ in range(between(rng, p.clutter)):
        colour = bright_colour(rng, background)
        piece = make_digit(rng, split, p.size, 1, between(rng, p.clutter_side), colour)
        piece.rows, piece.columns = _HALVES[rng.integers(len(_HALVES))]
        piece.digit = CLUTTER
        pieces.append(piece)
    digits: list[Sprite] = []
    for _ in range(between(rng, p.digits)):
        digits += _find_room(rng, split, background, digits, p)
    behind = pieces + digits[:-1]
    order = rng.permutation(len(behind))
    return Scene(p.size, 1, background, [behind[number] for number in order] + digits[-1:])


def annotate_boxes(scene: Scene, image_id: str, number: int, parameters: PictureParameters) -> list[dict[str, Any]]:
    """One row for mask labelling, as COCO has it; masks, areas and boxes are of what is visible."""
    from pycocotools import mask as coco_mask

    masks = visible_masks(scene, 0)
    objects = []
    for index, sprite in enumerate(scene.sprites):
        area = int(masks[index].sum())
        if sprite.digit == CLUTTER or area < _LEAST_VISIBLE:
            continue
        left, top, right, bottom = mask_box(masks[index])
        encoded = coco_mask.encode(np.asfortranarray(masks[index].astype(np.uint8)))
        objects.append(
            {
                "id": number * 100 + index + 1,
                "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
                "category": DIGITS[sprite.digit],
                "area": float(area),
                "iscrowd": 0,
                "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")},
            }
        )
    return [{"image_id": image_id, "objects": objects}]


def annotate_object(scene: Scene, image_id: str, number: int, parameters: PictureParameters) -> list[dict[str, Any]]:
    """One row for object localisation."""
    box = [float(edge) for edge in mask_box(visible_masks(scene, 0)[-1])]
    return [{"label": DIGITS[scene.sprites[-1].digit], "bbox": box}]


def annotate_image(scene: Scene, image_id: str, number: int, parameters: PictureParameters) -> list[dict[str, Any]]:
    """One row for image classification; outside the test split most pictures have no label."""
    labelled = image_id.startswith("test") or number % parameters.labelled_every == 0
    return [{"label": DIGITS[scene.sprites[-1].digit] if labelled else None}]


def _find_room(
    rng: np.random.Generator, split: str, background: Background, others: list[Sprite], p: PictureParameters
) -> list[Sprite]:
    """Draw a digit until it is far enough from the others; none when there is no room."""
    for _ in range(_TRIALS):
        digit = _picture_digit(rng, split, background, p)
        if all(_distance_percent(digit.poses, other.poses) >= p.least_distance_percent for other in others):
            return [digit]
    return []


def _distance_percent(first: Poses, second: Poses) -> int:
    apart = max(abs(int(first.x[0] - second.x[0])), abs(int(first.y[0] - second.y[0])))
    return 200 * apart // int(first.size[0] + second.size[0])


def _picture_digit(rng: np.random.Generator, split: str, background: Background, p: PictureParameters) -> Sprite:
    colour = bright_colour(rng, background)
    if percent(rng, p.similar_percent):
        near = background.colours[rng.integers(2)]
        colour = np.clip(near + rng.integers(-_SIMILAR_COLOUR, _SIMILAR_COLOUR + 1, 3), 0, 255)
    return make_digit(rng, split, p.size, 1, between(rng, p.side), colour)
