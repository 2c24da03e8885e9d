"""Random augmentation of training clips, drawn once for all frames of a clip, and their normalisation.

The order is that of SlowFast's MViT recipe: RandAugment on the decoded frames, random resized crop, horizontal flip,
normalisation, random erasing. The operations on pixels are torchvision's; all choices come from the NumPy generator of
the sample, so that an item follows from seed, epoch and index alone.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from ...processing.spatial_crops import crop_offsets, short_side_size
from .video_rand_augment import VideoRandAugment

# Draws until a random crop or box fits; then the fallback is taken.
MAX_TRIES = 10


@dataclass(frozen=True)
class ClipAugmentation:
    """Turns decoded frames into what a network trains on.

    Args:
        size: (height, width) of the result in pixels.
        mean: per channel, on the scale 0 to 1.
        std: per channel.
        rand_augment: None for none.
        crop_scale: least and greatest share of the area that a random crop takes, in (0, 1]; None takes the middle
            crop of frames resized to `short_side`, as a test with one crop does.
        crop_ratio: least and greatest width over height of a random crop.
        short_side: of the frames that the middle crop is taken from, in pixels, at least the sides of `size`; None for
            the longer of these.
        flip_probability: of a horizontal flip.
        erase_probability: of one box of noise on all frames.
        erase_scale: least and greatest share of the area that is erased.
        erase_ratio: least and greatest height over width of the box.
        repeats: augmented copies of each clip.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rand_augment: VideoRandAugment | None = None
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    short_side: int | None = None
    flip_probability: float = 0.5
    erase_probability: float = 0.0
    erase_scale: tuple[float, float] = (0.02, 1 / 3)
    erase_ratio: tuple[float, float] = (0.3, 10 / 3)
    repeats: int = 1

    def __call__(self, frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """Augment a clip.

        Args:
            frames: uint8 (T, 3, H, W).
            generator: of the sample.

        Returns:
            float32 (repeats, T, 3, height, width), normalised.
        """
        return torch.stack([self._augment(frames, generator) for _ in range(self.repeats)])

    def _augment(self, frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        if self.rand_augment is not None:
            frames = self.rand_augment(frames, generator)
        frames = self._crop(functional.to_dtype(frames, torch.float32, scale=True), generator)
        if generator.random() < self.flip_probability:
            frames = functional.horizontal_flip(frames)
        frames = functional.normalize(frames, list(self.mean), list(self.std))
        if generator.random() < self.erase_probability:
            frames = self._erase(frames, generator)
        return frames

    def _crop(self, frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        height, width = frames.shape[-2:]
        if self.crop_scale is None:
            return self._middle_crop(frames)
        box = draw_crop(height, width, self.crop_scale, self.crop_ratio, generator)
        return functional.resized_crop(frames, *box, list(self.size), InterpolationMode.BILINEAR, antialias=False)

    def _middle_crop(self, frames: torch.Tensor) -> torch.Tensor:
        shape = short_side_size(*frames.shape[-2:], self.short_side or max(self.size))
        frames = functional.resize(frames, list(shape), InterpolationMode.BILINEAR, antialias=False)
        ((top, left),) = crop_offsets(*shape, *self.size, num_crops=1)
        return functional.crop(frames, top, left, *self.size)

    def _erase(self, frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        box = draw_erased_box(*frames.shape[-2:], self.erase_scale, self.erase_ratio, generator)
        if box is None:
            return frames
        top, left, height, width = box
        noise = generator.standard_normal((*frames.shape[:2], height, width), dtype=np.float32)
        return functional.erase(frames, top, left, height, width, torch.from_numpy(noise))


def draw_crop(
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: np.random.Generator,
) -> tuple[int, int, int, int]:
    """Draw a crop of random area and, log-uniformly, of random shape.

    Args:
        height: pixels of the frame.
        width: pixels of the frame.
        scale: least and greatest share of its area.
        ratio: least and greatest width over height.
        generator: of the draws.

    Returns:
        (top, left, height, width); after `MAX_TRIES` draws that do not fit, the largest middle crop of an allowed
        shape.
    """
    for _ in range(MAX_TRIES):
        area = height * width * generator.uniform(*scale)
        shape = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        crop_width, crop_height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(generator.integers(height - crop_height, endpoint=True))
            left = int(generator.integers(width - crop_width, endpoint=True))
            return top, left, crop_height, crop_width
    crop_height, crop_width = height, width
    if width / height < ratio[0]:
        crop_height = round(width / ratio[0])
    elif width / height > ratio[1]:
        crop_width = round(height * ratio[1])
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def draw_erased_box(
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: np.random.Generator,
) -> tuple[int, int, int, int] | None:
    """Draw a box (top, left, height, width) as `draw_crop`, but with the ratio of height over width.

    Returns:
        the box, or None when `MAX_TRIES` draws do not fit.
    """
    for _ in range(MAX_TRIES):
        area = height * width * generator.uniform(*scale)
        shape = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        box_height, box_width = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < box_height < height and 0 < box_width < width:
            top = int(generator.integers(height - box_height, endpoint=True))
            left = int(generator.integers(width - box_width, endpoint=True))
            return top, left, box_height, box_width
    return None
