"""Clips around the key frames of a film, whose frames are decoded once each however much the clips overlap."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from .decoding import Video
from .second_folders import SecondFolders

# Containers round times (Matroska to milliseconds), so a frame counts as shown this many seconds early.
_ROUNDING = 0.0005


def key_times(video: Video, fps: float | None = None) -> np.ndarray:
    """Give every full second (K,) inside a film, the first one included; of folders of seconds those that are there.

    Args:
        video: an opened video.
        fps: frames in a second, of a video without timing.

    Raises:
        ValueError: the video has no timing and `fps` is not given.
    """
    if isinstance(video, SecondFolders):
        return np.array(video.seconds, dtype=np.float64)
    timing = video.frame_times()
    end = video.num_frames / _given_rate(video, fps) if timing is None else timing[1]
    return np.arange(max(1, np.ceil(end - _ROUNDING)), dtype=np.float64)


def checked_key_times(video: Video, timestamps: Sequence[float] | np.ndarray | None, fps: float | None) -> np.ndarray:
    """Give key times (K,) that are ascending and inside a film, or all full seconds where none are given.

    Args:
        video: an opened video.
        timestamps: seconds; `None` for every full second.
        fps: frames in a second, of a video without timing.

    Raises:
        ValueError: they are not, or the video has no timing and `fps` is not given.
    """
    if timestamps is None:
        return key_times(video, fps)
    times = np.asarray(timestamps, dtype=np.float64)
    if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError(f"timestamps must be a list of ascending seconds, got {timestamps}")
    start, end = film_span(video, fps)
    outside = times[(times < start) | (times > end + _ROUNDING)]
    if len(outside):
        raise ValueError(
            f"{video.name} is shown from {start:g} s to {end:g} s, so it has no key time {outside[0]:g} s"
        )
    return times


def film_span(video: Video, fps: float | None = None) -> tuple[float, float]:
    """Give the seconds from and to which a film is shown.

    Args:
        video: an opened video.
        fps: frames in a second, of a video without timing.

    Raises:
        ValueError: the video has no timing and `fps` is not given.
    """
    timing = video.frame_times()
    start = _start_of(video)
    return start, start + (video.num_frames / _given_rate(video, fps) if timing is None else timing[1])


def context_times(
    timestamps: np.ndarray, num_clips: int, center: int, seconds: float, span: Sequence[float]
) -> np.ndarray:
    """Give the times (K, num_clips) in whose middle stand the clips that a key time's own is seen together with.

    Args:
        timestamps: (K,) key times in seconds.
        num_clips: clips of each; all but one are spread evenly over the window.
        center: the one that stands at the key time itself.
        seconds: length of the window around a key time.
        span: seconds from and to which the film is shown; clips beyond stand at its ends.
    """
    offsets = np.insert(np.linspace(-seconds / 2, seconds / 2, num_clips - 1), center, 0.0)
    return (np.asarray(timestamps, dtype=np.float64)[:, None] + offsets).clip(*span)


def clip_times(timestamps: np.ndarray, num_frames: int, frame_rate: float) -> np.ndarray:
    """Give the times (K, num_frames) of the frames of clips, of which number num_frames // 2 is the key frame.

    Source: AVA as the official STEP code reads it (59da38a), by time instead of by number.
    """
    return np.asarray(timestamps, dtype=np.float64)[:, None] + (np.arange(num_frames) - num_frames // 2) / frame_rate


def iterate_clips(
    video: Video,
    times: np.ndarray,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    fps: float | None = None,
) -> Iterator[torch.Tensor]:
    """Go through the clips of a film; only frames that a coming clip needs are kept.

    Args:
        video: an opened video.
        times: (K, T) seconds, ascending along both axes; before the first and after the last frame that one is taken.
        prepare: makes pixel values (n, C, H, W) of frames uint8 (n, 3, h, w), once for each frame.
        fps: frames in a second, of a video without timing.

    Yields:
        (T, C, H, W).

    Raises:
        ValueError: the video has no timing and `fps` is not given.
        UnreadableVideoError: a frame cannot be decoded.
    """
    if isinstance(video, SecondFolders) and times.size:
        video = video.between(times.min(), times.max())
    numbers = _frames_shown(video, times, fps)
    # A generator of its own, so that a wrong argument is reported by the call and not by the first `next`.
    return _clips(video, numbers, prepare)


def _clips(
    video: Video, numbers: np.ndarray, prepare: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[torch.Tensor]:
    wanted = np.unique(numbers)
    frames = video.read(wanted)
    kept: dict[int, torch.Tensor] = {}
    done = 0
    for row, clip in enumerate(numbers):
        new = wanted[done : np.searchsorted(wanted, clip.max(), side="right")]
        if len(new):
            block = np.stack([next(frames) for _ in new])
            kept |= zip(new.tolist(), prepare(torch.from_numpy(block).permute(0, 3, 1, 2)), strict=True)
            done += len(new)
        yield torch.stack([kept[number] for number in clip.tolist()])
        if row + 1 < len(numbers):
            first = numbers[row + 1].min()
            kept = {number: frame for number, frame in kept.items() if number >= first}


def _frames_shown(video: Video, times: np.ndarray, fps: float | None) -> np.ndarray:
    timing = video.frame_times()
    if timing is None:
        shown = np.floor((times + _ROUNDING) * _given_rate(video, fps)).astype(np.int64)
    else:
        shown = np.searchsorted(timing[0], times - _start_of(video) + _ROUNDING, side="right") - 1
    return np.clip(shown, 0, video.num_frames - 1)


def _start_of(video: Video) -> float:
    return video.start_time if isinstance(video, SecondFolders) else 0.0


def _given_rate(video: Video, fps: float | None) -> float:
    if fps is None or not 0 < fps < float("inf"):
        raise ValueError(f"{video.name} has no timing, so that fps must say its frames in a second, got {fps}")
    return fps
