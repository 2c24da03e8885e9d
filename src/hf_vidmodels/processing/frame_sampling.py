"""Which frames of a video a model sees: the published rules for test views and for random training clips.

Pure functions of the number of frames, the frame rate and the clip's shape. All give int64 frame numbers from 0: a
test rule one row for each view (V, T), a training rule one clip (T,) drawn from a NumPy generator. Videos shorter than
a clip repeat frames, each rule in its own published way.

`FrameSampling` holds a rule with its numbers, as processors and data sets pass it around.
"""

import math
from dataclasses import dataclass

import numpy as np

SAMPLING_STRATEGIES = ("slowfast", "video_swin", "segments", "charades")


@dataclass(frozen=True)
class FrameSampling:
    """A sampling rule and its numbers.

    Args:
        strategy: `"slowfast"` (a span of time, also MViT's), `"video_swin"` (a span of frames), `"segments"`
            (Something-Something, the whole video) or `"charades"` (a span of frames that stops at the end).
        num_frames: frames of a clip, T.
        sampling_rate: source frames from one frame of a clip to the next; unused by `"segments"`.
        target_fps: frame rate in 1/s at which `sampling_rate` counts; for `"slowfast"` only. Videos without a frame
            rate (arrays, folders) are taken to have this one.
        use_offset: whether the last of several views reaches the end of the video; for `"slowfast"` only, the others
            have one rule each.

    Raises:
        ValueError: an unknown strategy, or a number that is not positive.
    """

    strategy: str
    num_frames: int
    sampling_rate: int = 1
    target_fps: float = 30.0
    use_offset: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in SAMPLING_STRATEGIES:
            raise ValueError(f"sampling_strategy must be one of {SAMPLING_STRATEGIES}, got {self.strategy!r}")
        for name in ("num_frames", "sampling_rate", "target_fps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)}")

    def views(self, video_length: int, video_fps: float, num_views: int = 1) -> np.ndarray:
        """Give the frames of `num_views` test views spread over a video.

        Args:
            video_length: frames of the video, at least 1.
            video_fps: its frame rate in 1/s; NaN = `target_fps`.
            num_views: V.

        Returns:
            int64 (V, T).

        Raises:
            ValueError: a video without frames, a number of views below 1, or several views of whole-video segments.
        """
        _check_counts(video_length, num_views)
        if self.strategy == "slowfast":
            span = self._span(video_fps)
            return span_views(video_length, self.num_frames, span, num_views, use_offset=self.use_offset)
        if self.strategy == "video_swin":
            return strided_views(video_length, self.num_frames, self.sampling_rate, num_views)
        if self.strategy == "charades":
            return clipped_views(video_length, self.num_frames, self.sampling_rate, num_views)
        if num_views > 1:
            raise ValueError(
                f"segments cover the whole video, and give one view in time, but {num_views} were asked; leave "
                "num_views at 1, or choose another sampling_strategy"
            )
        return segment_frames(video_length, self.num_frames)[None]

    def random_clip(self, video_length: int, video_fps: float, generator: np.random.Generator) -> np.ndarray:
        """Draw the frames of a training clip; arguments as `views`.

        Returns:
            int64 (T,).

        Raises:
            ValueError: a video without frames.
        """
        _check_counts(video_length, 1)
        if self.strategy == "slowfast":
            return random_span_clip(video_length, self.num_frames, self._span(video_fps), generator)
        if self.strategy == "video_swin":
            return random_strided_clip(video_length, self.num_frames, self.sampling_rate, generator)
        if self.strategy == "charades":
            return random_clipped_clip(video_length, self.num_frames, self.sampling_rate, generator)
        return random_segment_frames(video_length, self.num_frames, generator)

    def random_clips(
        self, video_length: int, video_fps: float, num_clips: int, generator: np.random.Generator
    ) -> np.ndarray:
        """Draw the frames of several training clips of one video: one starts in each of N equal parts of it.

        A clip that would reach beyond the end starts earlier; where the video is too short for that, it repeats the
        last frame. Our choice; arguments as `views`.

        Returns:
            int64 (N, T).

        Raises:
            ValueError: a video without frames, a number of clips below 1, or clips of whole-video segments.
        """
        _check_counts(video_length, num_clips)
        if self.strategy == "segments":
            raise ValueError(
                f"sampling_strategy 'segments' covers the whole video with one clip, but {num_clips} were asked "
                "of it; choose another, such as 'charades'"
            )
        is_span = self.strategy == "slowfast"
        span = self._span(video_fps) if is_span else (self.num_frames - 1) * self.sampling_rate + 1
        edges = np.linspace(0, video_length, num_clips + 1)
        starts = np.minimum(generator.uniform(edges[:-1], edges[1:]), max(video_length - span, 0))
        if is_span:
            return np.stack([_points_of_span(start, video_length, self.num_frames, span) for start in starts])
        steps = self.sampling_rate * np.arange(self.num_frames)
        return np.minimum(np.floor(starts).astype(np.int64)[:, None] + steps, video_length - 1)

    def _span(self, video_fps: float) -> float:
        """Length of a clip in source frames."""
        fps = self.target_fps if math.isnan(video_fps) else video_fps
        return max(1.0, self.num_frames * self.sampling_rate / self.target_fps * fps)


