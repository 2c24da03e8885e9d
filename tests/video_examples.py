"""Small videos whose frames can be told apart, and files of unusual kinds made from them."""

import struct
import wave
from fractions import Fraction

import av
import numpy as np

# Encoder options: a key frame every twelve, two B frames between others.
GROUPED = {"g": "12", "bf": "2", "crf": "20"}


def moving_square(num_frames=40, height=48, width=64):
    """Frames that carry their number as six black or white blocks in the upper rows; a square moves below."""
    frames = np.full((num_frames, height, width, 3), (90, 120, 60), np.uint8)
    for number, frame in enumerate(frames):
        for bit in range(6):
            frame[:8, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
        frame[16:32, number % (width - 16) :][:, :16] = (240, 220, 30)
    return frames


def number_of(frame):
    """The number that a frame (H, W, 3) with values 0 to 255 carries."""
    return sum(int(frame[2:6, 8 * bit + 2 : 8 * bit + 6].mean() > 127) << bit for bit in range(6))


def mux(path, frames, timestamps, *, codec="libx264", pix_fmt="yuv420p", options=None, container_options=None):
    """Write frames with timestamps of our own, in milliseconds."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, time in zip(frames, timestamps, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn_clockwise(source, path):
    """Copy an mp4 file and ask in its header for a quarter turn clockwise."""
    return with_display_matrix(source, path, (0, 1, -1, 0))


def with_display_matrix(source, path, turn):
    """Copy an mp4 file with a matrix in its header: (a, b, c, d) takes (x, y) to (a x + c y, b x + d y)."""
    content = bytearray(source.read_bytes())
    a, b, c, d = (round(number * 2**16) for number in turn)
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def transport_stream(path, frames, start, *, rate=25):
    """Write an MPEG transport stream whose clock begins at `start` seconds."""
    with av.open(str(path), "w", options={"mpegts_copyts": "1"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": "12", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux([_delayed(packet, start) for packet in stream.encode(frame)])
        container.mux([_delayed(packet, start) for packet in stream.encode(None)])
    return path


def _delayed(packet, start):
    ticks = round(start / packet.time_base)
    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return packet


def with_palettes(path, num_frames=20):
    """Write a video of palette numbers whose colours change every fifth frame; gives the frames."""
    shown = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        for number in range(num_frames):
            numbers = np.full((48, 64), number % 7, np.uint8)
            colours = np.full((256, 4), 255, np.uint8)
            colours[:, 1:] = (np.arange(256)[:, None] * [30, 7, 1] + number // 5 * 60) % 256
            frame = av.VideoFrame.from_ndarray((numbers, colours), format="pal8")
            frame.pts = number
            container.mux(stream.encode(frame))
            shown.append(colours[numbers][..., 1:])
        container.mux(stream.encode(None))
    return np.stack(shown)


def write_sound(path):
    """A file with sound and no pictures."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return path
