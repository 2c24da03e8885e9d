"""The video processor of Collaborative Memory: several clips of every video, spread over all of it.

The sampling of a clip is that of its network. Charades joins its views by the maximum of their probabilities.
"""

from typing import Any

from transformers import BatchFeature

from ..configuration.configuration_collaborative_memory import CollaborativeMemoryConfig
from ..configuration.configuration_video_resnet import MULTI_LABEL, VideoResNetConfig
from .base_video_processing import VideoViewsProcessor
from .processing_video_resnet import SHORT_SIDE, SPAN, video_resnet_protocol

# A rule for clips inside a long video, whatever its network's own rule for whole videos.
CLIPS_OF_A_VIDEO = {"sampling_strategy": "charades", "evaluation_crops": 1}


class CollaborativeMemoryVideoProcessor(VideoViewsProcessor):
    """Makes the clips of a video that share a memory.

    A call gives (B, N, T, 3, H, W) with the axis of clips always there. With three crops the crops of a clip stand
    side by side in N; a memory is of one crop, so part them before the model is asked:
    `pixel_values.unflatten(1, (-1, 3))`.

    Example:
        >>> processor = AutoVideoProcessor.from_pretrained("org/collaborative-memory-slow-r50-k400")
        >>> logits = model(**processor("cooking.mp4")).logits
    """

    @classmethod
    def from_config(cls, config: CollaborativeMemoryConfig, **overrides: Any) -> "CollaborativeMemoryVideoProcessor":
        """Make the processor of a model; `overrides` are attributes that the protocol would set otherwise."""
        backbone = config.backbone_config
        if isinstance(backbone, VideoResNetConfig):
            protocol = video_resnet_protocol(backbone)
            if protocol.get("sampling_strategy") == "segments":
                protocol |= CLIPS_OF_A_VIDEO
        else:
            height, width = backbone.frame_size
            protocol = {
                "num_frames": backbone.num_frames,
                "crop_size": {"height": height, "width": width},
                "size": {"shortest_edge": round(min(height, width) * SHORT_SIDE)},
                "sampling_rate": max(SPAN // backbone.num_frames, 1),
            }
        if config.problem_type == MULTI_LABEL:
            protocol["view_aggregation"] = "max"
        counts = {"num_views": config.num_test_clips, "evaluation_views": config.num_test_clips}
        return cls(**(protocol | counts | overrides))

    def preprocess(self, videos: Any, **kwargs: Any) -> BatchFeature:
        """Prepare videos; arguments and errors as of `VideoViewsProcessor`, but one clip has its axis too."""
        batch = super().preprocess(videos, **kwargs)
        if batch["pixel_values"].ndim == 5:
            batch["pixel_values"] = batch["pixel_values"][:, None]
        return batch