def span_views(
    video_length: int, num_frames: int, span: float, num_views: int, *, use_offset: bool = False
) -> np.ndarray:
    """Views of SlowFast and MViT: T points spread over `span` frames, first and last included.

    So the spacing is (span - 1) / (T - 1), 9 frames for "8x8". A view that reaches beyond the end repeats the last
    frame.

    Args:
        video_length: frames of the video.
        num_frames: T.
        span: length of a clip in source frames, from `FrameSampling` T * rate * fps / target fps.
        num_views: V.
        use_offset: start view v at v * floor(free / (V - 1)) and a single view in the middle, as MViT and STTS are
            tested, instead of at v * free / V, where free frames are left besides a clip.

    Returns:
        int64 (V, T).
    """
    free = max(video_length - span, 0.0)
    if not use_offset:
        starts = [free * view / num_views for view in range(num_views)]
    elif num_views == 1:
        starts = [math.floor(free / 2)]
    else:
        starts = [view * math.floor(free / (num_views - 1)) for view in range(num_views)]
    return np.stack([_points_of_span(start, video_length, num_frames, span) for start in starts])


def random_span_clip(video_length: int, num_frames: int, span: float, generator: np.random.Generator) -> np.ndarray:
    """Training clip of SlowFast and MViT: as `span_views`, from a uniform real start. Returns int64 (T,)."""
    start = generator.uniform(0.0, max(video_length - span, 0.0))
    return _points_of_span(start, video_length, num_frames, span)


def strided_views(video_length: int, num_frames: int, stride: int, num_views: int) -> np.ndarray:
    """Views of Video Swin: every `stride`-th frame from the middle of each of V equal intervals of starts.

    A video shorter than T * stride frames is repeated from its beginning, and all views start at 0.

    Args:
        video_length: frames of the video.
        num_frames: T.
        stride: source frames from one frame to the next.
        num_views: V.

    Returns:
        int64 (V, T).
    """
    starts = np.zeros(num_views, np.int64)
    if video_length >= num_frames * stride:
        interval = (video_length - num_frames * stride + 1) / num_views
        starts = np.floor(np.arange(num_views) * interval + interval / 2).astype(np.int64)
    return (starts[:, None] + stride * np.arange(num_frames)) % video_length


def random_strided_clip(video_length: int, num_frames: int, stride: int, generator: np.random.Generator) -> np.ndarray:
    """Training clip of Video Swin: as `strided_views`, from a uniform whole start. Returns int64 (T,)."""
    start = generator.integers(max(video_length - num_frames * stride, 0), endpoint=True)
    return (start + stride * np.arange(num_frames)) % video_length


def segment_frames(video_length: int, num_frames: int) -> np.ndarray:
    """Something-Something's test rule: the middle frame of each of T equal segments of the video.

    Returns:
        int64 (T,); videos of fewer than T frames repeat frames.
    """
    starts, ends = _segments(video_length, num_frames)
    return (starts + ends) // 2


def random_segment_frames(video_length: int, num_frames: int, generator: np.random.Generator) -> np.ndarray:
    """Something-Something's training rule: a uniform frame of each of T segments, ends included. Returns (T,)."""
    starts, ends = _segments(video_length, num_frames)
    return generator.integers(starts, ends, endpoint=True)


def clipped_views(video_length: int, num_frames: int, stride: int, num_views: int) -> np.ndarray:
    """Views of Charades: every `stride`-th frame, the first and the last view at the ends of the video.

    A single view lies in the middle; a view that reaches beyond the end repeats the last frame.

    Returns:
        int64 (V, T).
    """
    free = max(video_length - ((num_frames - 1) * stride + 1), 0)
    starts = free / (num_views - 1) * np.arange(num_views) if num_views > 1 else np.array([free / 2])
    starts = np.round(starts).astype(np.int64)
    return np.minimum(starts[:, None] + stride * np.arange(num_frames), video_length - 1)


def random_clipped_clip(video_length: int, num_frames: int, stride: int, generator: np.random.Generator) -> np.ndarray:
    """Training clip like a view of `clipped_views`, from a uniform whole start (our choice). Returns int64 (T,)."""
    start = generator.integers(max(video_length - ((num_frames - 1) * stride + 1), 0), endpoint=True)
    return np.minimum(start + stride * np.arange(num_frames), video_length - 1)


def keyframe_window(keyframe: int, half_length: int, stride: int, video_length: int) -> np.ndarray:
    """AVA's rule: every `stride`-th frame from `half_length` before a keyframe to that much behind it.

    Args:
        keyframe: number of the annotated frame.
        half_length: source frames on each side; the window is [keyframe - half_length, keyframe + half_length).
        stride: source frames from one frame to the next.
        video_length: frames of the video; the window is clipped to it.

    Returns:
        int64 (T,), T = 2 * half_length / stride.

    Raises:
        ValueError: the keyframe is outside the video.
    """
    if not 0 <= keyframe < video_length:
        raise ValueError(f"the keyframe must be one of the frames 0 to {video_length - 1}, got {keyframe}")
    return np.clip(np.arange(keyframe - half_length, keyframe + half_length, stride), 0, video_length - 1)


def _points_of_span(start: float, video_length: int, num_frames: int, span: float) -> np.ndarray:
    return np.clip(np.linspace(start, start + span - 1, num_frames), 0, video_length - 1).astype(np.int64)


def _segments(video_length: int, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last frame of each segment (T,); neighbours share the frame between them."""
    # np.round goes to the even neighbour, as the published rule does.
    edges = np.round((video_length - 1) / num_frames * np.arange(num_frames + 1)).astype(np.int64)
    return edges[:-1], edges[1:]


def _check_counts(video_length: int, num_views: int) -> None:
    if video_length < 1:
        raise ValueError(f"frames can be chosen of a video with at least one frame, got {video_length}")
    if num_views < 1:
        raise ValueError(f"num_views must be at least 1, got {num_views}")
