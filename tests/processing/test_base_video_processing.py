import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.processing import base_video_processing, video_files
from hf_vidmodels.processing.base_video_processing import VideoViewsProcessor
from hf_vidmodels.processing.decoding import UnreadableVideoError, decode_frames
from hf_vidmodels.processing.spatial_crops import crop_offsets, short_side_size
from hf_vidmodels.processing.video_metadata import UnreadableVideoError as OneError
from hf_vidmodels.processing.view_scores import combine_views
from video_examples import moving_square, mux, number_of, turn_clockwise, write_sound

FIXTURES = Path(__file__).parents[1] / "fixtures"
CROP_CASES = json.loads((FIXTURES / "video_resnet" / "sampling" / "cases.json").read_text())["three_crop"]


def small_processor(**overrides):
    settings = {
        "num_frames": 4,
        "sampling_rate": 2,
        "target_fps": 25.0,
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 24, "width": 28},
    }
    return VideoViewsProcessor(**(settings | overrides))


def whole_pictures(**overrides):
    """A processor that gives the frames as they are, scaled to [0, 1]."""
    return small_processor(do_resize=False, do_center_crop=False, do_normalize=False, **overrides)


def numbers_of(clip):
    """The numbers that the frames of a clip (T, 3, H, W) in [0, 1] carry."""
    return [number_of(frame.permute(1, 2, 0).numpy() * 255) for frame in clip]


# -- what goes in


def test_one_call_takes_videos_of_every_kind(folder, mp4):
    frames = decode_frames(mp4)
    pictures = folder / "pictures"
    pictures.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(pictures / f"{number}.png")
    sources = [
        mp4,
        str(mp4),
        mp4.read_bytes(),
        {"path": None, "bytes": mp4.read_bytes()},
        {"path": str(mp4), "bytes": None},
        pictures,
        frames,
        frames.transpose(0, 3, 1, 2),
        torch.from_numpy(frames),
        torch.from_numpy(frames).permute(0, 3, 1, 2),
        list(frames),
        [Image.fromarray(frame) for frame in frames],
    ]
    processor = small_processor()
    expected = processor(mp4)["pixel_values"]
    assert expected.shape == (1, 4, 3, 24, 28) and expected.dtype == torch.float32
    for source in sources:
        assert torch.equal(processor(source)["pixel_values"], expected)
    assert torch.equal(processor(sources)["pixel_values"], expected.expand(len(sources), -1, -1, -1, -1))
    batch = np.stack([frames, frames[::-1]])
    assert torch.equal(processor(batch)["pixel_values"][:1], expected)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm", ".mkv", ".gif"])
def test_the_frames_of_the_sampling_rule_come_from_every_format(tmp_path, suffix):
    path = tmp_path / f"video{suffix}"
    write_video(path, moving_square(), 25)
    pixel_values = whole_pictures()(path, num_views=2)["pixel_values"]
    assert [numbers_of(view) for view in pixel_values[0]] == [[0, 2, 4, 7], [16, 18, 20, 23]]


def test_each_video_is_listed_and_decoded_once_for_all_its_views(mp4, tmp_path, monkeypatch):
    opened, read = [], []
    # One that was not opened before.
    video = shutil.copy(mp4, tmp_path / "video.mp4")
    original_list, original_read = video_files.list_packets, video_files.VideoFile.read

    def list_packets(*arguments):
        opened.append(arguments)
        return original_list(*arguments)

    def read_frames(self, frames):
        read.append(frames.tolist())
        return original_read(self, frames)

    monkeypatch.setattr(video_files, "list_packets", list_packets)
    monkeypatch.setattr(video_files.VideoFile, "read", read_frames)
    processor = small_processor(num_frames=6, sampling_rate=4)
    processor(video, num_views=5, num_crops=3)
    views = processor.frame_sampling.views(40, 25.0, 5)
    assert len(opened) == 1
    assert read == [np.unique(views).tolist()]
    assert len(read[0]) < views.size


def test_long_videos_are_resized_in_blocks_with_the_same_result(mp4, monkeypatch):
    expected = small_processor()(mp4, num_views=4)["pixel_values"]
    monkeypatch.setattr(base_video_processing, "_BLOCK_PIXELS", 48 * 64 * 2)
    assert torch.equal(small_processor()(mp4, num_views=4)["pixel_values"], expected)


# -- oddities of files


def test_a_video_shorter_than_a_clip_repeats_its_last_frame(tmp_path):
    write_video(tmp_path / "short.mp4", moving_square(3), 25)
    assert numbers_of(whole_pictures()(tmp_path / "short.mp4")["pixel_values"][0]) == [0, 2, 2, 2]
    assert numbers_of(whole_pictures()(moving_square(1))["pixel_values"][0]) == [0, 0, 0, 0]


