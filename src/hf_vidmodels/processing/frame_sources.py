"""Videos that are not coded streams: arrays of frames and folders of numbered pictures.

Like `VideoFile` of `video_files.py`, each source has a `name` for messages, `num_frames`, `frame_rate`, `metadata()`,
`frame_times()` and `read(indices)`, so that `decoding.py` treats all of them alike.
"""

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .media_suffixes import PICTURE_SUFFIXES
from .picture_reading import read_picture
from .video_metadata import UnreadableVideoError, VideoMetadata


class ArrayFrames:
    """Frames that are in memory already.

    Args:
        frames: uint8 (T, H, W, 3) or (T, 3, H, W) numpy array or torch tensor, or a sequence of T pictures (PIL, or
            arrays of either order of axes).
        channels: where the colours are, `"first"` or `"last"`; `None` to tell by the axis of length 3.

    Raises:
        ValueError: any other shape or type of number, or both axes have length 3 and `channels` is `None`.
    """

    name = "the array of frames"
    frame_rate = math.nan

    def __init__(self, frames: Any, channels: str | None = None):
        if isinstance(frames, Sequence):
            pictures = [_picture_as_array(frame) for frame in frames]
            if len({picture.shape for picture in pictures}) > 1:
                shapes = sorted({picture.shape for picture in pictures})
                raise ValueError(f"the frames of a list must have one size, got {shapes[0]} and {shapes[-1]}")
            frames = np.stack(pictures) if pictures else np.empty((0, 0, 0, 3), np.uint8)
        elif hasattr(frames, "detach"):
            frames = frames.detach().cpu().numpy()
        frames = _with_colours_last(frames, channels)
        if frames.dtype != np.uint8:
            raise ValueError(f"frames in memory must be uint8 values 0 to 255, got {frames.dtype}")
        if len(frames) == 0:
            raise UnreadableVideoError(f"{self.name} holds no frames")
        self._frames = frames
        self.num_frames = len(frames)

    def metadata(self) -> VideoMetadata:
        """Size; timing is NaN."""
        return VideoMetadata(self.num_frames, math.nan, math.nan, *self._frames.shape[1:3])

    def frame_times(self) -> None:
        """Frames in memory have no times."""
        return None

    def read(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the frames of `indices`."""
        yield from (self._frames[index] for index in indices)


def _picture_as_array(picture: Any) -> np.ndarray:
    if isinstance(picture, str | os.PathLike | bytes):
        raise ValueError(
            f"a video given as a list must hold pictures, got {type(picture).__name__}; "
            "give the folder of numbered pictures"
        )
    if hasattr(picture, "convert"):
        picture = read_picture(picture)
    return np.asarray(picture.detach().cpu() if hasattr(picture, "detach") else picture)


def _with_colours_last(frames: np.ndarray, channels: str | None) -> np.ndarray:
    """Give (T, H, W, 3), whichever of both orders came."""
    shape = tuple(frames.shape)
    last = len(shape) == 4 and shape[3] == 3
    first = len(shape) == 4 and shape[1] == 3
    if channels is not None:
        first, last = first and channels == "first", last and channels == "last"
    if first and last:
        raise ValueError(
            f"frames of shape {shape} may have their colours first or last; say which with "
            "input_data_format='channels_first' or 'channels_last'"
        )
    if not first and not last:
        expected = {"first": "(T, 3, H, W)", "last": "(T, H, W, 3)"}.get(channels, "(T, H, W, 3) or (T, 3, H, W)")
        raise ValueError(
            f"frames in memory must have the shape {expected}, got {shape}; repeat a grey channel three times"
        )
    return frames if last else frames.transpose(0, 2, 3, 1)


class FolderFrames:
    """A folder of numbered pictures, one a frame.

    The last number in a file's name orders it, so `img_2.jpg` comes before `img_10.jpg`; numbers may start anywhere,
    and count frames or milliseconds. Files that are no pictures are passed over.

    Args:
        folder: the folder.

    Raises:
        UnreadableVideoError: no picture in it, or pictures missing between others, so that time would jump.
        ValueError: a picture without a number, or two with the same.
    """

    frame_rate = math.nan

    def __init__(self, folder: Path):
        self.name = str(folder)
        numbered: dict[int, Path] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in PICTURE_SUFFIXES or path.name.startswith("."):
                continue
            numbers = re.findall(r"\d+", path.stem)
            if not numbers:
                raise ValueError(f"{path} has no number in its name; frames of a folder are ordered by their numbers")
            number = int(numbers[-1])
            if number in numbered:
                raise ValueError(f"{numbered[number]} and {path.name} have the same frame number {number}")
            numbered[number] = path
        if not numbered:
            raise UnreadableVideoError(
                f"{folder} holds no frames; expected numbered pictures such as 00001.jpg "
                f"(suffixes: {', '.join(sorted(PICTURE_SUFFIXES))})"
            )
        numbers = np.array(sorted(numbered))
        steps = np.diff(numbers)
        # Rounded times differ by one; a missing picture at least doubles a step.
        if len(gaps := np.flatnonzero(steps >= 2 * min(steps, default=1))):
            before, behind = numbers[gaps[0] : gaps[0] + 2]
            raise UnreadableVideoError(
                f"{folder} lacks frames between {numbered[before].name} and {numbered[behind].name}; extract them "
                "again, or leave the video out"
            )
        self._paths = [numbered[number] for number in numbers.tolist()]
        self.num_frames = len(self._paths)

    def metadata(self) -> VideoMetadata:
        """Size of the first picture; timing is NaN."""
        height, width, _ = self._open(0).shape
        return VideoMetadata(self.num_frames, math.nan, math.nan, height, width)

    def frame_times(self) -> None:
        """Pictures in a folder have no times."""
        return None

    def read(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the pictures of `indices` as uint8 (H, W, 3).

        Raises:
            UnreadableVideoError: a picture cannot be read, or is of another size than those before.
        """
        size = None
        for index in indices:
            frame = self._open(int(index))
            size = size or frame.shape
            if frame.shape != size:
                raise UnreadableVideoError(
                    f"frame {self._paths[index]} has {frame.shape[1]}x{frame.shape[0]} pixels (width x height), but "
                    f"frames before it have {size[1]}x{size[0]}; give all frames one size"
                )
            yield frame

    def _open(self, index: int) -> np.ndarray:
        try:
            return np.asarray(read_picture(self._paths[index]))
        except (ValueError, OSError) as error:
            raise UnreadableVideoError(f"frame {error}") from error
