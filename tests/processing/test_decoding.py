import contextlib
import math
import re
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.processing import video_files
from hf_vidmodels.processing.decoding import (
    UnreadableVideoError,
    decode_frames,
    frames_shown_at,
    iterate_frames,
    open_video,
    probe_video,
)
from video_examples import (
    GROUPED,
    moving_square,
    mux,
    number_of,
    transport_stream,
    turn_clockwise,
    with_display_matrix,
    with_palettes,
    write_sound,
)

REAL_VIDEOS = Path(__file__).parents[3] / "shared" / "real" / "videos"


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


@pytest.mark.parametrize(
    "name", ["square.mp4", "square.mkv", "b_frames.avi", "open_groups.avi", "open_groups.mp4", "mpeg4.mp4", "vp9.webm"]
)
def test_any_choice_of_frames_equals_decoding_everything(folder, mp4, name):
    path = folder / name
    if name == "square.mkv":
        write_video(path, moving_square(), 25, options=GROUPED)
    elif name == "b_frames.avi":
        mux(path, moving_square(), range(0, 1600, 40), options=GROUPED)
    elif name == "open_groups.avi":
        mux(path, moving_square(), range(0, 1600, 40), options={**GROUPED, "x264-params": "open-gop=1"})
    elif name == "open_groups.mp4":
        write_video(path, moving_square(), 25, options={**GROUPED, "x264-params": "open-gop=1"})
    elif name == "mpeg4.mp4":
        mux(path, moving_square(), range(0, 1600, 40), codec="mpeg4", options={"g": "12", "bf": "2", "b": "400k"})
    elif name == "vp9.webm":
        write_video(path, moving_square(), 25, options={"g": "12"})
    everything = np.stack(list(iterate_frames(path)))
    assert [number_of(frame) for frame in everything] == list(range(40))
    rng = np.random.default_rng(0)
    for _ in range(8):
        indices = rng.integers(0, 40, rng.integers(1, 5))
        assert np.array_equal(decode_frames(path, indices), everything[indices])


@pytest.fixture
def decoded(monkeypatch):
    """Collects the packets given to the decoder and the frames it gives back."""
    packets, frames = [], []

    def decode(stream, packet, original=video_files._decode_packet):
        packets.append(packet)
        for frame in original(stream, packet):
            frames.append(frame)
            yield frame

    monkeypatch.setattr(video_files, "_decode_packet", decode)
    return packets, frames


def test_only_what_wanted_frames_depend_on_is_decoded(mp4, decoded):
    packets, _ = decoded
    decode_frames(mp4, [2])
    assert len(packets) <= 5
    packets.clear()
    decode_frames(mp4, [1, 37])
    assert len(packets) <= 9
    packets.clear()
    decode_frames(mp4, [25])
    assert len(packets) <= 5


def test_b_frames_that_nothing_depends_on_are_left_out(folder, decoded):
    path = folder / "b_frames.mp4"
    write_video(path, moving_square(), 25, options={"g": "40", "bf": "3", "x264-params": "b-adapt=0:b-pyramid=none"})
    packets, frames = decoded
    assert number_of(decode_frames(path, [38])[0]) == 38
    assert len(packets) >= 38
    assert len(frames) <= 40 // 4 + 2


def test_far_frames_are_jumped_to(folder, monkeypatch):
    path = folder / "long.mp4"
    frames = np.concatenate([moving_square(60)] * 4)
    write_video(path, frames, 25, options=GROUPED)
    video = video_files.VideoFile(path, "long")
    assert video.num_frames == 240
    jumps = []
    seek = video_files._RunDecoder._seek
    monkeypatch.setattr(
        video_files._RunDecoder, "_seek", lambda self, timestamp: (jumps.append(timestamp), seek(self, timestamp))
    )
    shown = list(video.read(np.array([3, 130, 131, 239])))
    assert [number_of(frame) for frame in shown] == [3, 10, 11, 59]
    assert len(jumps) == 2
    everything = np.stack(list(video.read(np.arange(240))))
    assert np.array_equal(np.stack(shown), everything[[3, 130, 131, 239]])


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


