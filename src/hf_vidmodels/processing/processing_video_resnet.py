"""The video processor of residual video networks, with the published test protocols.

SlowFast's zoo: a clip spread over num_frames * sampling_rate source frames at 30 fps, short side 256, 10 views in time
with 3 crops each, probabilities summed. Its networks, whose heads pool over windows of the training size, are tested
on crops of the whole short side; new ones on crops of their training size. TSN: the middle frames of equal parts of
the video, ImageNet's mean and deviation.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..configuration.configuration_video_resnet import VideoResNetConfig
from .base_video_processing import VideoViewsProcessor
from .decoding import Video, VideoSource, open_video
from .key_frame_clips import clip_times, iterate_clips, key_times

# Source frames between two of a clip: zoo networks see about two seconds, whatever their number of frames.
SPAN = 64
SHORT_SIDE = 256 / 224
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SEGMENTS = {"sampling_strategy": "segments", "sampling_rate": 1, "evaluation_views": 1, "evaluation_crops": 1}


def video_resnet_protocol(config: VideoResNetConfig) -> dict[str, Any]:
    """Give the attributes of a processor for a network, as its zoo tests it."""
    short_side = round(config.image_size * SHORT_SIDE)
    side = short_side if config.head_pooling == "window" and config.arch != "r2d" else config.image_size
    protocol = {
        "num_frames": config.num_frames,
        "crop_size": {"height": side, "width": side},
        "size": {"shortest_edge": short_side},
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

    def key_frame_clips(
        self, video: VideoSource, timestamps: Sequence[float] | np.ndarray | None = None, fps: float | None = None
    ) -> tuple[np.ndarray, Iterator[torch.Tensor]]:
        """Make the clips around key times of a film, for a detector: whole frames, each decoded once.

        Frame k of T is the one shown (k - T / 2) * sampling_rate / target_fps seconds after the key time (AVA's rule
        of SlowFast's zoo), the short side is that of `size`, and nothing is cropped, so that relative boxes stay.

        Args:
            video: what `open_video` takes.
            timestamps: ascending key times in seconds; None for every full second.
            fps: frames a second of a folder of frames or an array.

        Returns:
            The key times (K,), and the clips float32 (num_frames, 3, H, W), one after the other.

        Raises:
            FileNotFoundError, UnreadableVideoError: the video cannot be read.
            ValueError: it has no timing and `fps` is not given.
        """
        opened = open_video(video)
        times = key_times(opened, fps) if timestamps is None else np.asarray(timestamps, dtype=np.float64)
        return times, self._clips_at(opened, times, fps)

    def _clips_at(self, video: Video, times: np.ndarray, fps: float | None) -> Iterator[torch.Tensor]:
        settings = self._settings({"do_center_crop": False, "num_crops": 1})

        def prepare(frames: torch.Tensor) -> torch.Tensor:
            return self._crop(frames, settings)[0]

        rate = self.target_fps / self.sampling_rate
        return iterate_clips(video, clip_times(times, self.num_frames, rate), prepare, fps)
