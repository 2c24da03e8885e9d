"""Coded video files (mp4, avi, webm, mkv, gif, ...): which frames they hold, and reading chosen ones.

The packets of a file are listed once without decoding. That list says how many frames there are, when each is shown
and from which key frame on it can be decoded, and gives both backends the same numbering:

* PyAV seeks once to the key frame of the first wanted frame, reads on from there, does not decode groups of pictures
  without a wanted frame, and stops behind the last one. It uses one thread: data loaders bring their own processes.
* torchcodec is faster where its wheel finds an FFmpeg on the system. `backend="auto"` takes it for 8-bit video of
  even size in containers of the mp4 and Matroska families and for gif, where its frames equal PyAV's bit by bit. Of
  deeper video and at odd sizes its FFmpeg may make other colours, and of avi and transport streams with B-frames it
  may take neighbouring frames.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .video_metadata import UnreadableVideoError, VideoMetadata

if TYPE_CHECKING:
    import av

_TORCHCODEC_BATCH = 16
_TORCHCODEC_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "gif")


class _OutOfStepError(Exception):
    """Decoded frames do not follow the timestamps of their packets."""


class _DamagedError(Exception):
    """A packet cannot be decoded; what was decodable before it has been given."""


@dataclass(frozen=True)
class PacketList:
    """What the packets of a video stream tell without being decoded.

    Attributes:
        timestamps: (N,) int64, presentation times of the shown frames in ticks, ascending.
        key_timestamps: (K,) int64, presentation times of the key frames in ticks, ascending.
        end: tick at which the last frame ends.
        tick: seconds a tick.
        rate: mean frames a second.
        torchcodec_agrees: whether torchcodec is known to give the frames that PyAV gives.
        seekable: False for streams whose packets have no usable timestamps (raw H.264); `timestamps` then count.
    """

    timestamps: np.ndarray
    key_timestamps: np.ndarray
    end: int
    tick: Fraction
    rate: Fraction
    torchcodec_agrees: bool
    seekable: bool


class VideoFile:
    """One coded video.

    Args:
        content: path of the file, or its bytes.
        name: what messages call it.

    Raises:
        FileNotFoundError: there is no file at the path.
        UnreadableVideoError: it is empty; later also: it is no video, or has no frames.
    """

    def __init__(self, content: Path | bytes, name: str):
        if isinstance(content, Path) and not content.exists():
            raise FileNotFoundError(f"there is no video file {content}")
        if (content.stat().st_size if isinstance(content, Path) else len(content)) == 0:
            raise UnreadableVideoError(f"{name} is empty (0 bytes)")
        self.name = name
        self._content = content

    @cached_property
    def packets(self) -> PacketList:
        """The list of packets, made on first use."""
        with self._open() as (container, stream):
            return _list_packets(container, stream, self.name)

    @property
    def num_frames(self) -> int:
        """Number of shown frames."""
        return len(self.packets.timestamps)

    @property
    def frame_rate(self) -> float:
        """Mean frames a second."""
        return float(self.packets.rate)

    def metadata(self) -> VideoMetadata:
        """Size and timing; decodes the first frame, which alone knows its rotation."""
        height, width, _ = next(self._read_with_pyav([0])).shape
        _, end = self.frame_times()
        return VideoMetadata(self.num_frames, self.frame_rate, end, height, width)

    def frame_times(self) -> tuple[np.ndarray, float]:
        """Start of every frame (N,) and end of the last one, in seconds after the start of the first."""
        packets, tick = self.packets, float(self.packets.tick)
        first = int(packets.timestamps[0])
        return (packets.timestamps - first) * tick, float((packets.end - first) * packets.tick)

    def read(self, indices: np.ndarray, backend: str) -> Iterator[np.ndarray]:
        """Yield the frames of `indices` (ascending, each once) as uint8 (H, W, 3), at most a few in memory."""
        wanted = indices.tolist()
        done = 0
        if backend == "torchcodec" or (
            backend == "auto" and self.packets.torchcodec_agrees and torchcodec_is_usable()
        ):
            try:
                for frame in self._read_with_torchcodec(wanted):
                    yield frame
                    done += 1
            except UnreadableVideoError:
                if backend == "torchcodec":
                    raise
        if done < len(wanted):
            yield from self._read_with_pyav(wanted[done:])

    def _read_with_torchcodec(self, wanted: list[int]) -> Iterator[np.ndarray]:
        from torchcodec.decoders import VideoDecoder

        try:
            content = self._content if isinstance(self._content, bytes) else str(self._content)
            decoder = VideoDecoder(content, dimension_order="NHWC", num_ffmpeg_threads=1)
            if len(decoder) != self.num_frames:
                raise ValueError(f"it counts {len(decoder)} frames, the packets are {self.num_frames}")
            for start in range(0, len(wanted), _TORCHCODEC_BATCH):
                yield from decoder.get_frames_at(wanted[start : start + _TORCHCODEC_BATCH]).data.numpy()
        except (RuntimeError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UnreadableVideoError(f"torchcodec cannot decode {self.name}: {reason}") from error

    def _read_with_pyav(self, wanted: list[int]) -> Iterator[np.ndarray]:
        done = 0
        size = None
        ways = [self._decode_by_timestamp, self._decode_by_counting]
        for way in ways if self.packets.seekable else ways[1:]:
            try:
                for frame in way(wanted[done:]):
                    size = size or frame.shape
                    if frame.shape != size:
                        raise UnreadableVideoError(
                            f"{self.name} changes its picture size from {size[1]}x{size[0]} to "
                            f"{frame.shape[1]}x{frame.shape[0]} at frame {wanted[done]}; convert it to one size"
                        )
                    yield frame
                    done += 1
            except (_OutOfStepError, _DamagedError):
                continue
            if done == len(wanted):
                return
        raise UnreadableVideoError(
            f"frame {wanted[done]} of {self.name} cannot be decoded, although {self.num_frames} frames are announced: "
            "the file was cut short or is damaged"
        )

    def _decode_by_counting(self, wanted: list[int]) -> Iterator[np.ndarray]:
        """Decode everything from the start up to the last wanted frame."""
        with self._open() as (container, stream):
            to_pixels = _PixelConverter()
            number = position = 0
            for packet in container.demux(stream):
                for frame in _decode_packet(stream, packet):
                    if number == wanted[position]:
                        yield to_pixels(frame)
                        position += 1
                        if position == len(wanted):
                            return
                    number += 1

    def _decode_by_timestamp(self, wanted: list[int]) -> Iterator[np.ndarray]:
        """Decode only the groups of pictures that hold a wanted frame.

        Raises:
            _OutOfStepError: frames come with other timestamps than their packets promised, so that only counting
                from the start finds them.
        """
        timestamps, keys = self.packets.timestamps, self.packets.key_timestamps
        key_of_wanted = np.searchsorted(keys, timestamps[wanted], side="right") - 1
        number_of_key = {timestamp: number for number, timestamp in enumerate(keys.tolist())}
        if key_of_wanted[0] < 0:
            raise _OutOfStepError
        with self._open() as (container, stream):
            to_pixels = _PixelConverter()
            container.seek(int(keys[key_of_wanted[0]]), stream=stream, backward=True)
            position, expected, current_key, decoding_from = 0, 0, -1, None
            for packet in container.demux(stream):
                if packet.is_keyframe:
                    current_key = number_of_key.get(packet.pts, current_key)
                if decoding_from is None:
                    if not packet.is_keyframe or current_key < key_of_wanted[position]:
                        continue
                    if current_key > key_of_wanted[position]:
                        raise _OutOfStepError
                    decoding_from = packet.pts
                    expected = int(np.searchsorted(timestamps, decoding_from))
                    stream.codec_context.flush_buffers()
                for frame in _decode_packet(stream, packet):
                    # Pictures shown before the key frame but stored behind it lean on a group that was left out.
                    if frame.pts is not None and frame.pts < decoding_from:
                        continue
                    if expected == len(timestamps) or frame.pts != timestamps[expected]:
                        raise _OutOfStepError
                    if expected == wanted[position]:
                        yield to_pixels(frame)
                        position += 1
                        if position == len(wanted):
                            return
                    expected += 1
                if key_of_wanted[position] > current_key:
                    decoding_from = None

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        import av

        content = io.BytesIO(self._content) if isinstance(self._content, bytes) else str(self._content)
        try:
            container = av.open(content)
        except av.error.FFmpegError as error:
            raise UnreadableVideoError(
                f"{self.name} is not a video that FFmpeg can open ({error.strerror}): it may be cut short or damaged"
            ) from error
        with container:
            stream = container.streams.best("video")
            if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
                kinds = ", ".join(sorted({other.type for other in container.streams})) or "none"
                raise UnreadableVideoError(f"{self.name} holds no moving pictures (its streams: {kinds})")
            stream.codec_context.thread_count = 1
            yield container, stream


class _PixelConverter:
    """Decoded frames to upright RGB arrays; keeps the scaler that would otherwise be set up for every frame."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()

    def __call__(self, frame: "av.VideoFrame") -> np.ndarray:
        quarter_turns = round(frame.rotation / 90) % 4
        pixels = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels


@lru_cache(maxsize=1)
def torchcodec_is_usable() -> bool:
    """Whether torchcodec is installed, loads, and found an FFmpeg on the system."""
    try:
        import torchcodec
        from torchcodec.decoders import VideoDecoder  # noqa: F401 - versions before 0.16 need FFmpeg to import it
    except (ImportError, OSError, RuntimeError):
        return False
    return getattr(torchcodec, "ffmpeg_major_version", 0) is not None


def _decode_packet(stream: Any, packet: Any) -> Iterator["av.VideoFrame"]:
    """Decode one packet.

    Raises:
        _DamagedError: it cannot be decoded; the frames that the decoder still held are given first.
    """
    import av

    try:
        yield from packet.decode()
    except av.error.FFmpegError as error:
        yield from stream.decode(None)
        raise _DamagedError from error


def _list_packets(container: Any, stream: Any, name: str) -> PacketList:
    import av

    packets = []
    try:
        for packet in container.demux(stream):
            if packet.size:
                packets.append((packet.pts, packet.duration, packet.is_keyframe, packet.is_discard, packet.is_corrupt))
    except av.error.FFmpegError as error:
        if not packets:
            raise UnreadableVideoError(f"{name} cannot be read: {error.strerror}") from error
    # The last packet of a file that was cut short is there in part.
    while packets and packets[-1][4]:
        packets.pop()
    shown = [packet for packet in packets if not packet[3]]
    if not shown:
        raise UnreadableVideoError(f"{name} has a video stream without any frame")

    rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
    agrees = container.format.name in _TORCHCODEC_CONTAINERS and _has_plain_pixels(stream)
    timestamps = np.array(sorted(packet[0] for packet in shown if packet[0] is not None), np.int64)
    keys = [packet[0] for packet in packets if packet[2]]
    if len(np.unique(timestamps)) < len(shown):
        count = len(shown)
        return PacketList(np.arange(count), np.zeros(0, np.int64), count, 1 / rate, rate, agrees, seekable=False)
    last_duration = max(packet[1] or 0 for packet in shown if packet[0] == timestamps[-1])
    end = int(timestamps[-1]) + (last_duration or round(1 / (rate * stream.time_base)))
    first = int(timestamps[0])
    if not follows_rate(timestamps - first, stream.time_base * rate):
        rate = len(timestamps) / ((end - first) * stream.time_base)
    return PacketList(
        timestamps=timestamps,
        key_timestamps=np.array(keys, np.int64),
        end=end,
        tick=stream.time_base,
        rate=rate,
        torchcodec_agrees=agrees,
        seekable=None not in keys and keys == sorted(set(keys)),
    )


def follows_rate(times: np.ndarray, rate: Fraction | float) -> bool:
    """Whether frames shown at `times` (N,) after the first, in any unit, are `rate` a unit to within half a frame."""
    return bool(np.abs(times * float(rate) - np.arange(len(times))).max() < 0.5)


def _has_plain_pixels(stream: Any) -> bool:
    """Whether every FFmpeg turns the pixels into the same RGB: 8 bits, and no half chroma sample at an odd edge."""
    context = stream.codec_context
    if context.format is None or any(component.bits != 8 for component in context.format.components):
        return False
    height, width = context.height, context.width
    full_chroma = context.format.chroma_height(height) == height and context.format.chroma_width(width) == width
    return full_chroma or (height % 2 == 0 and width % 2 == 0)