def test_an_uneven_frame_rate_is_sampled_in_time(folder):
    path = mux(folder / "paused.mkv", moving_square(7), [0, 40, 80, 120, 620, 660, 1000])
    batch = whole_pictures(num_frames=7, sampling_strategy="segments")(path, return_metadata=True)
    # The pause of half a second between frames 3 and 4 is seen as such.
    assert numbers_of(batch["pixel_values"][0]).count(3) >= 3
    assert batch["video_metadata"][0].fps == pytest.approx(7 / 1.04, rel=0.01)


def test_a_rotated_video_is_upright(tmp_path, mp4):
    rotated = turn_clockwise(mp4, tmp_path / "rotated.mp4")
    turned = whole_pictures()(rotated)["pixel_values"]
    assert turned.shape[-2:] == (64, 48)
    assert torch.equal(turned, torch.rot90(whole_pictures()(mp4)["pixel_values"], -1, (-2, -1)))


def test_odd_sizes_and_grey_pictures_are_ordinary_videos(folder):
    write_video(folder / "odd.webm", moving_square(8, 47, 63), 25)
    assert small_processor()(folder / "odd.webm")["pixel_values"].shape == (1, 4, 3, 24, 28)
    grey = mux(folder / "grey.mp4", moving_square(8), range(0, 320, 40), pix_fmt="gray")
    pixel_values = small_processor()(grey)["pixel_values"]
    assert torch.equal(pixel_values[:, :, 0], pixel_values[:, :, 2])


def test_files_without_pictures_are_unreadable_videos(tmp_path, mp4):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is no video" * 50)
    (tmp_path / "cut.mp4").write_bytes(mp4.read_bytes()[:1500])
    (tmp_path / "no_frames").mkdir()
    expected = {
        write_sound(tmp_path / "sound.wav"): r"sound.wav holds no moving pictures \(its streams: audio\)",
        tmp_path / "empty.mp4": "empty.mp4 is empty",
        tmp_path / "text.mp4": "text.mp4 is not a video",
        tmp_path / "cut.mp4": "cut.mp4 is not a video that FFmpeg can open",
        tmp_path / "no_frames": "no_frames holds no frames",
    }
    for path, sentence in expected.items():
        with pytest.raises(UnreadableVideoError, match=sentence):
            small_processor()([mp4, path])
    with pytest.raises(FileNotFoundError, match=r"there is no video file .*nowhere.mp4"):
        small_processor()(tmp_path / "nowhere.mp4")
    assert UnreadableVideoError is OneError


# -- time


def test_the_frame_rate_of_the_file_or_of_the_caller_decides_how_far_frames_lie_apart(mp4):
    frames = decode_frames(mp4)
    processor = whole_pictures()
    assert numbers_of(processor(mp4)["pixel_values"][0]) == [0, 2, 4, 7]
    assert numbers_of(processor(mp4, video_metadata={"fps": 50.0})["pixel_values"][0]) == [0, 5, 10, 15]
    assert numbers_of(processor(mp4, target_fps=50.0)["pixel_values"][0]) == [0, 1, 2, 3]
    # Arrays have no timing: they count as having the target rate unless the caller knows better.
    assert numbers_of(processor(frames)["pixel_values"][0]) == [0, 2, 4, 7]
    assert numbers_of(processor(frames, target_fps=5)["pixel_values"][0]) == [0, 2, 4, 7]
    batch = processor([frames, frames], video_metadata=[{"fps": 50.0}, {"fps": None}])["pixel_values"]
    assert [numbers_of(clip) for clip in batch] == [[0, 5, 10, 15], [0, 2, 4, 7]]


def test_all_frames_are_taken_when_none_are_to_be_chosen():
    pixel_values = whole_pictures()(moving_square(9), do_sample_frames=False)["pixel_values"]
    assert numbers_of(pixel_values[0]) == list(range(9))


# -- space


def test_crops_lie_where_the_published_pipeline_cuts_them():
    for case in CROP_CASES:
        size = short_side_size(case["height"], case["width"], case["short_side"])
        assert size == (case["resized_height"], case["resized_width"])
        offsets = crop_offsets(*size, case["crop_size"], case["crop_size"], 3)
        assert [list(offset) for offset in offsets] == case["offsets_y_x"]
        assert crop_offsets(*size, case["crop_size"], case["crop_size"], 1) == [offsets[1]]


