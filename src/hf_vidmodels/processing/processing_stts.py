"""The video processor of STTS, with the test protocols of its two backbones.

MViT (SlowFast's protocol): 16 frames over 64 source frames at 30 fps, short side 256, middle crop 224, 5 views in
time, probabilities summed. Video Swin (MMAction's): 32 frames, every second, short side 224, 4 views in time with 3
crops each, probabilities averaged.
"""

from typing import Any

from .base_video_processing import VideoViewsProcessor

# Source frames from one frame of a clip to the next, by number of frames, as MViT-B was published.
MVIT_SAMPLING_RATES = {16: 4, 32: 3}
MVIT_SAMPLING_RATE = 4
MVIT_SHORT_SIDE = 256 / 224


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
    def from_config(cls, config: Any, **overrides: Any) -> "SttsVideoProcessor":
        """Make the processor of a model's configuration.

        Args:
            config: an `SttsConfig`.
            overrides: attributes that the published protocol would set otherwise, for example
                `sampling_strategy="segments"` for Something-Something.

        Raises:
            ValueError: an unknown backbone.
        """
        protocols = {"mvit": _mvit_protocol, "video_swin": _video_swin_protocol}
        if config.backbone_type not in protocols:
            raise ValueError(f"backbone_type must be one of {', '.join(protocols)}, got {config.backbone_type!r}")
        shape = {
            "num_frames": config.num_frames,
            "crop_size": {"height": config.image_size, "width": config.image_size},
        }
        return cls(**(shape | protocols[config.backbone_type](config.num_frames, config.image_size) | overrides))


def _mvit_protocol(num_frames: int, image_size: int) -> dict[str, Any]:
    return {
        "size": {"shortest_edge": round(image_size * MVIT_SHORT_SIDE)},
        "sampling_rate": MVIT_SAMPLING_RATES.get(num_frames, MVIT_SAMPLING_RATE),
    }


def _video_swin_protocol(num_frames: int, image_size: int) -> dict[str, Any]:
    return {
        "size": {"shortest_edge": image_size},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "sampling_strategy": "video_swin",
        "sampling_rate": 2,
        "evaluation_views": 4,
        "evaluation_crops": 3,
        "view_aggregation": "mean",
    }
