"""The sound of one video file taken along into another; as it is where its codec is the usual one of the format."""

import warnings
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av


class CopiedSound:
    """The sound of `source`, written to `target` piece by piece between the frames.

    Args:
        source: an opened video file; without sound nothing is written.
        target: a container that is being written, before its first frame; of a format that has sound.
    """

    def __init__(self, source: "av.container.InputContainer", target: "av.container.OutputContainer") -> None:
        self._source, self._target = source, target
        self._stream = next(iter(source.streams.audio), None)
        self._written: Any = None
        self._coming: Iterator[tuple[Fraction, Any]] = iter(())
        self._next: tuple[Fraction, Any] | None = None
        if self._stream is None:
            return
        self._as_it_is = self._stream.codec_context.name == target.default_audio_codec
        if self._as_it_is:
            self._written = target.add_stream_from_template(self._stream)
        else:
            self._written = target.add_stream(target.default_audio_codec, rate=self._stream.codec_context.sample_rate)
        self._coming = self._pieces()

    def copy_until(self, time: Fraction) -> None:
        """Write the sound that begins before `time`, in seconds after the first frame."""
        from av.error import FFmpegError

        try:
            self._next = self._next or next(self._coming, None)
            while self._next is not None and self._next[0] < time:
                self._target.mux(self._next[1] if self._as_it_is else self._written.encode(self._next[1]))
                self._next = next(self._coming, None)
        except FFmpegError as error:
            warnings.warn(f"the sound of {self._source.name} ends at {float(time):.1f} s: {error}", stacklevel=3)
            self._coming, self._next = iter(()), None

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None and not self._as_it_is:
            self._target.mux(self._written.encode(None))

    def _pieces(self) -> Iterator[tuple[Fraction, Any]]:
        """Packets, or frames to encode, with their times; none from before the first frame of the video."""
        video = next(iter(self._source.streams.video), None)
        begin = Fraction(0) if video is None or video.start_time is None else video.start_time * video.time_base
        pieces = self._source.demux(self._stream) if self._as_it_is else self._source.decode(self._stream)
        for piece in pieces:
            if piece.pts is None:
                continue
            base = piece.time_base
            shift = round(begin / base)
            if piece.pts < shift:
                continue
            piece.pts -= shift
            if self._as_it_is:
                piece.dts = piece.pts if piece.dts is None else piece.dts - shift
                piece.stream = self._written
            yield piece.pts * base, piece
