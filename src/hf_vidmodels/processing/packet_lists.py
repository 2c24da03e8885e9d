"""What the packets of a video stream tell before any is decoded: its frames, their times, and what each depends on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .video_metadata import UnreadableVideoError

# FFmpeg's bounds in seconds: a longer step forward in a transport stream, or back in any file, is another clock.
LEAP_FORWARD = 10
STEP_BACK = 0.1


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
        seekable: whether a frame's packet can be told by its presentation time and decoded from the last key frame;
            not so where packets have no times (raw H.264, then `timestamps` count), or those of storage (avi with
            B-frames), where the clock jumps, where the file marks packets as damaged, and where a palette came with
            an earlier packet.
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
        if timestamp is None:
            return None
        number = int(np.searchsorted(self.timestamps, timestamp))
        return number if number < len(self.timestamps) and self.timestamps[number] == timestamp else None

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
                packets.append(_Packet(packet))
    except av.error.FFmpegError as error:
        if not packets:
            raise UnreadableVideoError(f"{name} cannot be read: {error.strerror}") from error
    # The last packet of a file that was cut short is there in part.
    while packets and packets[-1].is_corrupt:
        packets.pop()
    shown = [packet for packet in packets if not packet.is_discard]
    if not shown:
        raise UnreadableVideoError(f"{name} has a video stream without any frame")

    rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
    may_leap = bool(container.format.flags & av.format.Flags.ts_discont.value)
    is_one_clock = _join_clocks(packets, round(1 / (rate * stream.time_base)), stream.time_base, may_leap)
    timestamps = np.array(sorted(packet.time for packet in shown if packet.time is not None), np.int64)
    if len(np.unique(timestamps)) < len(shown):
        none, count = np.zeros(0, np.int64), len(shown)
        return PacketList(np.arange(count), none, none, count, 1 / rate, rate, seekable=False)
    last_duration = max(packet.duration for packet in shown if packet.time == timestamps[-1])
    end = int(timestamps[-1]) + (last_duration or round(1 / (rate * stream.time_base)))
    first = int(timestamps[0])
    if not follows_rate(timestamps - first, stream.time_base * rate):
        rate = len(timestamps) / ((end - first) * stream.time_base)
    all_timed = all(packet.time is not None for packet in packets)
    coded = np.array([packet.time for packet in packets] if all_timed else [], np.int64)
    keys = np.array([position for position, packet in enumerate(packets) if packet.is_keyframe], np.int64)
    # Times that never go back in a stream with B-frames cannot be those of presentation.
    presented = not stream.codec_context.has_b_frames or bool((np.diff(coded) < 0).any())
    return PacketList(
        timestamps=timestamps,
        coded_timestamps=coded,
        key_positions=keys,
        end=end,
        tick=stream.time_base,
        rate=rate,
        seekable=all_timed
        and presented
        and is_one_clock
        and not any(packet.is_corrupt for packet in packets)
        and stream.codec_context.pix_fmt != "pal8"
        and len(keys) > 0
        and bool((np.diff(coded[keys]) > 0).all()),
    )


class _Packet:
    """What is kept of a packet; its time is that of presentation."""

    __slots__ = ("duration", "is_corrupt", "is_discard", "is_keyframe", "stored", "time")

    def __init__(self, packet: Any) -> None:
        self.time, self.stored, self.duration = packet.pts, packet.dts, packet.duration or 0
        self.is_keyframe, self.is_discard, self.is_corrupt = packet.is_keyframe, packet.is_discard, packet.is_corrupt


def _join_clocks(packets: Sequence[_Packet], frame: int, tick: Fraction, may_leap: bool) -> bool:
    """Let the times of segments that were joined go on where the segment before ended; tell whether they did already.

    Times of storage do not go back inside a segment. Those of transport streams, which are joined by copying one
    behind the other, do not leap forward either.

    Args:
        packets: in the order of storage; changed.
        frame: usual ticks from one packet to the next.
        tick: seconds a tick.
        may_leap: whether the container is one whose clock may leap forward.
    """
    shift, last, is_one_clock = 0, None, True
    # In ticks once, because fractions take longer than all the rest.
    least, most = float(-STEP_BACK / tick), float(LEAP_FORWARD / tick) if may_leap else float("inf")
    for packet in packets:
        if packet.stored is not None:
            step = 0 if last is None else packet.stored - last
            if not least <= step <= most:
                shift, is_one_clock = shift + frame - step, False
            last = packet.stored
        if packet.time is not None:
            packet.time += shift
    return is_one_clock


def follows_rate(times: np.ndarray, rate: Fraction | float) -> bool:
    """Whether frames shown at `times` (N,) after the first, in any unit, are `rate` a unit to within half a frame."""
    return bool(np.abs(times * float(rate) - np.arange(len(times))).max() < 0.5)
