"""The processor of a toy method: small pictures of one size."""

from typing import Any

from transformers.image_utils import PILImageResampling

from ..configuration.configuration_mean_color import MeanColorConfig
from .base_image_processing import RgbImageProcessor


class MeanColorImageProcessor(RgbImageProcessor):
    """Resizes pictures to 16 x 16 pixels and normalises them."""

    do_resize = True
    size = {"height": 16, "width": 16}
    resample = PILImageResampling.BILINEAR

    @classmethod
    def from_config(cls, config: MeanColorConfig, **overrides: Any) -> "MeanColorImageProcessor":
        """Make the processor that fits a model's configuration."""
        return cls(**overrides)
