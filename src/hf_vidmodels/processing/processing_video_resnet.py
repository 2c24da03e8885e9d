"""The video processor of residual video networks, with the published test protocols.

SlowFast's zoo: a clip spread over num_frames * sampling_rate source frames at 30 fps, short side 256, 10 views in time
with 3 crops each, probabilities summed. TSN: the middle frames of equal parts of the video, ImageNet's mean and
deviation.
"""

from typing import Any

from ..configuration.configuration_video_resnet import VideoResNetConfig
from .base_video_processing import VideoViewsProcessor

# Source frames between two of a clip: zoo networks see about two seconds, whatever their number of frames.
SPAN = 64
SHORT_SIDE = 256 / 224
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SEGMENTS = {"sampling_strategy": "segments", "sampling_rate": 1, "evaluation_views": 1, "evaluation_crops": 1}


def video_resnet_protocol(config: VideoResNetConfig) -> dict[str, Any]:
    """Give the attributes of a processor for a network, as its zoo tests it."""
    side = config.image_size
    protocol = {
        "num_frames": config.num_frames,
        "crop_size": {"height": side, "width": side},
        "size": {"shortest_edge": round(side * SHORT_SIDE)},
        "sampling_rate": max(SPAN // config.num_frames, 1),
    }
    return protocol | IMAGENET | SEGMENTS if config.arch == "r2d" else protocol


class VideoResNetVideoProcessor(VideoViewsProcessor):
    """Makes clips for residual video networks.

    Example:
        >>> processor = AutoVideoProcessor.from_pretrained("org/slow-r50-8x8")
        >>> logits = model(**processor("cooking.mp4")).logits
    """

    @classmethod
    def from_config(cls, config: VideoResNetConfig, **overrides: Any) -> "VideoResNetVideoProcessor":
        """Make the processor of a network; `overrides` are attributes that the protocol would set otherwise."""
        return cls(**(video_resnet_protocol(config) | overrides))
