"""Cross-X's training pictures: resized without keeping the aspect, then cropped at random (official code 0ed68c1)."""

from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from .clip_augmentation import ClipAugmentation


@dataclass(frozen=True)
class ResizedCropAugmentation(ClipAugmentation):
    """As `ClipAugmentation`, but without `crop_scale` a random crop of pictures resized to one size.

    Args:
        resized: (height, width) that pictures are resized to, bilinear with antialias, at least `size`.
    """

    resized: tuple[int, int] | None = None

    def _crop(self, frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        if self.crop_scale is not None:
            return super()._crop(frames, generator)
        if frames.shape[-2:] != self.resized:
            frames = functional.resize(frames, list(self.resized), InterpolationMode.BILINEAR, antialias=True)
        top, left = (
            int(generator.integers(full - part, endpoint=True))
            for full, part in zip(self.resized, self.size, strict=True)
        )
        return functional.crop(frames, top, left, *self.size)
