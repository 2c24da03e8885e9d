"""The image processor of Cross-X: the middle of a picture that was resized without keeping its aspect, normalised.

Numbers of the official evaluation (commit 0ed68c1): birds and aircraft 600 x 600, then the middle 448 x 448; cars and
dogs 448 x 448; bilinear with antialias.
"""

from typing import Any

from transformers.image_utils import PILImageResampling

from ..configuration.configuration_cross_x import CrossXConfig
from .base_image_processing import RgbImageProcessor


class CrossXImageProcessor(RgbImageProcessor):
    """Resizes both sides, crops the middle and normalises.

    Example:
        >>> processor = AutoImageProcessor.from_pretrained("org/cross-x-birds")
        >>> logits = model(**processor("picture.jpg")).logits
    """

    resample = PILImageResampling.BILINEAR
    size = {"height": 600, "width": 600}
    crop_size = {"height": 448, "width": 448}
    do_resize = True
    do_center_crop = True

    @classmethod
    def from_config(cls, config: CrossXConfig, **overrides: Any) -> "CrossXImageProcessor":
        """Make the processor of a model; `overrides` are attributes that the protocol would set otherwise."""
        protocol = {
            name: {"height": height, "width": width}
            for name, (height, width) in (("size", config.resized_size), ("crop_size", config.picture_size))
        }
        return cls(**(protocol | overrides))
