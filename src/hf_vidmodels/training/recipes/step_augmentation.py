"""Augmentation of clips with boxes, drawn once for all frames of a clip: colours, a crop, a mirror, erased patches.

STEP trains as SSD does (Liu et al., ECCV 2016); order and constants are those of the official code (59da38a). All
choices come from the NumPy generator of the sample. Boxes are x0, y0, x1, y1 relative to the frame, and zeros where
unknown.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import functional

MAX_TRIES = 50
# Least overlap of every key-frame box with a random crop; None leaves the frame whole.
CROP_OVERLAPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
CROP_SIDES, CROP_SHAPES = (0.3, 1.0), (0.5, 2.0)
BRIGHTNESS, CONTRAST, SATURATION, HUE = 32 / 255, (0.5, 1.5), (0.5, 1.5), 18 / 360
ERASED_SHARES, ERASED_SHAPES, ERASE_TRIES = (0.02, 0.2), (0.3, 10 / 3), 100


@dataclass(frozen=True)
class TubeAugmentation:
    """Chances of the single changes.

    Args:
        colors: of each change of colours.
        crops: whether a random part of the frame is taken.
        flip_probability: of a mirror.
        erase_probability: of patches of noise in the boxes.
    """

    colors: float = 0.5
    crops: bool = True
    flip_probability: float = 0.5
    erase_probability: float = 0.5

    def __call__(
        self, frames: torch.Tensor, boxes: np.ndarray, generator: np.random.Generator
    ) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """Augment a clip.

        Args:
            frames: uint8 (T, 3, h, w).
            boxes: (n, K, 4), of which number K // 2 is in the key frame.
            generator: of the sample.

        Returns:
            float32 frames (T, 3, h', w') from 0 to 255, boxes (m, K, 4), and the places (m,) of the people that are
            left.
        """
        frames = self.change_colors(frames.float() / 255, generator) if self.colors else frames.float() / 255
        kept = np.arange(len(boxes))
        if self.crops:
            height, width = frames.shape[-2:]
            left, top, right, bottom = draw_crop(boxes[:, boxes.shape[1] // 2], height, width, generator)
            frames = frames[..., top:bottom, left:right]
            share = np.array([left / width, top / height, right / width, bottom / height])
            boxes, kept = crop_boxes(boxes, share)
        if generator.random() < self.flip_probability:
            frames, boxes = functional.horizontal_flip(frames), mirror_boxes(boxes)
        if generator.random() < self.erase_probability:
            frames = erase_patches(frames, boxes[:, boxes.shape[1] // 2], generator)
        return frames * 255, boxes, kept

    def change_colors(self, frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """Change brightness, contrast, saturation, hue and the order of channels of float32 frames in [0, 1]."""

        def happens() -> bool:
            return generator.random() < self.colors

        if happens():
            frames = (frames + generator.uniform(-BRIGHTNESS, BRIGHTNESS)).clamp(0, 1)
        contrast = generator.uniform(*CONTRAST) if happens() else 1.0
        contrast_first = generator.random() < 0.5
        if contrast_first:
            frames = (frames * contrast).clamp(0, 1)
        if happens():
            # Saturation is what the greatest channel leaves of the others.
            value = frames.amax(1, keepdim=True)
            frames = (value - (value - frames) * generator.uniform(*SATURATION)).clamp_min(0)
        if happens():
            frames = functional.adjust_hue(frames, generator.uniform(-HUE, HUE))
        if not contrast_first:
            frames = (frames * contrast).clamp(0, 1)
        return frames[:, generator.permutation(3)] if happens() else frames


def draw_crop(boxes: np.ndarray, height: int, width: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a part of the frame that shows enough of every person, as SSD does.

    Args:
        boxes: (n, 4) in the key frame.
        height: pixels.
        width: pixels.
        generator: of the draws.

    Returns:
        (left, top, right, bottom) in pixels; the whole frame where that is drawn, or nobody is there.
    """
    pixels = boxes * [width, height, width, height]
    centres = (pixels[:, :2] + pixels[:, 2:]) / 2
    areas = (pixels[:, 2:] - pixels[:, :2]).prod(1)
    while len(boxes):
        least = CROP_OVERLAPS[generator.integers(len(CROP_OVERLAPS))]
        if least is None:
            break
        sides = generator.uniform(*CROP_SIDES, (MAX_TRIES, 2)) * [width, height]
        starts = generator.uniform(0, 1, (MAX_TRIES, 2)) * ([width, height] - sides)
        crops = np.concatenate((starts, starts + sides), axis=1).astype(np.int64)
        sides = crops[:, 2:] - crops[:, :2]
        common = np.minimum(crops[:, None, 2:], pixels[:, 2:]) - np.maximum(crops[:, None, :2], pixels[:, :2])
        common = common.clip(0).prod(-1)
        overlaps = common / np.maximum(sides.prod(1)[:, None] + areas - common, 1e-9)
        is_inside = ((crops[:, None, :2] < centres) & (centres < crops[:, None, 2:])).all(-1)
        shapes = sides[:, 1] / np.maximum(sides[:, 0], 1)
        is_good = (overlaps >= least).all(1) & is_inside.any(1)
        is_good &= (shapes >= CROP_SHAPES[0]) & (shapes <= CROP_SHAPES[1])
        if is_good.any():
            return tuple(crops[is_good.argmax()].tolist())
    return 0, 0, width, height


def crop_boxes(boxes: np.ndarray, crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the boxes of people in a part of the frame.

    Args:
        boxes: (n, K, 4); zeros stay zeros.
        crop: (4,) the part, relative to the frame.

    Returns:
        boxes (m, K, 4) relative to the part, cut at its edges, and the places (m,) of people whose centre in the key
        frame is inside it.
    """
    key = boxes[:, boxes.shape[1] // 2]
    centres = (key[:, :2] + key[:, 2:]) / 2
    kept = np.flatnonzero(((crop[:2] < centres) & (centres < crop[2:])).all(1))
    start, size = np.tile(crop[:2], 2), np.tile(crop[2:] - crop[:2], 2)
    moved = ((boxes[kept] - start) / size).clip(0, 1)
    is_known = boxes[kept].any(-1, keepdims=True) & (moved[..., 2:] > moved[..., :2]).all(-1, keepdims=True)
    return np.where(is_known, moved, 0.0), kept


def mirror_boxes(boxes: np.ndarray) -> np.ndarray:
    """Exchange left and right of boxes (..., 4); zeros stay zeros."""
    mirrored = np.stack((1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]), axis=-1)
    return np.where(boxes.any(-1, keepdims=True), mirrored, 0.0)


def erase_patches(frames: torch.Tensor, boxes: np.ndarray, generator: np.random.Generator) -> torch.Tensor:
    """Overwrite a patch of every box by noise, the same in all frames.

    Args:
        frames: float32 (T, 3, h, w) in [0, 1].
        boxes: (n, 4).
        generator: of the draws.
    """
    frames = frames.clone()
    height, width = frames.shape[-2:]
    for left, top, right, bottom in (boxes * [width, height, width, height]).astype(np.int64).tolist():
        for _ in range(ERASE_TRIES):
            area = (right - left) * (bottom - top) * generator.uniform(*ERASED_SHARES)
            shape = generator.uniform(*ERASED_SHAPES)
            tall, wide = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if 0 < wide < right - left and 0 < tall < bottom - top:
                x, y = int(generator.integers(left, right - wide)), int(generator.integers(top, bottom - tall))
                noise = generator.random((3, tall, wide), dtype=np.float32)
                frames[..., y : y + tall, x : x + wide] = torch.from_numpy(noise)
                break
    return frames