def test_arrays_with_colours_first_are_the_same_video():
    import torch

    frames = moving_square(5)
    first = frames.transpose(0, 3, 1, 2)
    for source in (first, torch.from_numpy(first.copy()), list(torch.from_numpy(first.copy()))):
        assert np.array_equal(decode_frames(source), frames)
    grey = [Image.fromarray(frame).convert("L") for frame in frames]
    assert np.ptp(decode_frames(grey), axis=-1).max() == 0


def test_where_colours_are_can_be_said_when_the_shape_does_not_tell():
    frames = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 3), dtype=np.uint8)
    assert np.array_equal(next(open_video(frames, "last").read(np.array([1]))), frames[1])
    assert np.array_equal(next(open_video(frames, "first").read(np.array([1]))), frames[1].transpose(1, 2, 0))
    with pytest.raises(ValueError, match=r"must have the shape \(T, 3, H, W\), got \(4, 8, 8, 3\)"):
        open_video(np.zeros((4, 8, 8, 3), np.uint8), "first")


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


@pytest.mark.parametrize("numbers", [(1, 2, 3, 4), (10, 15, 20, 25), (0, 33, 67, 100)])
def test_numbers_of_frames_may_count_by_any_step(tmp_path, numbers):
    for number in numbers:
        Image.fromarray(moving_square(1)[0]).save(tmp_path / f"{number:05d}.png")
    assert probe_video(tmp_path).num_frames == 4


def test_a_folder_that_lacks_frames_is_refused(tmp_path):
    for number in (1, 2, 5, 6):
        Image.fromarray(moving_square(1)[0]).save(tmp_path / f"{number:05d}.png")
    with pytest.raises(
        UnreadableVideoError, match=r"lacks frames between 00002.png and 00005.png; extract them again"
    ):
        decode_frames(tmp_path)


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


def test_the_mean_rate_of_an_uneven_video_is_its_frames_by_its_duration(folder):
    path = mux(folder / "uneven.mkv", moving_square(7), [0, 40, 80, 120, 620, 660, 1000])
    assert probe_video(path).fps == pytest.approx(7 / 1.04, rel=0.01)