def test_pixel_values_are_those_of_the_published_pipeline():
    tensors = load_file(FIXTURES / "stts" / "video_input" / "io.safetensors")
    settings = json.loads((FIXTURES / "stts" / "video_input" / "config.json").read_text())["operators"]["preprocess"]
    processor = VideoViewsProcessor(
        size={"shortest_edge": settings["short_side"]},
        crop_size={"height": settings["crop"], "width": settings["crop"]},
        image_mean=[settings["mean"]] * 3,
        image_std=[settings["std"]] * 3,
    )
    frames = tensors["preprocess.frames"]
    pixel_values = processor(frames, do_sample_frames=False, num_crops=3)["pixel_values"]
    for crop in range(3):
        expected = tensors[f"preprocess.crop{crop}"].transpose(0, 1)
        torch.testing.assert_close(pixel_values[0, crop], expected, atol=1e-5, rtol=0)
    middle = processor(frames, do_sample_frames=False)["pixel_values"]
    assert torch.equal(middle[0], pixel_values[0, 1])


def test_crops_of_a_view_lie_side_by_side_and_views_outermost(mp4):
    processor = small_processor()
    everything = processor([mp4, mp4], num_views=3, num_crops=3)["pixel_values"]
    assert everything.shape == (2, 9, 4, 3, 24, 28)
    views = processor(mp4, num_views=3)["pixel_values"]
    crops = processor(mp4, num_crops=3)["pixel_values"]
    assert torch.equal(everything[1, 1::3], views[0])
    assert torch.equal(everything[0, :3], crops[0])


def test_crop_boxes_say_what_a_crop_shows_of_the_original():
    # 60 x 100 becomes 30 x 50; crops of 20 x 20 start at (5, 0), (5, 15) and (5, 30).
    processor = small_processor(size={"shortest_edge": 30}, crop_size={"height": 20, "width": 20})
    boxes = processor.crop_boxes(60, 100, num_crops=3)
    assert boxes.tolist() == [[0, 10, 40, 50], [30, 10, 70, 50], [60, 10, 100, 50]]
    assert processor.crop_boxes(60, 100).tolist() == [[30, 10, 70, 50]]
    ramp = torch.arange(100, dtype=torch.uint8).expand(1, 3, 60, 100)
    shown = processor(ramp, do_sample_frames=False, num_crops=3, do_normalize=False)["pixel_values"] * 255
    assert torch.allclose(shown[0, :, 0, 0, 0].mean(-1), boxes[:, [0, 2]].mean(-1) - 0.5, atol=0.01)


def test_frames_can_be_scaled_to_one_size_without_crops(mp4):
    processor = small_processor(size={"height": 20, "width": 36}, do_center_crop=False)
    assert processor(mp4)["pixel_values"].shape == (1, 4, 3, 20, 36)


# -- what comes out


def test_metadata_says_which_frames_were_taken(mp4):
    batch = small_processor()([mp4, moving_square(9)], num_views=2, return_metadata=True)
    of_file, of_array = batch["video_metadata"]
    assert (of_file.total_num_frames, of_file.fps, of_file.height, of_file.width) == (40, 25.0, 48, 64)
    assert of_file.duration == pytest.approx(1.6)
    assert of_file.frames_indices == [[0, 2, 4, 7], [16, 18, 20, 23]]
    assert of_array.fps is None and of_array.duration is None
    single = small_processor()(mp4, return_metadata=True)["video_metadata"][0]
    assert single.frames_indices == [0, 2, 4, 7]
    assert single.timestamps == pytest.approx([0, 0.08, 0.16, 0.28])


def test_the_kind_of_array_can_be_chosen(mp4):
    arrays = small_processor()(mp4, return_tensors="np")["pixel_values"]
    assert isinstance(arrays, np.ndarray)
    assert np.array_equal(arrays, small_processor()(mp4)["pixel_values"].numpy())


def test_views_are_joined_by_probability_as_the_protocol_says():
    logits = torch.tensor([[[2.0, 0.0, 1.0], [0.0, 0.5, 3.0]], [[0.0, 9.0, 0.0], [0.0, 9.0, 0.0]]])
    probabilities = logits.softmax(-1)
    processor = small_processor()
    summed = processor.post_process_video_classification(logits)
    assert [answer["labels"].tolist() for answer in summed] == [[2, 0, 1], [1, 0, 2]]
    torch.testing.assert_close(summed[0]["scores"], probabilities[0].sum(0)[[2, 0, 1]])
    mean = processor.post_process_video_classification(logits, top_k=1, view_aggregation="mean")
    torch.testing.assert_close(mean[1]["scores"], probabilities[1].mean(0)[[1]])
    best = combine_views(logits, "max", multi_label=True)
    torch.testing.assert_close(best, logits.sigmoid().amax(1))


