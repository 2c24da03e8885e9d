"""MixUp and CutMix of clips with soft targets, as SlowFast and with it STTS train: the partner of a clip is the one at
the mirrored place of its batch.

MixUp: Zhang et al., arXiv 1710.09412; CutMix: Yun et al., arXiv 1905.04899.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

# Rows and columns (top, bottom, left, right) of a frame, ends exclusive.
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ClipMixing:
    """Draws how the clips of a batch are mixed.

    Args:
        mixup_alpha: parameter of MixUp's Beta distribution; 0 for no MixUp.
        cutmix_alpha: parameter of CutMix's; 0 for no CutMix. With both each batch takes one of them, by a fair coin.
        label_smoothing: share of a target that is spread over all classes.
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    label_smoothing: float = 0.0

    @property
    def is_active(self) -> bool:
        """Whether targets differ from class ids."""
        return max(self.mixup_alpha, self.cutmix_alpha, self.label_smoothing) > 0

    def __call__(
        self, clips: torch.Tensor, labels: torch.Tensor, num_classes: int, generator: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch.

        Args:
            clips: (B, T, 3, H, W).
            labels: (B,) class ids.
            num_classes: number of classes.
            generator: of the batch's draws.

        Returns:
            the clips (B, T, 3, H, W), and targets (B, num_classes) that sum to 1.
        """
        targets = smooth_targets(labels, num_classes, self.label_smoothing)
        use_cutmix = self.cutmix_alpha > 0 and (self.mixup_alpha == 0 or generator.random() < 0.5)
        alpha = self.cutmix_alpha if use_cutmix else self.mixup_alpha
        if alpha == 0:
            return clips, targets
        share = float(generator.beta(alpha, alpha))
        if use_cutmix:
            box = draw_box(*clips.shape[-2:], share, generator)
            clips, share = cut_and_paste(clips, box), share_outside(box, *clips.shape[-2:])
        else:
            clips = blend_with_partner(clips, share)
        return clips, blend_with_partner(targets, share)


def smooth_targets(labels: torch.Tensor, num_classes: int, smoothing: float) -> torch.Tensor:
    """Turn class ids (B,) into float32 targets (B, num_classes): smoothing / num_classes everywhere, and the rest on
    the class.
    """
    targets = torch.full((len(labels), num_classes), smoothing / num_classes, device=labels.device)
    return targets.scatter_add_(1, labels[:, None], torch.full_like(targets[:, :1], 1 - smoothing))


def blend_with_partner(values: torch.Tensor, share: float) -> torch.Tensor:
    """Give share * values + (1 - share) * values in mirrored order of the batch, for clips or targets (B, ...)."""
    return values * share + values.flip(0) * (1 - share)


def cut_and_paste(clips: torch.Tensor, box: Box) -> torch.Tensor:
    """Fill a box of every frame of clips (B, T, 3, H, W) with the partner's pixels."""
    top, bottom, left, right = box
    mixed = clips.clone()
    mixed[..., top:bottom, left:right] = clips.flip(0)[..., top:bottom, left:right]
    return mixed


def draw_box(height: int, width: int, share: float, generator: np.random.Generator) -> Box:
    """Draw a box of relative side sqrt(1 - share) around a uniform centre, cut off at the frame's edges."""
    side = math.sqrt(1 - share)
    box: list[int] = []
    for length in (height, width):
        half, centre = int(length * side) // 2, int(generator.integers(length))
        box += [max(centre - half, 0), min(centre + half, length)]
    return tuple(box)


def share_outside(box: Box, height: int, width: int) -> float:
    """Give the share of a frame that a box leaves, in [0, 1]."""
    top, bottom, left, right = box
    return 1 - (bottom - top) * (right - left) / (height * width)