def test_positions_on_an_even_clock_become_the_frames_shown_then(folder, mp4):
    video = open_video(mp4)
    positions = np.array([[0, 7], [39, 20]])
    assert frames_shown_at(video, positions).tolist() == positions.tolist()
    assert frames_shown_at(open_video(moving_square(5)), np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    uneven = open_video(mux(folder / "paused.mkv", moving_square(7), [0, 40, 80, 120, 620, 660, 1000]))
    # Seven frames in 1.04 s are one each 149 ms: at 0, 149, 297, 446, 594, 743 and 891 ms are shown
    assert frames_shown_at(uneven, np.arange(7)).tolist() == [0, 3, 3, 3, 3, 5, 5]


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
    rotated = turn_clockwise(mp4, tmp_path / "rotated.mp4")
    metadata = probe_video(rotated)
    assert (metadata.height, metadata.width) == (64, 48)
    # The matrix asks for a quarter turn clockwise: the left edge becomes the upper one.
    assert np.array_equal(decode_frames(rotated, [7, 3]), np.rot90(decode_frames(mp4, [7, 3]), -1, (1, 2)))


EIGHT_TURNS = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


@pytest.mark.parametrize("turn", EIGHT_TURNS)
def test_pictures_are_turned_and_mirrored_as_the_display_matrix_asks(tmp_path, mp4, turn):
    turned = with_display_matrix(mp4, tmp_path / "turned.mp4", turn)
    stored = decode_frames(mp4, [7])[0]
    a, b, c, d = turn
    height, width = stored.shape[:2]
    shown = np.empty((width, height, 3) if b else stored.shape, np.uint8)
    rows, columns = np.mgrid[:height, :width]
    x, y = a * columns + c * rows, b * columns + d * rows
    shown[y - y.min(), x - x.min()] = stored
    np.testing.assert_array_equal(decode_frames(turned, [7])[0], shown)
    metadata = probe_video(turned)
    assert (metadata.height, metadata.width) == shown.shape[:2]


def test_turns_by_other_angles_are_refused_and_scales_do_not_count(tmp_path, mp4):
    slanted = with_display_matrix(mp4, tmp_path / "slanted.mp4", (0.866, 0.5, -0.5, 0.866))
    with pytest.raises(UnreadableVideoError, match=r"slanted\.mp4 asks to be turned by 30 degrees"):
        decode_frames(slanted)
    scaled = with_display_matrix(mp4, tmp_path / "scaled.mp4", (2, 0, 0, -0.5))
    np.testing.assert_array_equal(decode_frames(scaled, [7])[0], decode_frames(mp4, [7])[0][::-1])


@pytest.mark.parametrize("suffix", [".avi", ".nut"])
def test_colours_of_a_palette_that_came_earlier_are_known_to_every_frame(tmp_path, suffix):
    frames = with_palettes(tmp_path / f"palette{suffix}")
    np.testing.assert_array_equal(decode_frames(tmp_path / f"palette{suffix}"), frames)
    for index in (19, 4, 12):
        np.testing.assert_array_equal(decode_frames(tmp_path / f"palette{suffix}", [index])[0], frames[index])


@pytest.mark.parametrize("starts", [(0, 97), (50, 0), (10, 10), (0, 97, 3)])
def test_joined_segments_are_one_video_whatever_their_clocks_say(tmp_path, starts):
    squares = moving_square(30)
    parts = [transport_stream(tmp_path / f"{k}.ts", squares, start).read_bytes() for k, start in enumerate(starts)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    count = 30 * len(starts)
    metadata = probe_video(joined)
    assert metadata.num_frames == count
    assert metadata.fps == pytest.approx(25, rel=0.02)
    assert metadata.duration == pytest.approx(count / 25, abs=0.2)
    everything = decode_frames(joined)
    assert [number_of(frame) for frame in everything] == [*range(30)] * len(starts)
    np.testing.assert_array_equal(decode_frames(joined, [count - 2, 33]), everything[[count - 2, 33]])


def test_a_long_still_of_another_container_is_no_jump(folder):
    path = mux(folder / "slides.mkv", moving_square(4), [0, 1000, 61_000, 62_000])
    assert probe_video(path).duration == pytest.approx(63, abs=1.1)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_frame_of_a_damaged_stream_is_what_decoding_everything_gives_or_a_sentence(tmp_path, codec):
    pixels = np.clip(moving_square(40).astype(int) + np.random.default_rng(0).integers(0, 60, (40, 48, 64, 3)), 0, 255)
    # With several threads x264 gives other bytes each time.
    options = {"g": "12", "threads": "1"}
    whole = mux(tmp_path / "whole.mp4", pixels.astype(np.uint8), range(0, 1600, 40), codec=codec, options=options)
    content, compared = whole.read_bytes(), 0
    for seed in (*range(8), 18, 83):
        random = np.random.default_rng(seed)
        damaged = bytearray(content)
        # Behind it lies the head of the file, with how frames are turned.
        for start in random.integers(len(content) // 6, len(content) * 2 // 3, 3):
            damaged[start : start + 20] = random.integers(0, 256, 20, dtype=np.uint8).tobytes()
        (tmp_path / "damaged.mp4").write_bytes(damaged)
        with av.open(str(tmp_path / "damaged.mp4")) as container:
            container.streams.video[0].codec_context.thread_count = 1
            times = sorted(packet.pts for packet in container.demux(video=0) if packet.size)
            container.seek(0)
            everything = {}
            with contextlib.suppress(av.error.FFmpegError):
                for frame in container.decode(video=0):
                    everything.setdefault(frame.pts, frame.to_ndarray(format="rgb24"))
        for index in range(5, len(times), 3):
            if times[index] in everything:
                with contextlib.suppress(UnreadableVideoError):
                    found = decode_frames(tmp_path / "damaged.mp4", [index])[0]
                    np.testing.assert_array_equal(found, everything[times[index]])
                    compared += 1
    assert compared > 50


def test_an_animated_webp_gives_its_frames_or_is_named_as_such(tmp_path):
    first, *others = [Image.new("RGB", (64, 48), (40 * number, 0, 0)) for number in range(3)]
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, lossless=True)
    for source in (tmp_path / "a.webp", (tmp_path / "a.webp").read_bytes()):
        try:
            frames = decode_frames(source)
        except UnreadableVideoError as error:
            # FFmpeg up to the one of PyAV 18.
            assert "is an animated WebP, which FFmpeg does not decode; convert it" in str(error)
        else:
            assert frames.shape == (3, 48, 64, 3)
            assert np.abs(frames[:, 0, 0, 0].astype(int) - [0, 40, 80]).max() <= 2


def test_frames_of_two_sizes_are_named(tmp_path):
    for number, width in enumerate((64, 64, 32)):
        Image.new("RGB", (width, 48)).save(tmp_path / f"{number:05d}.png")
    with pytest.raises(UnreadableVideoError, match=r"00002\.png has 32x48 pixels .* but frames before it have 64x48"):
        decode_frames(tmp_path)
    assert decode_frames(tmp_path, [0, 1]).shape == (2, 48, 64, 3)


def test_a_codec_that_nobody_knows_is_one_sentence(tmp_path):
    mux(tmp_path / "known.mkv", moving_square(4), [0, 40, 80, 120])
    content = (tmp_path / "known.mkv").read_bytes()
    (tmp_path / "unknown.mkv").write_bytes(content.replace(b"V_MPEG4/ISO/AVC", b"V_QQQQQ/ISO/ZZZ"))
    for read in (probe_video, decode_frames):
        with pytest.raises(UnreadableVideoError, match="unknown.mkv is coded in a way that .* FFmpeg does not know"):
            read(tmp_path / "unknown.mkv")


def test_files_without_moving_pictures_are_one_sentence(tmp_path):
    write_sound(tmp_path / "sound.wav")
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


def test_the_packets_of_a_file_are_listed_once_until_it_changes(tmp_path, mp4, monkeypatch):
    listed, original = [], video_files.list_packets

    def list_packets(*arguments):
        listed.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(video_files, "list_packets", list_packets)
    path = tmp_path / "video.mp4"
    shutil.copy(mp4, path)
    first = decode_frames(path)
    np.testing.assert_array_equal(decode_frames(path), first)
    assert len(listed) == 1
    write_video(path, first[:5], 25)
    assert len(decode_frames(path)) == 5
    assert len(listed) == 2


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


def test_rates_that_are_not_positive_are_refused(mp4):
    with pytest.raises(ValueError, match="positive"):
        iterate_frames(mp4, fps=0)


@pytest.mark.skipif(not REAL_VIDEOS.is_dir(), reason="the real clips of ../shared are not here")
@pytest.mark.parametrize("name", ["demo.mp4", "demo_spatiotemporal_det.mp4", "test_video_structuralize.mp4"])
def test_real_clips_give_equal_frames_however_they_are_read(name):
    path = REAL_VIDEOS / name
    count = probe_video(path).num_frames
    indices = np.linspace(0, count - 1, 5).astype(int)
    frames = decode_frames(path, indices)
    assert np.array_equal(frames, decode_frames(path.read_bytes(), indices))
    assert np.array_equal(frames[2:3], decode_frames(path, indices[2:3]))


def test_frames_of_a_long_video_are_decoded_one_by_one(mp4):
    frames = iterate_frames(mp4)
    assert next(frames).shape == (48, 64, 3)
    frames.close()