def test_one_view_gives_plain_probabilities_and_equal_scores_keep_the_order_of_labels():
    answers = small_processor().post_process_video_classification(torch.tensor([[0.0, 1.0, 0.0, 1.0]]), top_k=9)
    assert answers[0]["labels"].tolist() == [1, 3, 0, 2]
    assert answers[0]["scores"].sum().item() == pytest.approx(1)

    class Output:
        logits = torch.zeros(2, 5, dtype=torch.bfloat16)

    assert small_processor().post_process_video_classification(Output, top_k=2)[1]["labels"].tolist() == [0, 1]


# -- bad input


@pytest.mark.parametrize(
    ("videos", "sentence"),
    [
        ([], "at least one video, got an empty list"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((4, 8, 8, 3), np.uint8)], "both mixed"),
        (np.zeros((4, 8, 8), np.uint8), r"\(T, H, W, 3\) or \(T, 3, H, W\), got \(4, 8, 8\)"),
        (np.zeros((4, 8, 8, 3), np.float32), "uint8 values 0 to 255, got float32"),
        (np.zeros((4, 3, 8, 3), np.uint8), "say which with input_data_format"),
        (np.zeros((0, 8, 8, 3), np.uint8), "holds no frames"),
        ([["1.jpg", "2.jpg"]], "must hold pictures, got str; give the folder"),
        (17, "got int"),
        ("https://example.org/a.mp4", "download the video"),
        ({"url": "a.mp4"}, "needs 'path' or 'bytes', got the keys"),
    ],
)
def test_what_is_no_video_is_refused(videos, sentence):
    with pytest.raises(ValueError, match=sentence):
        small_processor()(videos)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"num_view": 3}, "has no argument 'num_view'; it has .*num_views"),
        ({"num_views": 0}, "num_views must be at least 1"),
        ({"num_crops": 2}, r"num_crops must be 1 \(the middle\) or 3"),
        ({"num_crops": 3, "do_center_crop": False}, "num_crops=3 needs do_center_crop=True"),
        ({"num_frames": 0}, "num_frames"),
        ({"num_frames": "16"}, "num_frames"),
        ({"sampling_strategy": "dense"}, "sampling_strategy must be one of"),
        ({"sampling_strategy": "segments", "num_views": 2}, "give one view in time, but 2"),
        ({"do_sample_frames": False, "num_views": 2}, "gives one view in time, but num_views=2"),
        ({"fps": 5}, "does not take fps=5: give sampling_rate"),
        ({"data_format": "channels_last"}, "pixel values always have the axes"),
        ({"view_aggregation": "median"}, "view_aggregation must be one of"),
        ({"video_metadata": [{"fps": 25.0}] * 2}, "one entry for each of 1 videos, got 2"),
        ({"video_metadata": {"fps": -1.0}}, "fps of video_metadata must be positive, got -1"),
        ({"crop_size": 40}, r"crop of 40x40 \(height x width\) does not fit into frames of 32x42"),
        ({"size": {"longest_edge": 50}}, "size must be {'shortest_edge': S}"),
        ({"input_data_format": "channels_middle"}, "channels_middle"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        small_processor()(moving_square(9), **arguments)


def test_videos_of_a_batch_must_end_up_with_one_shape():
    with pytest.raises(ValueError, match=r"one shape, got \(1, 4, 3, .* and \(1, 9, 3, .*; sample frames and crop"):
        small_processor()([moving_square(9), moving_square(4)], do_sample_frames=False)


@pytest.mark.parametrize(
    ("logits", "arguments", "sentence"),
    [
        (torch.zeros(5), {}, r"\(videos, views, classes\), got \(5,\)"),
        (torch.zeros(1, 5), {"top_k": 0}, "top_k must be at least 1, got 0"),
        (torch.zeros(1, 5), {"view_aggregation": "median"}, "must be one of"),
    ],
)
def test_answers_need_logits_and_a_sensible_number_of_classes(logits, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        small_processor().post_process_video_classification(logits, **arguments)


def test_the_sampling_rule_is_there_for_data_sets():
    sampling = small_processor(sampling_strategy="video_swin").frame_sampling
    assert (sampling.strategy, sampling.num_frames, sampling.sampling_rate) == ("video_swin", 4, 2)
    assert sampling.random_clip(9, math.nan, np.random.default_rng(0)).shape == (4,)
