"""What can be known of a video before its pictures are decoded, and the error of a file that cannot be read."""

from dataclasses import dataclass


class UnreadableVideoError(ValueError):
    """A video that exists but cannot be decoded: empty, damaged, cut short, or without pictures.

    The message is one sentence that names the file. Loaders that may skip bad files catch this class alone, so that
    a wrong argument is never mistaken for a bad file.
    """


@dataclass(frozen=True)
class VideoMetadata:
    """Size and timing of a video.

    Attributes:
        num_frames: pictures that are shown, in presentation order (pictures cut away by an edit list do not count).
        fps: mean frame rate in 1/s; NaN for pictures without timing (arrays, folders of frames).
        duration: seconds from the first picture to the end of the last one; NaN where `fps` is.
        height: pixels, after the rotation that the file asks for.
        width: pixels, after the rotation that the file asks for.
    """

    num_frames: int
    fps: float
    duration: float
    height: int
    width: int
