"""The video processor of GTA: that of its backbone. Something-Something is tested on one middle crop of one view."""

from typing import Any

from ..configuration.configuration_gta import GtaConfig
from .processing_video_resnet import VideoResNetVideoProcessor, video_resnet_protocol


class GtaVideoProcessor(VideoResNetVideoProcessor):
    """Makes clips for GTA.

    Example:
        >>> processor = AutoVideoProcessor.from_pretrained("org/gta-r2d50-ssv2")
        >>> logits = model(**processor("pushing.webm")).logits
    """

    @classmethod
    def from_config(cls, config: GtaConfig, **overrides: Any) -> "GtaVideoProcessor":
        """Make the processor of a model; `overrides` are attributes that the protocol would set otherwise."""
        return cls(**(video_resnet_protocol(config.backbone_config) | overrides))
