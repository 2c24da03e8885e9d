"""How Semiformer sees a training picture: labelled, strongly augmented and weakly augmented views.

Facts of the official code (commit 0e3b5be). Pictures are PIL's, transforms torchvision's, and all choices come from
the NumPy generator of the sample, so that a view follows from seed, epoch and picture alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from .clip_augmentation import draw_crop, draw_erased_box

CROP_RATIO = (3 / 4, 4 / 3)
ERASE_SCALE, ERASE_RATIO = (0.02, 1 / 3), (0.3, 10 / 3)
# Pixels added to every side before a weak view is cropped.
PADDING = 4


@dataclass(frozen=True)
class PictureViews:
    """Makes views.

    Args:
        size: (height, width) of a view in pixels.
        mean: per channel, on the scale 0 to 1.
        std: per channel.
        short_side: of pictures that weak views are cropped from.
        is_small: whether pictures are small, as in CIFAR: then strong views are changed before they are enlarged,
            labelled views are weak ones, and weak ones are padded with black instead of mirrored edges.
        rand_augment: changes the colours and the place of strong views; None for none.
        crop_scale: least and greatest share of the area that a strong view shows, of pictures that are not small.
        flip_probability: of a horizontal flip.
        erase_probability: that a box of a strong view is overwritten by noise, of pictures that are not small.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    short_side: int
    is_small: bool = False
    rand_augment: Callable[[Image.Image, np.random.Generator], Image.Image] | None = None
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip_probability: float = 0.5
    erase_probability: float = 0.25

    def labelled(self, picture: Image.Image, generator: np.random.Generator) -> torch.Tensor:
        """Give a labelled RGB picture as float32 (3, height, width), normalised."""
        return self.weak(picture, generator) if self.is_small else self.strong(picture, generator)

    def weak(self, picture: Image.Image, generator: np.random.Generator) -> torch.Tensor:
        """Give the view that is labelled: flipped and shifted a little; float32 (3, height, width), normalised."""
        return self._shifted(self._flipped(picture, generator), generator)

    def strong(self, picture: Image.Image, generator: np.random.Generator) -> torch.Tensor:
        """Give the view that is learned on; float32 (3, height, width), normalised."""
        if self.is_small:
            picture = self._flipped(picture, generator)
            picture = picture if self.rand_augment is None else self.rand_augment(picture, generator)
            return self._shifted(picture, generator)
        box = draw_crop(picture.height, picture.width, self.crop_scale, CROP_RATIO, generator)
        picture = functional.resized_crop(picture, *box, list(self.size), InterpolationMode.BICUBIC)
        picture = self._flipped(picture, generator)
        picture = picture if self.rand_augment is None else self.rand_augment(picture, generator)
        view = self.normalized(picture)
        if generator.random() < self.erase_probability:
            erased = draw_erased_box(*self.size, ERASE_SCALE, ERASE_RATIO, generator)
            if erased is not None:
                top, left, height, width = erased
                noise = generator.standard_normal((3, height, width), dtype=np.float32)
                view = functional.erase(view, top, left, height, width, torch.from_numpy(noise))
        return view

    def normalized(self, picture: Image.Image) -> torch.Tensor:
        """Turn an RGB picture into float32 (3, H, W), normalised."""
        pixels = functional.to_dtype(functional.pil_to_tensor(picture), torch.float32, scale=True)
        return functional.normalize(pixels, list(self.mean), list(self.std))

    def _flipped(self, picture: Image.Image, generator: np.random.Generator) -> Image.Image:
        return functional.horizontal_flip(picture) if generator.random() < self.flip_probability else picture

    def _shifted(self, picture: Image.Image, generator: np.random.Generator) -> torch.Tensor:
        """Resize, pad and crop at random."""
        padded = self._padded(picture)
        free = (padded.height - self.size[0], padded.width - self.size[1])
        top, left = (int(generator.integers(length, endpoint=True)) for length in free)
        return self.normalized(functional.crop(padded, top, left, *self.size))

    def _padded(self, picture: Image.Image) -> Image.Image:
        resized = functional.resize(picture, [self.short_side], InterpolationMode.BICUBIC)
        return functional.pad(resized, [PADDING], padding_mode="constant" if self.is_small else "reflect")
