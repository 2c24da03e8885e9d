"""The video processor of hierarchical contrastive motion learning: that of its backbone."""

from typing import Any

from ..configuration.configuration_hierarchical_motion import HierarchicalMotionConfig
from .processing_video_resnet import VideoResNetVideoProcessor, video_resnet_protocol


class HierarchicalMotionVideoProcessor(VideoResNetVideoProcessor):
    """Makes clips for both models.

    Example:
        >>> processor = AutoVideoProcessor.from_pretrained("org/hierarchical-motion-slow-r50-k400")
        >>> logits = model(**processor("cooking.mp4")).logits
    """

    @classmethod
    def from_config(cls, config: HierarchicalMotionConfig, **overrides: Any) -> "HierarchicalMotionVideoProcessor":
        """Make the processor of a model; `overrides` are attributes that the protocol would set otherwise."""
        pixels = {"image_mean": list(config.pixel_mean), "image_std": list(config.pixel_std)}
        return cls(**(video_resnet_protocol(config.backbone_config) | pixels | overrides))
