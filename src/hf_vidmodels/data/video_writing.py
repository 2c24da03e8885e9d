"""Writing frames as a video file with PyAV."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_io import atomic_write
from .copied_sound import CopiedSound


@dataclass(frozen=True)
class _Coding:
    """How files of one suffix are written: container and, in order of preference, encoders with their options."""

    container: str
    encoders: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)


_CODINGS = {
    ".mp4": _Coding("mp4", ("libx264", "mpeg4")),
    ".m4v": _Coding("mp4", ("libx264", "mpeg4")),
    ".mov": _Coding("mov", ("libx264", "mpeg4")),
    ".mkv": _Coding("matroska", ("libx264", "mpeg4")),
    ".avi": _Coding("avi", ("mpeg4",)),
    ".webm": _Coding("webm", ("libvpx-vp9", "libvpx"), {"crf": "30", "deadline": "good", "cpu-used": "4"}),
    ".gif": _Coding("gif", ("gif",)),
}
# MPEG-4 Part 2 has no constant quality by default; this many bits a pixel keep moving pictures clean.
_MPEG4_BITS_PER_PIXEL = 0.4


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    *,
    options: Mapping[str, str] | None = None,
    sound_of: str | os.PathLike[str] | None = None,
) -> None:
    """Write `frames` to `path`, completely or not at all.

    mp4, m4v, mov and mkv become H.264 (MPEG-4 where PyAV was built without libx264), webm VP9, avi MPEG-4, and gif a
    looping picture with 256 colours a frame. Odd heights and widths are kept; H.264 then stores full colour
    resolution, which some browsers do not play.

    Args:
        path: the file; its suffix chooses the format.
        frames: uint8 (T, H, W, 3) array, or an iterable of uint8 (H, W, 3) frames, which are taken one at a time.
        fps: frames a second.
        options: encoder options of FFmpeg, such as `{"crf": "18", "preset": "veryfast", "g": "12"}`.
        sound_of: video file whose sound, if it has any, is taken along, as long as the frames last; not for gif.

    Raises:
        ValueError: unknown suffix, no frames, frames of different sizes or not uint8 (H, W, 3), `fps` not positive.
        OSError: the file cannot be written.
    """
    path = Path(path)
    coding = _CODINGS.get(path.suffix.lower())
    if coding is None:
        raise ValueError(f"cannot write a video to {path}: its suffix must be one of {', '.join(_CODINGS)}")
    rate = Fraction(fps).limit_denominator(1001) if 0 < fps < float("inf") else Fraction(0)
    if rate <= 0:
        raise ValueError(f"cannot write {path} with {fps} frames a second; fps must be positive")
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise ValueError(f"there are no frames to write to {path}")
    checked = _checked(chain([first], remaining), np.shape(first), path)
    with atomic_write(path) as file:
        _encode(file, checked, np.shape(first), rate, coding, dict(options or {}), sound_of)


def _encode(
    file: Any,
    frames: Iterator[np.ndarray],
    shape: tuple[int, ...],
    rate: Fraction,
    coding: _Coding,
    options: dict[str, str],
    sound_of: str | os.PathLike[str] | None,
) -> None:
    import av

    encoder = next(name for name in coding.encoders if name in av.codecs_available)
    height, width = shape[:2]
    with ExitStack() as opened:
        container = opened.enter_context(av.open(file, "w", format=coding.container))
        stream = container.add_stream(encoder, rate=rate, options={**coding.options, **options})
        stream.height, stream.width = height, width
        stream.pix_fmt = _pixel_format(encoder, height, width)
        stream.codec_context.time_base = 1 / rate
        if encoder == "mpeg4":
            stream.bit_rate = int(height * width * float(rate) * _MPEG4_BITS_PER_PIXEL)
        elif encoder.startswith("libvpx"):
            stream.bit_rate = 0
        sound = (
            None if sound_of is None else CopiedSound(opened.enter_context(av.open(os.fspath(sound_of))), container)
        )
        for number, pixels in enumerate(frames):
            frame = _indexed_frame(pixels) if encoder == "gif" else av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
            if sound is not None:
                sound.copy_until((number + 1) / rate)
        container.mux(stream.encode(None))
        if sound is not None:
            sound.finish()


def _pixel_format(encoder: str, height: int, width: int) -> str:
    if encoder == "gif":
        return "pal8"
    return "yuv444p" if encoder == "libx264" and (height % 2 or width % 2) else "yuv420p"


def _indexed_frame(pixels: np.ndarray) -> Any:
    """One frame with its own 256 best colours; FFmpeg's gif encoder takes no other."""
    import av
    from PIL import Image

    picture = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    colours = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0] = 255
    palette[: len(colours), 1:] = colours
    return av.VideoFrame.from_ndarray((np.asarray(picture), palette), format="pal8")


def _checked(frames: Iterable[np.ndarray], shape: tuple[int, ...], path: Path) -> Iterator[np.ndarray]:
    for number, frame in enumerate(frames):
        pixels = np.asarray(frame)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.shape != shape:
            raise ValueError(
                f"frame {number} for {path} must be uint8 (H, W, 3) of one size, got {pixels.dtype} {pixels.shape}"
                + (f" after frames of {shape}" if number else "")
            )
        yield np.ascontiguousarray(pixels)
