"""The image processor of Semiformer: the middle of a picture whose shorter side was resized, normalised.

Numbers of the official evaluation (commit 0e3b5be): the shorter side is 256/224 of the crop's, bicubic with antialias.
"""

from typing import Any

from transformers.image_utils import PILImageResampling

from ..configuration.configuration_semiformer import SemiformerConfig
from .base_image_processing import RgbImageProcessor

# Shorter side of the resized picture over that of the crop.
RESIZE_RATIO = 256 / 224


class SemiformerImageProcessor(RgbImageProcessor):
    """Resizes the shorter side, crops the middle and normalises.

    Example:
        >>> processor = AutoImageProcessor.from_pretrained("org/semiformer-small")
        >>> logits = model(**processor("picture.jpg")).logits
    """

    resample = PILImageResampling.BICUBIC
    size = {"shortest_edge": 256}
    crop_size = {"height": 224, "width": 224}
    do_resize = True
    do_center_crop = True

    @classmethod
    def from_config(cls, config: SemiformerConfig, **overrides: Any) -> "SemiformerImageProcessor":
        """Make the processor of a model; `overrides` are attributes that the protocol would set otherwise."""
        height, width = config.picture_size
        protocol = {
            "size": {"shortest_edge": int(RESIZE_RATIO * max(height, width))},
            "crop_size": {"height": height, "width": width},
        }
        return cls(**(protocol | overrides))
