"""The video processor of Collaborative Memory: several clips of every video, spread over all of it.

The sampling of a clip is that of its network. Charades joins its views by the maximum of their probabilities.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature

from ..configuration.configuration_collaborative_memory import CollaborativeMemoryConfig
from ..configuration.configuration_video_resnet import MULTI_LABEL, VideoResNetConfig
from .decoding import VideoSource, open_video
from .key_frame_clips import checked_key_times, context_times, film_span
from .processing_video_resnet import SHORT_SIDE, SPAN, VideoResNetVideoProcessor, video_resnet_protocol

# A rule for clips inside a long video, whatever its network's own rule for whole videos.
CLIPS_OF_A_VIDEO = {"sampling_strategy": "charades", "evaluation_crops": 1}


class CollaborativeMemoryVideoProcessor(VideoResNetVideoProcessor):
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
        """Prepare videos; arguments and errors as of `VideoResNetVideoProcessor`, but one clip has its axis too."""
        batch = super().preprocess(videos, **kwargs)
        if batch["pixel_values"].ndim == 5:
            batch["pixel_values"] = batch["pixel_values"][:, None]
        return batch

    def context_clips(
        self,
        video: VideoSource,
        num_clips: int,
        center: int,
        seconds: float,
        timestamps: Sequence[float] | np.ndarray | None = None,
        fps: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray, Iterator[torch.Tensor]]:
        """Make the clips of a film that its key times are seen together with, each of them once.

        Args:
            video: what `open_video` takes.
            num_clips: clips of a key time; all but one are spread evenly over the window, and at the film's ends where
                that reaches beyond.
            center: the one that stands at the key time itself.
            seconds: length of the window around a key time.
            timestamps: ascending key times in seconds; None for every full second.
            fps: frames a second of a folder of frames or an array.

        Returns:
            The key times (K,), the numbers (K, num_clips) of their clips, and the clips as of `key_frame_clips`.

        Raises:
            FileNotFoundError, UnreadableVideoError: the video cannot be read.
            ValueError: it has no timing and `fps` is not given, or key times are not ascending or outside the film.
        """
        opened = open_video(video)
        times = checked_key_times(opened, timestamps, fps)
        around = context_times(times, num_clips, center, seconds, film_span(opened, fps))
        # Sums of seconds differ in their last digits; clips a microsecond apart are one.
        moments, numbers = np.unique(around.round(6), return_inverse=True)
        return times, numbers.reshape(around.shape), self._clips_at(opened, moments, fps)
