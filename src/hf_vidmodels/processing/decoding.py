"""Frames of real videos as arrays, whatever they are stored in.

One door for files (mp4, avi, webm, mkv, gif, anything FFmpeg opens), bytes, the `{"path", "bytes"}` of
`datasets.Video(decode=False)`, folders of numbered pictures, folders of such folders for each second, and arrays. What
a file's oddities do:

* variable frame rate: frames are numbered in presentation order; `iterate_frames(fps=...)` and the sampling of clips
  (`frames_shown_at`) go by their times;
* rotation and mirroring: frames come as the display matrix asks, in quarter turns, and sizes are those afterwards;
* joined segments whose clocks begin anew or jump: times go on where the segment before ended;
* odd sizes and grey pictures: kept, always three channels; the pixel aspect ratio is not applied;
* audio only, empty, or no video at all: `UnreadableVideoError`;
* cut short or damaged: a frame is what decoding everything up to it gives, or an `UnreadableVideoError`; frames before
  the damage can be read. Frames are numbered by their packets, also where a decoder gives nothing for some of them.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from .frame_sources import ArrayFrames, FolderFrames
from .packet_lists import follows_rate
from .second_folders import SecondFolders, is_second_folders
from .video_files import VideoFile
from .video_metadata import UnreadableVideoError, VideoMetadata

__all__ = [
    "UnreadableVideoError",
    "Video",
    "VideoMetadata",
    "VideoSource",
    "decode_frames",
    "frames_shown_at",
    "iterate_frames",
    "open_video",
    "probe_video",
    "read_frames",
]

VideoSource: TypeAlias = str | os.PathLike | bytes | dict | Sequence | np.ndarray
Video: TypeAlias = ArrayFrames | FolderFrames | SecondFolders | VideoFile
# Containers round timestamps (Matroska to milliseconds), so a frame counts as shown this many seconds early.
_ROUNDING = 0.0005


def probe_video(source: VideoSource) -> VideoMetadata:
    """Number of frames, timing and size, found without decoding more than the first frame.

    Args:
        source: a path, bytes, `{"path", "bytes"}`, a folder of numbered pictures, or frames (T, H, W, 3).

    Returns:
        the metadata; `fps` and `duration` are NaN for arrays and folders, which have no timing.

    Raises:
        FileNotFoundError: there is nothing at the path.
        UnreadableVideoError: it cannot be read as a video.
        ValueError: the source is of another kind.
    """
    return open_video(source).metadata()


def open_video(source: VideoSource, channels: str | None = None) -> Video:
    """Find out what a source is, so that several questions and readings share what was learnt of it.

    Args:
        source: as for `probe_video`.
        channels: where the colours of an array of frames are, `"first"` or `"last"`; `None` to tell by its shape.

    Returns:
        the video: `name`, `num_frames`, `frame_rate` (NaN without timing), `metadata()`, `frame_times()` and
        `read(ascending indices)`.

    Raises:
        FileNotFoundError, UnreadableVideoError, ValueError: as for `probe_video`.
    """
    if isinstance(source, dict):
        content, path = source.get("bytes"), source.get("path")
        if content is None:
            if path is None:
                raise ValueError(f"a video given as a dict needs 'path' or 'bytes', got the keys {sorted(source)}")
            return open_video(path)
        return VideoFile(bytes(content), str(path) if path else _bytes_name(content))
    if isinstance(source, bytes | bytearray | memoryview):
        return VideoFile(bytes(source), _bytes_name(source))
    if isinstance(source, str | os.PathLike):
        if "://" in str(source):
            raise ValueError(f"{source} is an address on the net; download the video and give its path")
        path = Path(source)
        if not path.is_dir():
            return VideoFile(path, str(path))
        return SecondFolders(path) if is_second_folders(path) else FolderFrames(path)
    if isinstance(source, Sequence) or hasattr(source, "shape"):
        return ArrayFrames(source, channels)
    raise ValueError(
        f"a video must be a path, bytes, {{'path', 'bytes'}}, a folder of frames or an array of frames, "
        f"got {type(source).__name__}"
    )


def frames_shown_at(video: Video, positions: np.ndarray) -> np.ndarray:
    """Turn positions on an even clock into frame numbers: position p asks for the frame shown at p / frame rate.

    At a constant rate these are the positions themselves. At a variable one, where numbers are no measure of time,
    pauses are seen as long as they last.

    Args:
        video: an opened video.
        positions: int64 of any shape, from 0 to `video.num_frames - 1`.

    Returns:
        int64 frame numbers of the same shape.
    """
    timing = video.frame_times()
    if timing is None:
        return positions
    starts, _ = timing
    if follows_rate(starts, video.frame_rate):
        return positions
    return np.searchsorted(starts, positions / video.frame_rate + _ROUNDING, side="right") - 1


def decode_frames(source: VideoSource, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Decode chosen frames, no further than the last of them.

    Args:
        source: as for `probe_video`.
        indices: frame numbers from 0 in presentation order, in any order, repeated where wanted; `None` for all.

    Returns:
        uint8 (T, H, W, 3) RGB, one frame for each index in the given order.

    Raises:
        FileNotFoundError, UnreadableVideoError: as for `probe_video`.
        ValueError: an index outside the video.
    """
    video = open_video(source)
    return read_frames(video, np.arange(video.num_frames) if indices is None else indices)


