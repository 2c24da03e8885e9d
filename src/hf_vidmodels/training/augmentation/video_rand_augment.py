"""RandAugment for clips: the same operations with the same strengths and signs for all frames.

Cubuk et al., arXiv 1909.13719, in the variant that SlowFast's MViT recipes take: 15 operations whose strength grows
with one magnitude that is itself noisy. The operations are torchvision's; all choices come from a NumPy generator.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

GREATEST_MAGNITUDE = 10.0
FILL = [128.0]

# Takes uint8 frames (T, 3, H, W), a magnitude in [0, 10] and a sign, -1 or 1.
Operation = Callable[[torch.Tensor, float, int], torch.Tensor]


@dataclass(frozen=True)
class RandAugmentDraws:
    """Draws operations with strengths around one magnitude.

    Args:
        num_operations: how many are drawn, with replacement.
        magnitude: mean strength, 0 to 10.
        magnitude_std: deviation of each operation's strength, which is cut to [0, 10].
        probability: with which each drawn operation is applied.
    """

    num_operations: int = 4
    magnitude: float = 7.0
    magnitude_std: float = 0.5
    probability: float = 0.5

    def draws(self, num_known: int, generator: np.random.Generator) -> Iterator[tuple[int, float, int]]:
        """Yield number (of `num_known`), strength in [0, 10] and sign, -1 or 1, of the operations to apply."""
        for number in generator.integers(num_known, size=self.num_operations):
            is_applied = generator.random() < self.probability
            magnitude = float(np.clip(generator.normal(self.magnitude, self.magnitude_std), 0.0, GREATEST_MAGNITUDE))
            sign = 1 if generator.random() < 0.5 else -1
            if is_applied:
                yield int(number), magnitude, sign


class VideoRandAugment(RandAugmentDraws):
    """Applies randomly chosen operations to a clip; arguments as of `RandAugmentDraws`."""

    def __call__(self, frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """Transform uint8 frames (T, 3, H, W)."""
        for number, magnitude, sign in self.draws(len(OPERATIONS), generator):
            frames = OPERATIONS[number](frames, magnitude, sign)
        return frames


def _move(
    frames: torch.Tensor,
    *,
    angle: float = 0.0,
    right: float = 0.0,
    down: float = 0.0,
    shear: tuple[float, float] = (0.0, 0.0),
) -> torch.Tensor:
    """Turn by degrees, shift by shares of the side, shear by slopes."""
    height, width = frames.shape[-2:]
    return functional.affine(
        frames,
        angle=angle,
        translate=[right * width, down * height],
        scale=1.0,
        shear=[float(np.rad2deg(np.arctan(slope))) for slope in shear],
        # The recipe interpolates bicubically, which torchvision does not offer for tensors.
        interpolation=InterpolationMode.BILINEAR,
        fill=FILL,
    )


def _posterize(frames: torch.Tensor, magnitude: float, sign: int) -> torch.Tensor:
    bits = 4 - int(0.4 * magnitude)
    # torchvision's kernel has no mask for 0 bits.
    return functional.posterize(frames, bits) if bits else torch.zeros_like(frames)


def _solarize(frames: torch.Tensor, magnitude: float, sign: int) -> torch.Tensor:
    threshold = 256 - int(25.6 * magnitude)
    return frames if threshold > 255 else functional.solarize(frames, threshold)


def _solarize_add(frames: torch.Tensor, magnitude: float, sign: int) -> torch.Tensor:
    brighter = (frames.int() + int(11 * magnitude)).clamp(max=255).to(frames.dtype)
    return torch.where(frames < 128, brighter, frames)


def _factor(magnitude: float, sign: int) -> float:
    return 1 + sign * 0.09 * magnitude


OPERATIONS: tuple[Operation, ...] = (
    lambda frames, magnitude, sign: functional.autocontrast(frames),
    lambda frames, magnitude, sign: functional.equalize(frames),
    lambda frames, magnitude, sign: functional.invert(frames),
    lambda frames, magnitude, sign: _move(frames, angle=sign * 3.0 * magnitude),
    _posterize,
    _solarize,
    _solarize_add,
    lambda frames, magnitude, sign: functional.adjust_saturation(frames, _factor(magnitude, sign)),
    lambda frames, magnitude, sign: functional.adjust_contrast(frames, _factor(magnitude, sign)),
    lambda frames, magnitude, sign: functional.adjust_brightness(frames, _factor(magnitude, sign)),
    lambda frames, magnitude, sign: functional.adjust_sharpness(frames, _factor(magnitude, sign)),
    lambda frames, magnitude, sign: _move(frames, shear=(sign * 0.03 * magnitude, 0.0)),
    lambda frames, magnitude, sign: _move(frames, shear=(0.0, sign * 0.03 * magnitude)),
    lambda frames, magnitude, sign: _move(frames, right=sign * 0.045 * magnitude),
    lambda frames, magnitude, sign: _move(frames, down=sign * 0.045 * magnitude),
)
