"""The video processor of STTS, with the test protocols of its two backbones.

MViT (SlowFast's protocol): 16 frames over 64 source frames at 30 fps, short side 256, middle crop 224, 5 views in
time, probabilities summed. Video Swin (MMAction's): 32 frames, every second, short side 224, 4 views in time with 3
crops each, probabilities averaged.
"""

from typing import Any

from ..configuration.configuration_stts import SttsConfig
from .base_video_processing import VideoViewsProcessor

# Source frames from one frame of a clip to the next, by number of frames, as MViT-B was published.
MVIT_SAMPLING_RATES = {16: 4, 32: 3}
MVIT_SAMPLING_RATE = 4
MVIT_SHORT_SIDE = 256 / 224
VIDEO_SWIN_PROTOCOL = {
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "sampling_strategy": "video_swin",
    "sampling_rate": 2,
    "evaluation_views": 4,
    "evaluation_crops": 3,
    "view_aggregation": "mean",
}


class SttsVideoProcessor(VideoViewsProcessor):
    """Makes clips for STTS; `from_config` chooses the protocol of the configuration's backbone.

    Example:
        >>> processor = AutoVideoProcessor.from_pretrained("org/stts-mvit-b-16x4-t0.9-s0.9")
        >>> logits = model(**processor("cooking.mp4")).logits
        >>> processor.post_process_video_classification(logits, top_k=1)
        [{'scores': tensor([0.9312]), 'labels': tensor([81])}]
    """

    use_offset = True
    evaluation_views = 5
    evaluation_crops = 1

    @classmethod
    def from_config(cls, config: SttsConfig, **overrides: Any) -> "SttsVideoProcessor":
        """Make the processor of a model's configuration.

        Args:
            config: the configuration; of a frame that is not square the longer side is what the short side of videos
                is resized to, so that every crop fits.
            overrides: attributes that the published protocol would set otherwise, for example
                `sampling_strategy="segments"` for Something-Something.
        """
        height, width = config.frame_size
        num_frames = config.backbone_config.num_frames
        clip = {"num_frames": num_frames, "crop_size": {"height": height, "width": width}}
        if config.backbone_type == "mvit":
            protocol = {
                "size": {"shortest_edge": round(max(height, width) * MVIT_SHORT_SIDE)},
                "sampling_rate": MVIT_SAMPLING_RATES.get(num_frames, MVIT_SAMPLING_RATE),
            }
        else:
            protocol = {"size": {"shortest_edge": max(height, width)}, **VIDEO_SWIN_PROTOCOL}
        return cls(**(clip | protocol | overrides))
