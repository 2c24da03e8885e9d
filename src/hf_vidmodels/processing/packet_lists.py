"""What the packets of a video stream tell before any is decoded: its frames, their times, and what each depends on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from .video_metadata import UnreadableVideoError


@dataclass(frozen=True)
class PacketRun:
    """Packets that are decoded in one go for some wanted frames.

    Attributes:
        start: position of the key frame's packet in the stream.
        end: position of the last packet that a wanted frame needs.
        first_frame: number of the key frame.
        frames: numbers of the wanted frames, ascending.
    """

    start: int
    end: int
    first_frame: int
    frames: list[int]


@dataclass(frozen=True)
class PacketList:
    """The packets of a video stream; times are in ticks.

    Attributes:
        timestamps: (N,) int64, presentation times of the shown frames, ascending.
        coded_timestamps: (M,) int64, presentation times of all packets in the order in which they are stored.
        key_positions: (K,) int64, which packets are key frames.
        end: when the last frame ends.
        tick: seconds a tick.
        rate: mean frames a second.
        seekable: whether a frame's packet can be told by its presentation time; not so where packets have no times
            (raw H.264, then `timestamps` count), or those of storage (avi with B-frames).
    """

    timestamps: np.ndarray
    coded_timestamps: np.ndarray
    key_positions: np.ndarray
    end: int
    tick: Fraction
    rate: Fraction
    seekable: bool

    def frame_at(self, timestamp: int | None) -> int | None:
        """Give the number of the frame with this presentation time, or None."""
        return self._frame_numbers.get(timestamp)

    def runs(self, wanted: Sequence[int]) -> Iterator[PacketRun]:
        """Yield what is to be decoded for the frames `wanted` (ascending, each once), in the order of the stream.

        A frame needs the packets from the last key frame shown before it up to its own; runs that share packets are
        one. Frames before the first key frame are in no run.
        """
        keys = self.coded_timestamps[self.key_positions]
        times = self.timestamps[list(wanted)]
        key_of_wanted = np.searchsorted(keys, times, side="right") - 1
        order = np.argsort(self.coded_timestamps)
        ends = order[np.searchsorted(self.coded_timestamps, times, sorter=order)]
        gathered: list[int] = []
        start = end = 0
        for number, key, needed in zip(wanted, key_of_wanted.tolist(), ends.tolist(), strict=True):
            if key < 0:
                continue
            key_position = int(self.key_positions[key])
            if gathered and key_position > end:
                yield self._run(start, end, gathered)
                gathered = []
            if not gathered:
                start = key_position
            gathered.append(number)
            end = max(end, needed)
        if gathered:
            yield self._run(start, end, gathered)

    def _run(self, start: int, end: int, frames: list[int]) -> PacketRun:
        return PacketRun(start, end, int(np.searchsorted(self.timestamps, self.coded_timestamps[start])), frames)

    @cached_property
    def _frame_numbers(self) -> dict[int, int]:
        return {timestamp: number for number, timestamp in enumerate(self.timestamps.tolist())}


def list_packets(container: Any, stream: Any, name: str) -> PacketList:
    """Read all packets of a video stream without decoding them.

    Args:
        container: the file opened by PyAV.
        stream: its video stream.
        name: what messages call it.

    Raises:
        UnreadableVideoError: there is no packet to be shown.
    """
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
    timestamps = np.array(sorted(packet[0] for packet in shown if packet[0] is not None), np.int64)
    if len(np.unique(timestamps)) < len(shown):
        none, count = np.zeros(0, np.int64), len(shown)
        return PacketList(np.arange(count), none, none, count, 1 / rate, rate, seekable=False)
    last_duration = max(packet[1] or 0 for packet in shown if packet[0] == timestamps[-1])
    end = int(timestamps[-1]) + (last_duration or round(1 / (rate * stream.time_base)))
    first = int(timestamps[0])
    if not follows_rate(timestamps - first, stream.time_base * rate):
        rate = len(timestamps) / ((end - first) * stream.time_base)
    all_timed = all(packet[0] is not None for packet in packets)
    coded = np.array([packet[0] for packet in packets] if all_timed else [], np.int64)
    keys = np.array([position for position, packet in enumerate(packets) if packet[2]], np.int64)
    # Times that never go back in a stream with B-frames cannot be those of presentation.
    presented = not stream.codec_context.has_b_frames or bool((np.diff(coded) < 0).any())
    return PacketList(
        timestamps=timestamps,
        coded_timestamps=coded,
        key_positions=keys,
        end=end,
        tick=stream.time_base,
        rate=rate,
        seekable=all_timed and presented and len(keys) > 0 and bool((np.diff(coded[keys]) > 0).all()),
    )


def follows_rate(times: np.ndarray, rate: Fraction | float) -> bool:
    """Whether frames shown at `times` (N,) after the first, in any unit, are `rate` a unit to within half a frame."""
    return bool(np.abs(times * float(rate) - np.arange(len(times))).max() < 0.5)
