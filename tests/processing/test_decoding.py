import math
import re
import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.processing import video_files
from hf_vidmodels.processing.decoding import UnreadableVideoError, decode_frames, iterate_frames, probe_video

REAL_VIDEOS = Path(__file__).parents[3] / "shared" / "real" / "videos"
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
    return sum(int(frame[2:6, 8 * bit + 2 : 8 * bit + 6].mean() > 127) << bit for bit in range(6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def mp4(folder):
    path = folder / "square.mp4"
    write_video(path, moving_square(), 25, options=GROUPED)
    return path


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


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm", ".mkv", ".mov", ".gif"])
@pytest.mark.parametrize("size", [(48, 64), (47, 63)], ids=["even", "odd"])
def test_every_format_gives_back_the_frames_that_were_written(tmp_path, suffix, size):
    frames = moving_square(12, *size)
    path = tmp_path / f"video{suffix}"
    write_video(path, frames, 25)
    metadata = probe_video(path)
    assert (metadata.num_frames, metadata.height, metadata.width) == (12, *size)
    assert metadata.fps == pytest.approx(25, rel=0.01)
    assert metadata.duration == pytest.approx(12 / 25, abs=0.011)
    decoded = decode_frames(path)
    assert decoded.shape == frames.shape and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - frames).mean() < 12
    assert [number_of(frame) for frame in decoded] == list(range(12))


def test_indices_come_in_the_order_and_number_asked_for(mp4):
    everything = decode_frames(mp4)
    assert len(everything) == 40
    indices = [39, 3, 3, 17, 0, 12]
    assert np.array_equal(decode_frames(mp4, indices), everything[indices])
    assert np.array_equal(decode_frames(mp4, np.array([5])), everything[[5]])


@pytest.mark.parametrize("name", ["square.mp4", "square.mkv", "b_frames.avi", "open_groups.mp4"])
def test_any_choice_of_frames_equals_decoding_everything(folder, mp4, name):
    path = folder / name
    if name == "square.mkv":
        write_video(path, moving_square(), 25, options=GROUPED)
    elif name == "b_frames.avi":
        mux(path, moving_square(), range(0, 1600, 40), options=GROUPED)
    elif name == "open_groups.mp4":
        write_video(path, moving_square(), 25, options={**GROUPED, "x264-params": "open-gop=1"})
    everything = np.stack(list(iterate_frames(path, backend="pyav")))
    assert [number_of(frame) for frame in everything] == list(range(40))
    rng = np.random.default_rng(0)
    for _ in range(8):
        indices = rng.integers(0, 40, rng.integers(1, 5))
        assert np.array_equal(decode_frames(path, indices, backend="pyav"), everything[indices])


def test_pyav_decodes_only_the_needed_groups_of_pictures(mp4, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        video_files,
        "_decode_packet",
        lambda stream, packet, original=video_files._decode_packet: decoded.append(packet) or original(stream, packet),
    )
    decode_frames(mp4, [2], backend="pyav")
    assert len(decoded) <= 8
    decoded.clear()
    decode_frames(mp4, [1, 37], backend="pyav")
    assert len(decoded) <= 18
    decoded.clear()
    decode_frames(mp4, [25], backend="pyav")
    assert len(decoded) <= 8


def test_bytes_and_dicts_are_read_like_their_file(mp4):
    expected = decode_frames(mp4, [4, 20])
    content = mp4.read_bytes()
    for source in (content, {"path": None, "bytes": content}, {"path": str(mp4), "bytes": None}, str(mp4)):
        assert np.array_equal(decode_frames(source, [4, 20]), expected)
        assert probe_video(source) == probe_video(mp4)


def test_arrays_tensors_and_lists_of_frames_are_videos_without_timing():
    import torch

    frames = moving_square(5)
    for source in (frames, torch.from_numpy(frames), list(frames), [Image.fromarray(frame) for frame in frames]):
        assert np.array_equal(decode_frames(source, [4, 0]), frames[[4, 0]])
        metadata = probe_video(source)
        assert metadata.num_frames == 5 and math.isnan(metadata.fps) and math.isnan(metadata.duration)
    with pytest.raises(ValueError, match="no frame rate"):
        iterate_frames(frames, fps=5)


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        (np.zeros((4, 8, 8), np.uint8), r"shape \(T, H, W, 3\) or \(T, 3, H, W\), got \(4, 8, 8\)"),
        (np.zeros((4, 3, 8, 3), np.uint8), "say which with input_data_format"),
        (np.zeros((4, 8, 8, 3), np.float32), "uint8"),
        ([], "no frames"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], "one size"),
    ],
)
def test_arrays_of_another_kind_are_refused(frames, sentence):
    with pytest.raises(ValueError, match=sentence):
        decode_frames(frames)


