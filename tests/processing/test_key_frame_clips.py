"""Clips around key frames go by time, decode each frame once, and read AVA's folders of seconds."""

import numpy as np
import pytest
import torch
from PIL import Image

from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.processing.decoding import UnreadableVideoError, open_video, probe_video
from hf_vidmodels.processing.key_frame_clips import clip_times, iterate_clips, key_times
from hf_vidmodels.processing.second_folders import SecondFolders

# Frames that the official code takes of a folder of so many.
OFFICIAL = {25: [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22], 29: [0, 2, 4, 7, 9, 12, 14, 16, 19, 21, 24, 26]}


class Numbered:
    """A film whose frames are their own numbers; counts what is read."""

    name, frame_rate = "the numbers", 25.0

    def __init__(self, num_frames, fps=25.0):
        self.num_frames, self.fps, self.reads = num_frames, fps, []

    def frame_times(self):
        return np.arange(self.num_frames) / self.fps, self.num_frames / self.fps

    def read(self, indices):
        for index in indices:
            self.reads.append(int(index))
            yield np.full((2, 2, 3), index % 256, np.uint8)


def as_numbers(frames):
    return frames[:, :1].float()


def write_seconds(folder, counts):
    """Write folders of seconds; the first pixel of a picture is its second modulo 256, the second its number."""
    for second, count in counts.items():
        place = folder / f"{second:05d}"
        place.mkdir(parents=True)
        for number in range(count):
            pixels = np.zeros((4, 6, 3), np.uint8)
            pixels[..., 0], pixels[..., 1] = second % 256, number
            Image.fromarray(pixels).save(place / f"{number + 1:05d}.png")
    return folder


def test_overlapping_clips_decode_each_frame_once_and_in_order():
    film = Numbered(200)
    times = clip_times(np.arange(1.0, 7.0), 36, 12)
    clips = list(iterate_clips(film, times, as_numbers))
    assert film.reads == sorted(set(film.reads))
    for clip, of_clip in zip(clips, times, strict=True):
        expected = np.clip(np.floor(of_clip * 25 + 1e-6), 0, 199)
        assert clip[:, 0, 0, 0].tolist() == expected.tolist()


def test_a_film_is_read_no_further_than_the_clip_that_is_asked_for():
    film = Numbered(10_000)
    clips = iterate_clips(film, clip_times(np.arange(0.0, 400.0), 36, 12), as_numbers)
    next(clips)
    assert max(film.reads) < 40


def test_the_key_frame_is_in_the_middle_and_a_short_film_repeats_its_ends():
    (times,) = clip_times(np.array([5.0]), 36, 12)
    assert times[18] == 5.0 and np.allclose(np.diff(times), 1 / 12)
    (clip,) = iterate_clips(Numbered(3), clip_times(np.array([0.0]), 12, 12), as_numbers)
    assert clip[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2]


def test_key_times_are_the_full_seconds_inside_a_film():
    assert key_times(Numbered(75)).tolist() == [0, 1, 2]
    assert key_times(Numbered(76)).tolist() == [0, 1, 2, 3]
    assert key_times(Numbered(3)).tolist() == [0]


def test_frames_without_timing_need_a_rate():
    video = open_video(np.zeros((20, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="has no timing, so that fps must say its frames in a second, got None"):
        key_times(video)
    assert key_times(video, fps=10).tolist() == [0, 1]


@pytest.mark.parametrize("count", OFFICIAL)
def test_folders_of_seconds_give_the_official_frames(tmp_path, count):
    folder = write_seconds(tmp_path / "film", {second: count for second in range(901, 905)})
    video = open_video(folder)
    assert isinstance(video, SecondFolders) and key_times(video).tolist() == [901, 902, 903, 904]
    (clip,) = iterate_clips(video, clip_times(np.array([902.0]), 24, 12), lambda frames: frames[:, :2, 0, 0])
    assert clip[12:, 0].tolist() == [902 % 256] * 12 and clip[:12, 0].tolist() == [901 % 256] * 12
    assert clip[:12, 1].tolist() == clip[12:, 1].tolist() == OFFICIAL[count]


def test_folders_of_seconds_may_have_other_numbers_of_frames_and_gaps(tmp_path):
    folder = write_seconds(tmp_path / "film", {10: 4, 11: 6, 13: 4})
    metadata = probe_video(folder)
    assert (metadata.num_frames, metadata.height, metadata.width, metadata.duration) == (14, 4, 6, 4)
    times = clip_times(np.array([11.0, 13.0]), 4, 4)
    found = torch.stack(list(iterate_clips(open_video(folder), times, lambda frames: frames[:, :2, 0, 0])))
    assert found.tolist() == [[[10, 2], [10, 3], [11, 0], [11, 1]], [[11, 5], [11, 5], [13, 0], [13, 1]]]


def test_only_the_folders_of_a_span_are_listed(tmp_path):
    folder = write_seconds(tmp_path / "film", {second: 2 for second in range(10, 20)})
    part = SecondFolders(folder).between(13.5, 15.0)
    assert part.seconds == [13, 14, 15] and part.start_time == 13
    assert SecondFolders(folder).between(3.0, 4.0).seconds == [10]
    with pytest.raises(UnreadableVideoError, match="holds no folders named by seconds"):
        SecondFolders(write_seconds(tmp_path / "empty" / "00001", {1: 1}).parent / "00001" / "00001")


def test_real_files_go_by_their_times(tmp_path):
    frames = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.full((1, 32, 32, 3), 5, np.uint8)
    write_video(tmp_path / "film.mp4", list(frames), 25)
    video = open_video(tmp_path / "film.mp4")
    (clip,) = iterate_clips(video, clip_times(np.array([1.0]), 12, 12), lambda block: block.float().mean((1, 2, 3)))
    expected = np.floor((1.0 + (np.arange(12) - 6) / 12) * 25 + 1e-6) * 5
    np.testing.assert_allclose(clip, expected, atol=4)
