"""A film as AVA stores it: a folder for each second, named by it, that holds the frames of that second."""

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from .frame_sources import FolderFrames
from .video_metadata import UnreadableVideoError, VideoMetadata


def is_second_folders(folder: Path) -> bool:
    """Whether a folder holds folders whose names are whole numbers."""
    return any(child.name.isdecimal() and child.is_dir() for child in folder.iterdir())


class SecondFolders:
    """Frames in folders such as `00902`, the first of which is shown at second 902 and the others evenly after it.

    Folders are read when their frames are asked for, so that a part of a long film costs no more than that part.

    Args:
        folder: the film's folder.
        span: first and last second that are wanted; the folders before, after and around them count as not there.

    Raises:
        UnreadableVideoError: there is no such folder in it.
    """

    def __init__(self, folder: Path, span: tuple[float, float] | None = None):
        self.name = str(folder)
        self._folder = folder
        numbered = {int(child.name): child for child in folder.iterdir() if child.name.isdecimal() and child.is_dir()}
        self.seconds = sorted(numbered)
        if span is not None:
            # A frame before the span is shown at its beginning where that second is missing.
            before = [second for second in self.seconds if second <= math.floor(span[0])][-1:]
            inside = [second for second in self.seconds if math.floor(span[0]) < second <= span[1]]
            self.seconds = before + inside or self.seconds[:1]
        if not self.seconds:
            raise UnreadableVideoError(f"{self.name} holds no folders named by seconds, such as 00902")
        self._paths = [numbered[second] for second in self.seconds]

    def between(self, first: float, last: float) -> "SecondFolders":
        """Give the part of the film from `first` to `last`, in seconds on its own clock."""
        return SecondFolders(self._folder, (first, last))

    @property
    def start_time(self) -> float:
        """When the first frame is shown, in seconds on the film's own clock."""
        return float(self.seconds[0])

    @property
    def num_frames(self) -> int:
        """Number of frames in all folders."""
        return int(self._first_frames[-1])

    @property
    def frame_rate(self) -> float:
        """Mean frames in a second."""
        return self.num_frames / len(self.seconds)

    @cached_property
    def _sources(self) -> list[FolderFrames]:
        return [FolderFrames(path) for path in self._paths]

    @cached_property
    def _first_frames(self) -> np.ndarray:
        """Number of the first frame of each folder, and of all frames (S + 1,)."""
        return np.cumsum([0, *(source.num_frames for source in self._sources)])

    def metadata(self) -> VideoMetadata:
        """Size of the first picture and timing."""
        size = self._sources[0].metadata()
        _, end = self.frame_times()
        return VideoMetadata(self.num_frames, self.frame_rate, end, size.height, size.width)

    def frame_times(self) -> tuple[np.ndarray, float]:
        """Start of every frame (N,) and end of the last one, in seconds after the start of the first."""
        starts = [
            second + np.arange(source.num_frames) / source.num_frames
            for second, source in zip(self.seconds, self._sources, strict=True)
        ]
        return np.concatenate(starts) - self.start_time, self.seconds[-1] + 1 - self.start_time

    def read(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the frames of `indices` (ascending) as uint8 (H, W, 3).

        Raises:
            UnreadableVideoError: a picture cannot be read, or is of another size than those before.
        """
        places = np.searchsorted(self._first_frames, indices, side="right") - 1
        size = None
        for place in np.unique(places):
            inside = indices[places == place] - self._first_frames[place]
            for frame in self._sources[place].read(inside):
                size = size or frame.shape
                if frame.shape != size:
                    raise UnreadableVideoError(
                        f"{self._paths[place]} holds frames of {frame.shape[1]}x{frame.shape[0]} pixels (width x "
                        f"height), but those before have {size[1]}x{size[0]}; give all frames one size"
                    )
                yield frame