def test_a_folder_of_frames_is_ordered_by_number(tmp_path):
    frames = moving_square(11)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"img_{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert np.array_equal(decode_frames(tmp_path), frames)
    assert np.array_equal(decode_frames(tmp_path, [10, 2]), frames[[10, 2]])
    assert probe_video(tmp_path).num_frames == 11


def test_folders_that_are_no_videos_are_refused(tmp_path):
    with pytest.raises(UnreadableVideoError, match="holds no frames"):
        probe_video(tmp_path)
    picture = Image.fromarray(moving_square(1)[0])
    picture.save(tmp_path / "cover.png")
    with pytest.raises(ValueError, match=r"cover.png has no number"):
        probe_video(tmp_path)
    (tmp_path / "cover.png").unlink()
    picture.save(tmp_path / "1.png")
    picture.save(tmp_path / "01.png")
    with pytest.raises(ValueError, match="same frame number 1"):
        probe_video(tmp_path)
    (tmp_path / "01.png").unlink()
    (tmp_path / "2.png").write_bytes(b"broken")
    with pytest.raises(UnreadableVideoError, match=r"2.png cannot be read"):
        decode_frames(tmp_path)


def test_grey_video_has_three_equal_channels(folder):
    path = mux(folder / "grey.mp4", moving_square(6), range(0, 240, 40), pix_fmt="gray")
    frames = decode_frames(path)
    assert frames.shape == (6, 48, 64, 3)
    assert np.ptp(frames, axis=-1).max() == 0


def test_variable_frame_rate_is_resampled_by_presentation_time(folder):
    times = [0, 40, 80, 120, 620, 660, 1000]
    path = mux(folder / "variable.mkv", moving_square(7), times)
    metadata = probe_video(path)
    assert metadata.num_frames == 7
    assert metadata.duration == pytest.approx(1.04, abs=0.005)
    shown = [number_of(frame) for frame in iterate_frames(path, fps=10)]
    assert shown == [0, 2, 3, 3, 3, 3, 3, 5, 5, 5, 6]
    assert [number_of(frame) for frame in iterate_frames(path)] == list(range(7))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("rate", [25, 30, Fraction(30000, 1001)])
def test_resampling_to_its_own_rate_changes_nothing(tmp_path, suffix, rate):
    path = tmp_path / f"video{suffix}"
    write_video(path, moving_square(31), rate)
    assert [number_of(frame) for frame in iterate_frames(path, fps=float(rate))] == list(range(31))


