"""RandAugment for pictures in the two forms that Semiformer trains with: ImageNet's, and FixMatch's for small ones.

Cubuk et al., arXiv 1909.13719, as timm 0.3.2 applies it, and Sohn et al., NeurIPS 2020. Operations are torchvision's
on PIL pictures, which are interpolated as Pillow does; shears and shifts, which torchvision centres, are Pillow's.
All choices come from a NumPy generator.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from .video_rand_augment import RandAugmentDraws

IMAGENET_FILL = (124, 116, 104)
CUTOUT_COLOUR = (125, 123, 114)
GREATEST_CUTOUT = 0.5


@dataclass(frozen=True)
class PictureRandAugment(RandAugmentDraws):
    """Applies randomly chosen operations to a picture; arguments as of `RandAugmentDraws`."""

    num_operations: int = 2
    magnitude: float = 9.0

    def __call__(self, picture: Image.Image, generator: np.random.Generator) -> Image.Image:
        """Transform an RGB picture."""
        names = tuple(MAGNITUDE_OPERATIONS)
        for number, magnitude, sign in self.draws(len(names), generator):
            picture = augment_by_magnitude(picture, names[number], magnitude, sign)
        return picture


@dataclass(frozen=True)
class FixMatchAugment:
    """Applies randomly chosen operations of uniform strength to a picture, then cuts a square out.

    Args:
        num_operations: how many are drawn, with replacement.
    """

    num_operations: int = 3

    def __call__(self, picture: Image.Image, generator: np.random.Generator) -> Image.Image:
        """Transform an RGB picture."""
        names = tuple(RANGE_OPERATIONS)
        for number in generator.integers(len(names), size=self.num_operations):
            picture = augment_in_range(picture, names[number], generator.random())
        centre = (generator.uniform(0, picture.width), generator.uniform(0, picture.height))
        return cut_out(picture, GREATEST_CUTOUT * generator.random(), centre)


def augment_by_magnitude(picture: Image.Image, name: str, magnitude: float, sign: int = 1) -> Image.Image:
    """Apply an operation of `MAGNITUDE_OPERATIONS`.

    Args:
        picture: RGB.
        name: of the operation.
        magnitude: 0 to 10.
        sign: -1 or 1, for operations that go either way.
    """
    operation, argument_of = MAGNITUDE_OPERATIONS[name]
    return operation(picture, argument_of(magnitude, sign), InterpolationMode.BICUBIC, IMAGENET_FILL)


def augment_in_range(picture: Image.Image, name: str, share: float) -> Image.Image:
    """Apply an operation of `RANGE_OPERATIONS`.

    Args:
        picture: RGB.
        name: of the operation.
        share: of the way from the least to the greatest argument, in [0, 1].
    """
    operation, least, greatest = RANGE_OPERATIONS[name]
    return operation(picture, least + (greatest - least) * share, InterpolationMode.NEAREST, (0, 0, 0))


def cut_out(picture: Image.Image, share: float, centre: tuple[float, float]) -> Image.Image:
    """Fill a square by one colour.

    As in the official code its corners belong to it, and it is not shortened where its left or upper edge is cut off.

    Args:
        picture: RGB.
        share: side of the square over the width of the picture.
        centre: (x, y) in pixels.
    """
    side = share * picture.width
    if side <= 0:
        return picture
    left, top = (int(max(0.0, place - side / 2)) for place in centre)
    right, bottom = min(picture.width, left + side), min(picture.height, top + side)
    picture = picture.copy()
    ImageDraw.Draw(picture).rectangle((left, top, right, bottom), CUTOUT_COLOUR)
    return picture


def _transformed(
    picture: Image.Image, matrix: tuple[float, ...], mode: InterpolationMode, fill: tuple[int, ...]
) -> Image.Image:
    resample = Image.Resampling.BICUBIC if mode is InterpolationMode.BICUBIC else Image.Resampling.NEAREST
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=fill)


def _rotate(picture: Image.Image, degrees: float, mode: InterpolationMode, fill: tuple[int, ...]) -> Image.Image:
    return functional.rotate(picture, degrees, interpolation=mode, fill=list(fill))


def _posterize(picture: Image.Image, bits: float, *_: object) -> Image.Image:
    # torchvision refuses 0 bits, which leave a black picture.
    return functional.posterize(picture, int(bits)) if int(bits) else Image.new("RGB", picture.size)


def _solarize_add(picture: Image.Image, added: float, *_: object) -> Image.Image:
    table = [min(255, value + int(added)) if value < 128 else value for value in range(256)]
    return picture.point(table * len(picture.getbands()))


def _signed(per_magnitude: float) -> Callable[[float, int], float]:
    return lambda magnitude, sign: sign * per_magnitude * magnitude


def _factor(magnitude: float, sign: int) -> float:
    return 1 + sign * 0.09 * magnitude


def _nothing(magnitude: float, sign: int) -> float:
    return 0.0


# All take (picture, argument, interpolation, fill).
_OPERATIONS: dict[str, Callable[..., Image.Image]] = {
    "AutoContrast": lambda picture, *_: functional.autocontrast(picture),
    "Equalize": lambda picture, *_: functional.equalize(picture),
    "Invert": lambda picture, *_: functional.invert(picture),
    "Identity": lambda picture, *_: picture,
    "Rotate": _rotate,
    "Posterize": _posterize,
    "Solarize": lambda picture, threshold, *_: functional.solarize(picture, threshold),
    "SolarizeAdd": _solarize_add,
    "Color": lambda picture, factor, *_: functional.adjust_saturation(picture, factor),
    "Contrast": lambda picture, factor, *_: functional.adjust_contrast(picture, factor),
    "Brightness": lambda picture, factor, *_: functional.adjust_brightness(picture, factor),
    "Sharpness": lambda picture, factor, *_: functional.adjust_sharpness(picture, factor),
    "ShearX": lambda picture, slope, *rest: _transformed(picture, (1, slope, 0, 0, 1, 0), *rest),
    "ShearY": lambda picture, slope, *rest: _transformed(picture, (1, 0, 0, slope, 1, 0), *rest),
    "TranslateX": lambda picture, share, *rest: _transformed(picture, (1, 0, share * picture.width, 0, 1, 0), *rest),
    "TranslateY": lambda picture, share, *rest: _transformed(picture, (1, 0, 0, 0, 1, share * picture.height), *rest),
}
# By name the operation, and how its argument follows from magnitude and sign.
MAGNITUDE_OPERATIONS = {
    name: (_OPERATIONS[name], argument_of)
    for name, argument_of in {
        "AutoContrast": _nothing,
        "Equalize": _nothing,
        "Invert": _nothing,
        "Rotate": _signed(3.0),
        "Posterize": lambda magnitude, sign: 4 - int(0.4 * magnitude),
        "Solarize": lambda magnitude, sign: 256 - int(25.6 * magnitude),
        "SolarizeAdd": lambda magnitude, sign: int(11 * magnitude),
        "Color": _factor,
        "Contrast": _factor,
        "Brightness": _factor,
        "Sharpness": _factor,
        "ShearX": _signed(0.03),
        "ShearY": _signed(0.03),
        "TranslateX": _signed(0.045),
        "TranslateY": _signed(0.045),
    }.items()
}
# By name the operation, its least and its greatest argument.
RANGE_OPERATIONS = {
    name: (_OPERATIONS[name], *bounds)
    for name, bounds in {
        "AutoContrast": (0, 1),
        "Brightness": (0.05, 0.95),
        "Color": (0.05, 0.95),
        "Contrast": (0.05, 0.95),
        "Equalize": (0, 1),
        "Identity": (0, 1),
        "Posterize": (4, 8),
        "Rotate": (-30, 30),
        "Sharpness": (0.05, 0.95),
        "ShearX": (-0.3, 0.3),
        "ShearY": (-0.3, 0.3),
        "Solarize": (0, 256),
        "TranslateX": (-0.3, 0.3),
        "TranslateY": (-0.3, 0.3),
    }.items()
}
