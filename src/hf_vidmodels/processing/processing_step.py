"""The video processor of STEP: clips around key frames in, and from tubes back to who does what where.

Frames go by time: frame k of T of a clip is the one shown (k - T // 2) / frame_rate seconds after the key time, which
on AVA's folders of seconds gives the frames of the official code (59da38a).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.video_processing_utils import BaseVideoProcessor

from ..configuration.configuration_step import StepConfig
from ..modeling.ops.detections import key_frame_boxes, list_detections, suppress_by_class
from .base_video_processing import split_videos
from .decoding import Video, VideoSource, open_video
from .key_frame_clips import checked_key_times, clip_times, iterate_clips
from .processing_base import SharedProcessorMixin


class StepVideoProcessor(SharedProcessorMixin, BaseVideoProcessor):
    """Squashes frames to one size, without keeping their aspect, and brings values to [-1, 1].

    Since whole frames are seen, boxes go back to original pixels by scaling.

    Example:
        >>> processor = AutoVideoProcessor.from_pretrained("org/step-i3d-ava")
        >>> outputs = model(**processor("film.mp4", timestamps=12.0))
        >>> processor.post_process_action_detection(outputs, target_sizes=[(360, 640)])
    """

    model_input_names = ["pixel_values"]
    resample = PILImageResampling.BILINEAR
    size = {"height": 400, "width": 400}
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    do_resize = True
    do_rescale = True
    do_normalize = True
    num_frames = 36
    frame_rate = 12
    score_threshold = 0.01
    nms_threshold = 0.4
    detections_per_clip = 300

    @classmethod
    def from_config(cls, config: StepConfig, **overrides: Any) -> "StepVideoProcessor":
        """Make the processor of a model's configuration; `overrides` are attributes that it would set otherwise."""
        height, width = config.frame_size
        fields = ("num_frames", "frame_rate", "score_threshold", "nms_threshold", "detections_per_clip")
        settings = {name: getattr(config, name) for name in fields}
        return cls(**({"size": {"height": height, "width": width}, **settings} | overrides))

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames that come out."""
        return self.size.height, self.size.width

    def preprocess(
        self,
        videos: Any,
        timestamps: float | Sequence[float] | None = None,
        fps: float | None = None,
        *,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """Make the clip around one key time of each video.

        Args:
            videos: one video or a list of videos, as `open_video` takes them.
            timestamps: key times in seconds, one for each video; `None` for the middle of each.
            fps: frames in a second of videos without timing (arrays, folders of frames). Without timestamps it may be
                left out: such frames then count as being `frame_rate` a second.
            return_tensors: `"pt"`, `"np"` or None.

        Returns:
            `pixel_values` float32 (B, num_frames, 3, H, W).

        Raises:
            FileNotFoundError: there is nothing at a path.
            UnreadableVideoError: a video cannot be decoded.
            ValueError: anything else that is no video, key times outside a video or without a clock.
        """
        sources = split_videos(videos)
        if timestamps is None:
            clips = [self._middle_clip(open_video(source), fps) for source in sources]
        else:
            keys = [timestamps] if isinstance(timestamps, int | float) else list(timestamps)
            if len(keys) != len(sources):
                raise ValueError(f"timestamps must be one for each of {len(sources)} videos, got {len(keys)}")
            clips = [
                next(self.key_frame_clips(source, [key], fps)[1]) for source, key in zip(sources, keys, strict=True)
            ]
        return BatchFeature({"pixel_values": torch.stack(clips)}, tensor_type=return_tensors)

    def key_frame_clips(
        self, video: VideoSource, timestamps: Sequence[float] | np.ndarray | None = None, fps: float | None = None
    ) -> tuple[np.ndarray, Iterator[torch.Tensor]]:
        """Make the clips around key times of a film, whose frames are decoded once each.

        Args:
            video: a film as `open_video` takes it.
            timestamps: ascending key times in seconds; `None` for every full second.
            fps: frames in a second of videos without timing.

        Returns:
            the key times (K,), and the clips float32 (num_frames, 3, H, W) one after the other.

        Raises:
            FileNotFoundError: there is nothing at the path.
            UnreadableVideoError: the video cannot be decoded.
            ValueError: key times that are not ascending or outside the film, or no timing and no `fps`.
        """
        opened = open_video(video)
        times = checked_key_times(opened, timestamps, fps)
        return times, iterate_clips(opened, clip_times(times, self.num_frames, self.frame_rate), self.prepare, fps)

    def prepare(self, frames: torch.Tensor) -> torch.Tensor:
        """Make pixel values float32 (n, 3, H, W) of decoded frames uint8 (n, 3, h, w)."""
        frames = frames.float()
        if self.do_resize:
            # The official code interpolates without smoothing; torchvision's default would blur when shrinking.
            height, width = self.frame_size
            size = SizeDict(height=height, width=width)
            frames = self.resize(frames, size, resample=self.resample, antialias=False)
        scale = (self.do_rescale, self.rescale_factor, self.do_normalize)
        return self.rescale_and_normalize(frames, *scale, self.image_mean, self.image_std)

    def post_process_action_detection(
        self,
        outputs: Any,
        step: int = -1,
        target_sizes: Sequence[tuple[int, int]] | None = None,
        *,
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
        top_k: int | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """Say who does what where in the key frame of each clip.

        Args:
            outputs: what the model gave.
            step: the step that answers, the last one by default.
            target_sizes: (height, width) of each clip's video; `None` for boxes relative to the frame.
            score_threshold: scores are above it; by default the processor's.
            nms_threshold: overlap from which the worse of two boxes of a class goes; likewise.
            top_k: most detections of a clip; 0 or less keeps all, unsorted; likewise `detections_per_clip`.

        Returns:
            for each clip `boxes` (K, 4) float32 x0, y0, x1, y1, `scores` (K,) and `labels` (K,) int64, the best first.

        Raises:
            ValueError: there is no such step, a threshold is outside [0, 1], or sizes are not one for each clip.
        """
        thresholds = {"score_threshold": score_threshold, "nms_threshold": nms_threshold}
        for name, value in thresholds.items():
            thresholds[name] = getattr(self, name) if value is None else value
            if not 0 <= thresholds[name] <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        boxes, scores = key_frame_boxes(outputs, step, self.frame_size)
        if target_sizes is not None and len(target_sizes) != len(boxes):
            raise ValueError(
                f"target_sizes must be (height, width) of each of {len(boxes)} clips, got {len(target_sizes)}"
            )
        found = suppress_by_class(boxes, scores, **thresholds)
        height, width = self.frame_size
        relative = boxes / boxes.new_tensor([width, height, width, height])
        clips = list_detections(relative, scores, found, self.detections_per_clip if top_k is None else top_k)
        for clip, (height, width) in zip(clips, target_sizes or (), strict=False):
            clip["boxes"] = clip["boxes"] * clip["boxes"].new_tensor([width, height, width, height])
        return clips

    def _middle_clip(self, video: Video, fps: float | None) -> torch.Tensor:
        timing = video.frame_times()
        fps = self.frame_rate if timing is None and fps is None else fps
        end = video.num_frames / fps if timing is None else timing[1]
        middle = np.array([getattr(video, "start_time", 0.0) + end / 2])
        return next(iterate_clips(video, clip_times(middle, self.num_frames, self.frame_rate), self.prepare, fps))
