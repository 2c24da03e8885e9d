"""Coded video files (mp4, avi, webm, mkv, gif, ...): which frames they hold, and reading chosen ones.

The packets of a file are listed once without decoding. That list says how many frames there are, when each is shown
and what it depends on. Then only the groups of pictures that hold a wanted frame are decoded, up to the last wanted
one, leaving out the B-frames that no other frame depends on. Far groups are jumped to, near ones reached by reading
on. All with one thread, as data loaders bring their own processes. `benchmarks/decode.py` compares it with other ways.
"""

import io
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .packet_lists import PacketList, PacketRun, list_packets
from .video_metadata import UnreadableVideoError, VideoMetadata

if TYPE_CHECKING:
    import av

# Codecs whose decoders leave out pictures that no other one depends on.
_CODECS_THAT_SKIP = ("h264", "mpeg4")
# Packets up to here are read on the way to the next key frame; farther ones are jumped over.
_SEEK_DISTANCE = 50
_FIRST_PYAV_WITH_ANIMATED_WEBP = 19


class _OutOfStepError(Exception):
    """Decoded frames do not follow the timestamps of their packets."""


class _DamagedError(Exception):
    """A packet cannot be decoded; what was decodable before it has been given."""


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
        """The list of packets, made on first use; that of a file is kept for when it is opened again."""
        if isinstance(self._content, bytes):
            return self.list_packets()
        status = self._content.stat()
        return packets_of_file(self._content, self.name, status.st_size, status.st_mtime_ns)

    def list_packets(self) -> PacketList:
        """List the packets anew.

        Raises:
            UnreadableVideoError: it is no video, or has no frames.
        """
        # The FFmpeg of earlier releases gives no frame of such a file, and that of PyAV 17 ends the process.
        release = int(version("av").partition(".")[0])
        if release < _FIRST_PYAV_WITH_ANIMATED_WEBP and self._is_animated_webp():
            raise UnreadableVideoError(
                f"{self.name} is an animated WebP, which FFmpeg does not decode; convert it, for example to mp4 or GIF"
            )
        with self._open() as (container, stream):
            return list_packets(container, stream, self.name)

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
        height, width, _ = next(self.read(np.zeros(1, np.int64))).shape
        _, end = self.frame_times()
        return VideoMetadata(self.num_frames, self.frame_rate, end, height, width)

    def frame_times(self) -> tuple[np.ndarray, float]:
        """Start of every frame (N,) and end of the last one, in seconds after the start of the first."""
        packets, tick = self.packets, float(self.packets.tick)
        first = int(packets.timestamps[0])
        return (packets.timestamps - first) * tick, float((packets.end - first) * packets.tick)

    def read(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the frames of `indices` (ascending, each once) as uint8 (H, W, 3), at most a few in memory."""
        wanted = indices.tolist()
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

    def _is_animated_webp(self) -> bool:
        if isinstance(self._content, bytes):
            start = self._content[:21]
        else:
            with self._content.open("rb") as file:
                start = file.read(21)
        return start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X" and bool(start[20] & 2)

    def _decode_by_counting(self, wanted: list[int]) -> Iterator[np.ndarray]:
        """Decode everything from the start up to the last wanted frame; end before one for which nothing comes."""
        with self._open() as (container, stream):
            to_pixels = _PixelConverter(self.name)
            number = position = 0
            for packet in container.demux(stream):
                for frame in _decode_packet(stream, packet):
                    listed = self.packets.frame_at(frame.pts) if self.packets.seekable else None
                    # Of damaged packets frames come too late or not at all; those behind keep their numbers.
                    if listed is not None and listed < number:
                        continue
                    number = number if listed is None else listed
                    if number > wanted[position]:
                        return
                    if number == wanted[position]:
                        yield to_pixels(frame)
                        position += 1
                        if position == len(wanted):
                            return
                    number += 1

    def _decode_by_timestamp(self, wanted: list[int]) -> Iterator[np.ndarray]:
        """Decode, of the groups of pictures that hold a wanted frame, what these frames depend on.

        Raises:
            _OutOfStepError: packets or frames come otherwise than the packet list promised, so that only counting
                from the start finds them.
        """
        with self._open() as (container, stream):
            # What a decoder makes of damage depends on the frames before, some of which are left out here.
            stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
            to_pixels = _PixelConverter(self.name)
            decoder = _RunDecoder(container, stream, self.packets)
            runs = list(self.packets.runs(wanted))
            if not runs or runs[0].frames[0] != wanted[0]:
                raise _OutOfStepError
            for run in runs:
                yield from map(to_pixels, decoder.wanted_frames(run))

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
            if stream.codec_context is None:
                raise UnreadableVideoError(
                    f"{self.name} is coded in a way that the installed FFmpeg does not know; convert it to H.264 first"
                )
            stream.codec_context.thread_count = 1
            yield container, stream


# About 16 bytes a frame each.
@lru_cache(maxsize=128)
def packets_of_file(path: Path, name: str, _size: int, _changed: int) -> PacketList:
    """List the packets of a file, or give the list that was made of it before it had another size or time."""
    return VideoFile(path, name).list_packets()


class _RunDecoder:
    """Decodes one run of packets after another, in the order of the file.

    Args:
        container: the opened file.
        stream: its video stream.
        packets: what its packets are.
    """

    def __init__(self, container: Any, stream: Any, packets: PacketList):
        self._container, self._stream, self._listed = container, stream, packets
        self._coming = container.demux(stream)
        self._position = 0

    def wanted_frames(self, run: PacketRun) -> Iterator["av.VideoFrame"]:
        """Yield the frames that are wanted of a run.

        Raises:
            _OutOfStepError: packets or frames come otherwise than they were listed, or one is damaged.
            _DamagedError: a packet cannot be decoded.
        """
        last, position = run.first_frame - 1, 0
        stored = self._listed.coded_timestamps[run.start : run.end + 1]
        # A B-frame leans on one that is shown later, of which only then is known that it is whole.
        leans_up_to = dict(zip(stored.tolist(), np.maximum.accumulate(stored).tolist(), strict=True))
        held: deque[av.VideoFrame] = deque()
        for frame in self._decoded(run):
            # Pictures shown before the key frame but stored behind it lean on a group that was left out.
            if frame.pts is not None and frame.pts < self._listed.timestamps[run.first_frame]:
                continue
            number = self._listed.frame_at(frame.pts)
            awaited = run.frames[position] if position < len(run.frames) else math.inf
            if frame.is_corrupt or number is None or not last < number <= awaited:
                raise _OutOfStepError
            last = number
            if number == awaited:
                held.append(frame)
                position += 1
            while held and leans_up_to[held[0].pts] <= frame.pts:
                yield held.popleft()
            if position == len(run.frames) and not held:
                return
        if position < len(run.frames):
            raise _OutOfStepError
        yield from held

    def _decoded(self, run: PacketRun) -> Iterator["av.VideoFrame"]:
        context = self._stream.codec_context
        context.flush_buffers()
        skips = context.name in _CODECS_THAT_SKIP
        wanted = {int(self._listed.timestamps[number]) for number in run.frames}
        for packet in self._packets(run):
            if skips:
                context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            yield from _decode_packet(self._stream, packet)
        yield from self._stream.decode(None)

    def _packets(self, run: PacketRun) -> Iterator[Any]:
        coded = self._listed.coded_timestamps
        if run.start - self._position > _SEEK_DISTANCE:
            self._seek(int(coded[run.start]))
        started = False
        for packet in self._coming:
            if not started:
                started = packet.is_keyframe and packet.pts == coded[run.start]
                self._position = run.start
                if not started:
                    continue
            elif self._position >= len(coded) or packet.pts != coded[self._position]:
                raise _OutOfStepError
            self._position += 1
            yield packet
            if self._position > run.end:
                return

    def _seek(self, timestamp: int) -> None:
        import av

        try:
            self._container.seek(timestamp, stream=self._stream, backward=True)
        except av.error.FFmpegError as error:
            raise _OutOfStepError from error
        self._coming = self._container.demux(self._stream)


class _PixelConverter:
    """Decoded frames to upright RGB arrays; keeps the scaler that would otherwise be set up for every frame.

    Args:
        name: what messages call the video.
    """

    def __init__(self, name: str) -> None:
        from av.video.reformatter import VideoReformatter

        self._name = name
        self._reformatter = VideoReformatter()
        self._matrix: bytes | None = None
        self._turn = (False, False, False)

    def __call__(self, frame: "av.VideoFrame") -> np.ndarray:
        """Convert a frame.

        Raises:
            UnreadableVideoError: it asks for a turn that is no quarter turn.
        """
        # Starting threads for every frame takes longer than a small frame; one is hardly slower for a large one.
        pixels = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        data = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return pixels
        matrix = bytes(data)
        if matrix != self._matrix:
            self._matrix, self._turn = matrix, _read_display_matrix(matrix, self._name)
        transposed, mirrored, upside_down = self._turn
        pixels = pixels.transpose(1, 0, 2) if transposed else pixels
        return np.ascontiguousarray(pixels[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def _read_display_matrix(matrix: bytes, name: str) -> tuple[bool, bool, bool]:
    """Say how a display matrix turns pictures: rows and columns swapped, then mirrored, then upside down.

    The nine numbers take (x, y, 1) to (x', y', w') from the left; four of them turn and mirror, as FFmpeg reads them:
    their size does not count, nor the shift.

    Raises:
        UnreadableVideoError: it turns by more than a degree beside a quarter turn.
    """
    x_by_x, y_by_x, _, x_by_y, y_by_y, *_ = np.frombuffer(matrix, np.int32).astype(float)
    if not np.hypot(x_by_x, x_by_y) or not np.hypot(y_by_x, y_by_y):
        return False, False, False
    angle = np.degrees(np.arctan2(y_by_x / np.hypot(y_by_x, y_by_y), x_by_x / np.hypot(x_by_x, x_by_y)))
    if abs(angle - 90 * round(angle / 90)) > 1:
        raise UnreadableVideoError(
            f"{name} asks to be turned by {angle:.0f} degrees; only quarter turns are read, convert it without"
        )
    if round(angle / 90) % 2:
        return True, bool(x_by_y < 0), bool(y_by_x < 0)
    return False, bool(x_by_x < 0), bool(y_by_y < 0)


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