def read_frames(video: Video, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Decode chosen frames of an opened video; arguments, result and errors as of `decode_frames`."""
    wanted = _frame_numbers(indices, video)
    unique, position = np.unique(wanted, return_inverse=True)
    frames = None
    for row, frame in enumerate(video.read(unique)):
        if frames is None:
            frames = np.empty((len(unique), *frame.shape), np.uint8)
        frames[row] = frame
    return frames if np.array_equal(unique, wanted) else frames[position]


def iterate_frames(source: VideoSource, fps: float | None = None) -> Iterator[np.ndarray]:
    """Go through a video of any length with a few frames in memory.

    Args:
        source: as for `probe_video`.
        fps: frames a second to give: at time k / fps after the first frame comes the frame that is shown then.
            Frames are repeated or left out, never mixed. `None` gives every frame once.

    Yields:
        uint8 (H, W, 3) RGB.

    Raises:
        FileNotFoundError, UnreadableVideoError: as for `probe_video`.
        ValueError: `fps` is not positive, or the source has no timing.
    """
    video = open_video(source)
    indices = np.arange(video.num_frames) if fps is None else _resampled(video, fps)
    unique, repeats = np.unique(indices, return_counts=True)
    # A generator of its own, so that a wrong argument is reported by the call and not by the first `next`.
    return (frame for frame, times in zip(video.read(unique), repeats.tolist(), strict=True) for _ in range(times))


def _resampled(video: Video, fps: float) -> np.ndarray:
    """The frame shown at each k / fps, ascending."""
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps must be a positive number, got {fps}")
    timing = video.frame_times()
    if timing is None:
        raise ValueError(f"{video.name} has no frame rate and cannot be resampled to {fps} fps; leave fps out")
    starts, end = timing
    count = max(1, int(np.ceil((end - _ROUNDING) * fps)))
    return np.searchsorted(starts, np.arange(count) / fps + _ROUNDING, side="right") - 1


def _frame_numbers(indices: Sequence[int] | np.ndarray, video: Video) -> np.ndarray:
    numbers = np.asarray(indices)
    if numbers.ndim != 1 or numbers.size == 0 or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(
            f"indices must be a non-empty list of whole frame numbers, got {numbers.dtype} of shape {numbers.shape}"
        )
    if numbers.min() < 0 or numbers.max() >= video.num_frames:
        wrong = numbers[(numbers < 0) | (numbers >= video.num_frames)][0]
        raise ValueError(f"frame {wrong} was asked for, but {video.name} has the frames 0 to {video.num_frames - 1}")
    return numbers


def _bytes_name(content: bytes | bytearray | memoryview) -> str:
    return f"the video given as {len(content)} bytes"