def test_resampling_repeats_and_leaves_out_frames(mp4):
    assert [number_of(frame) for frame in iterate_frames(mp4, fps=5)] == list(range(0, 40, 5))
    assert [number_of(frame) for frame in iterate_frames(mp4, fps=50)] == [i // 2 for i in range(80)]


def test_rotated_video_is_shown_upright(tmp_path, mp4):
    content = bytearray(mp4.read_bytes())
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = matrix
    rotated = tmp_path / "rotated.mp4"
    rotated.write_bytes(content)
    metadata = probe_video(rotated)
    assert (metadata.height, metadata.width) == (64, 48)
    # The matrix asks for a quarter turn clockwise: the left edge becomes the upper one.
    assert np.array_equal(decode_frames(rotated, [7, 3]), np.rot90(decode_frames(mp4, [7, 3]), -1, (1, 2)))


def test_files_without_moving_pictures_are_one_sentence(tmp_path):
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    with pytest.raises(UnreadableVideoError, match=r"sound.wav holds no moving pictures \(its streams: audio\)"):
        probe_video(tmp_path / "sound.wav")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UnreadableVideoError, match=r"empty.mp4 is empty"):
        decode_frames(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("this is no video" * 50)
    with pytest.raises(UnreadableVideoError, match=r"text.mp4 is not a video"):
        decode_frames(tmp_path / "text.mp4")
    with pytest.raises(UnreadableVideoError, match="the video given as 5 bytes is not a video"):
        decode_frames(b"12345")
    with pytest.raises(FileNotFoundError, match=r"there is no video file .*nowhere.mp4"):
        probe_video(tmp_path / "nowhere.mp4")
    with pytest.raises(ValueError, match="download the video"):
        probe_video("https://example.org/video.mp4")
    with pytest.raises(ValueError, match="got int"):
        probe_video(3)


def test_a_file_cut_before_its_index_cannot_be_opened(tmp_path, mp4):
    path = tmp_path / "cut.mp4"
    path.write_bytes(mp4.read_bytes()[:1500])
    with pytest.raises(UnreadableVideoError, match=r"cut.mp4 is not a video that FFmpeg can open"):
        probe_video(path)


def test_frames_before_the_cut_can_be_read(tmp_path):
    whole = mux(
        tmp_path / "whole.mp4",
        moving_square(60),
        range(0, 2400, 40),
        options=GROUPED,
        container_options={"movflags": "+faststart"},
    )
    content = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: len(content) * 2 // 3])
    count = probe_video(cut).num_frames
    assert 5 < count < 60
    assert np.array_equal(decode_frames(cut), decode_frames(whole)[:count])
    with pytest.raises(ValueError, match=rf"has the frames 0 to {count - 1}"):
        decode_frames(cut, [59])


def test_a_damaged_middle_is_reported_with_the_frame(tmp_path):
    whole = tmp_path / "whole.mp4"
    write_video(whole, moving_square(60), 25)
    content = bytearray(whole.read_bytes())
    start = len(content) // 3
    content[start : start + 400] = bytes(400)
    damaged = bytes(content)
    with pytest.raises(UnreadableVideoError, match="although 60 frames are announced") as error:
        decode_frames(damaged)
    first_lost = int(re.match(r"frame (\d+) ", str(error.value)).group(1))
    assert 5 < first_lost < 60
    assert np.array_equal(decode_frames(damaged, range(5)), decode_frames(whole, range(5)))
    readable = []
    with pytest.raises(UnreadableVideoError):
        readable.extend(iterate_frames(damaged))
    # list.extend keeps what came before the error: nothing that was decodable is lost.
    assert len(readable) == first_lost


@pytest.mark.parametrize(
    ("indices", "sentence"),
    [([40], "frame 40 was asked for"), ([-1], "frame -1"), ([], "non-empty"), ([1.5], "whole"), ([[1]], "whole")],
)
def test_indices_outside_the_video_are_refused(mp4, indices, sentence):
    with pytest.raises(ValueError, match=sentence):
        decode_frames(mp4, indices)


def test_unknown_backends_and_rates_are_refused(mp4):
    with pytest.raises(ValueError, match="backend must be one of auto, pyav, torchcodec, got 'decord'"):
        decode_frames(mp4, backend="decord")
    with pytest.raises(ValueError, match="positive"):
        iterate_frames(mp4, fps=0)


def test_asking_for_an_unusable_torchcodec_says_what_is_missing(mp4, monkeypatch):
    monkeypatch.setattr("hf_vidmodels.processing.decoding.torchcodec_is_usable", lambda: False)
    with pytest.raises(ValueError, match="torchcodec is not usable here: install it together with FFmpeg"):
        decode_frames(mp4, backend="torchcodec")


@pytest.mark.skipif(not video_files.torchcodec_is_usable(), reason="torchcodec with FFmpeg is not installed")
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".gif"])
def test_torchcodec_and_pyav_give_equal_frames(tmp_path, suffix):
    path = tmp_path / f"video{suffix}"
    write_video(path, moving_square(40, 46, 64), 25)
    indices = [30, 2, 2, 39, 17]
    chosen, resampled = decode_frames(path, indices, backend="pyav"), list(iterate_frames(path, 10, backend="pyav"))
    for backend in ("torchcodec", "auto"):
        assert np.array_equal(decode_frames(path, indices, backend=backend), chosen)
        assert np.array_equal(list(iterate_frames(path, 10, backend=backend)), resampled)


@pytest.mark.parametrize("name", ["odd.webm", "b_frames.avi", "deep.mkv"])
def test_the_automatic_backend_gives_the_frames_of_pyav_where_torchcodec_would_not(tmp_path, name):
    path = tmp_path / name
    if name == "odd.webm":
        write_video(path, moving_square(30, 47, 63), 25)
    else:
        pix_fmt = "yuv420p10le" if name == "deep.mkv" else "yuv420p"
        mux(path, moving_square(30), range(0, 1200, 40), options=GROUPED, pix_fmt=pix_fmt)
    assert np.array_equal(decode_frames(path, [29, 3, 16]), decode_frames(path, [29, 3, 16], backend="pyav"))


@pytest.mark.skipif(not REAL_VIDEOS.is_dir(), reason="the real clips of ../shared are not here")
@pytest.mark.parametrize("name", ["demo.mp4", "demo_spatiotemporal_det.mp4", "test_video_structuralize.mp4"])
def test_real_clips_give_equal_frames_however_they_are_read(name):
    path = REAL_VIDEOS / name
    count = probe_video(path).num_frames
    indices = np.linspace(0, count - 1, 5).astype(int)
    frames = decode_frames(path, indices, backend="pyav")
    assert np.array_equal(frames, decode_frames(path.read_bytes(), indices))
    assert np.array_equal(frames[2:3], decode_frames(path, indices[2:3], backend="pyav"))


def test_frames_of_a_long_video_are_decoded_one_by_one(mp4):
    frames = iterate_frames(mp4)
    assert next(frames).shape == (48, 64, 3)
    frames.close()
