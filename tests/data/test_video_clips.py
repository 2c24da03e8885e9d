from functools import partial

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Video
from torch.utils.data import DataLoader

from hf_vidmodels import SttsConfig, SttsVideoProcessor
from hf_vidmodels.data.unreadable_videos import UnreadableVideos
from hf_vidmodels.data.video_clips import MAX_ATTEMPTS, VideoClips, VideoViews, collate_clips
from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.processing.decoding import UnreadableVideoError
from hf_vidmodels.processing.frame_sampling import FrameSampling
from hf_vidmodels.training.seeding import EpochSampler, sample_generator
from video_examples import moving_square, number_of

CLASSES = ["wave", "jump", "sit"]
SAMPLING = FrameSampling("slowfast", 4, 2, 25.0)
GENERATOR_FOR = partial(sample_generator, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number in range(5):
        write_video(folder / f"{number}.mp4", moving_square(30)[number:], 25, options={"g": "12"})
    (folder / "text.mp4").write_text("no video" * 99)
    return folder


def corpus(folder, names, labels=None, label_type=None):
    features = Features({"video": Video(decode=False), "label": label_type or ClassLabel(names=CLASSES)})
    labels = [number % 3 for number in range(len(names))] if labels is None else labels
    return Dataset.from_dict({"video": [str(folder / name) for name in names], "label": labels}, features=features)


def readable(folder):
    return corpus(folder, [f"{number}.mp4" for number in range(5)])


def with_bad_files(folder):
    return corpus(folder, ["0.mp4", "text.mp4", "1.mp4", "gone.mp4", "2.mp4", "3.mp4"])


def items_of(dataset, workers, epochs=(0,)):
    """All items of some epochs in their order, through a loader."""
    sampler = EpochSampler(len(dataset), seed=3)
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=sampler,
        collate_fn=collate_clips,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    for epoch in epochs:
        sampler.set_epoch(epoch)
        yield from loader


def test_a_clip_is_uint8_frames_in_order_with_its_label(folder):
    clips = VideoClips(readable(folder), SAMPLING, GENERATOR_FOR)
    assert len(clips) == 5
    item = clips[0, 4]
    assert item["pixel_values"].shape == (4, 3, 48, 64) and item["pixel_values"].dtype == torch.uint8
    assert item["labels"].tolist() == 1 and item["labels"].dtype == torch.int64
    assert item["unreadable"] == []
    expected = SAMPLING.random_clip(26, 25.0, GENERATOR_FOR(0, 4)) + 4
    assert [number_of(frame.permute(1, 2, 0).numpy()) for frame in item["pixel_values"]] == expected.tolist()


def test_clips_of_an_epoch_differ_from_those_of_another_and_repeat_exactly(folder):
    clips = VideoClips(readable(folder), SAMPLING, GENERATOR_FOR)
    assert torch.equal(clips[1, 2]["pixel_values"], clips[1, 2]["pixel_values"])
    assert not all(torch.equal(clips[0, i]["pixel_values"], clips[1, i]["pixel_values"]) for i in range(5))


def test_the_transform_draws_from_the_generator_of_its_item(folder):
    def crop(clip, generator):
        left = int(generator.integers(0, 40))
        return clip[..., :8, left : left + 8]

    clips = VideoClips(readable(folder), SAMPLING, GENERATOR_FOR, crop)
    generator = GENERATOR_FOR(2, 1)
    SAMPLING.random_clip(29, 25.0, generator)
    left = int(generator.integers(0, 40))
    whole = VideoClips(readable(folder), SAMPLING, GENERATOR_FOR)[2, 1]["pixel_values"]
    assert torch.equal(clips[2, 1]["pixel_values"], whole[..., :8, left : left + 8])


def test_several_clips_of_a_video_go_through_the_transform_as_one(folder):
    seen = []

    def transform(frames, generator):
        seen.append(frames.shape)
        return torch.stack([frames, frames]) + int(generator.integers(100))

    clips = VideoClips(readable(folder), SAMPLING, GENERATOR_FOR, transform, num_clips=3)
    item = clips[0, 1]
    assert seen == [(12, 3, 48, 64)] and item["pixel_values"].shape == (2, 3, 4, 3, 48, 64)
    for number in range(3):
        alone = clips[0, 1, number]
        assert alone["clip"] == number and seen[-1] == (4, 3, 48, 64)
        assert torch.equal(alone["pixel_values"], item["pixel_values"][:, number : number + 1])


def test_videos_of_several_classes_have_a_row_of_ones_and_zeros(folder):
    labels = List(ClassLabel(names=CLASSES))
    clips = VideoClips(corpus(folder, ["0.mp4", "1.mp4"], [[2, 0], [1]], labels), SAMPLING, GENERATOR_FOR)
    assert clips[0, 0]["labels"].tolist() == [1, 0, 1]
    assert collate_clips([clips[0, 0], clips[0, 1]])["labels"].dtype == torch.float32


def test_videos_given_as_bytes_are_read_like_files(folder):
    features = Features({"video": Video(decode=False), "label": ClassLabel(names=CLASSES)})
    row = {"bytes": (folder / "0.mp4").read_bytes(), "path": None}
    clips = VideoClips(Dataset.from_dict({"video": [row], "label": [0]}, features=features), SAMPLING, GENERATOR_FOR)
    assert torch.equal(
        clips[0, 0]["pixel_values"], VideoClips(readable(folder), SAMPLING, GENERATOR_FOR)[0, 0]["pixel_values"]
    )
    assert clips.name(0) == "video 0"


def test_unreadable_and_missing_videos_are_replaced_and_named(folder):
    clips = VideoClips(with_bad_files(folder), SAMPLING, GENERATOR_FOR)
    assert clips[0, 0]["unreadable"] == []
    for index, name in ((1, "text.mp4"), (3, "gone.mp4")):
        item = clips[0, index]
        assert item["unreadable"][0] == str(folder / name)
        assert item["pixel_values"].shape == (4, 3, 48, 64)
        generator = GENERATOR_FOR(0, index)
        replacement = int(generator.integers(6))
        while replacement in (1, 3):
            replacement = int(generator.integers(6))
        assert item["labels"].tolist() == replacement % 3


def test_whatever_the_number_of_workers_the_same_clips_come_and_the_same_videos_are_missed(folder):
    dataset = VideoClips(with_bad_files(folder), SAMPLING, GENERATOR_FOR)
    alone, shared = (list(items_of(dataset, workers, epochs=(0, 1))) for workers in (0, 2))
    assert len(alone) == 6
    for first, second in zip(alone, shared, strict=True):
        assert torch.equal(first["pixel_values"], second["pixel_values"])
        assert torch.equal(first["labels"], second["labels"])
        assert first["unreadable"] == second["unreadable"]
    missed = UnreadableVideos(len(dataset), max_share=0.5)
    for batch in shared:
        missed.add(batch["unreadable"])
    assert missed.names == [str(folder / "gone.mp4"), str(folder / "text.mp4")]


def test_a_corpus_without_readable_videos_ends_in_a_sentence(folder):
    clips = VideoClips(corpus(folder, ["gone.mp4"]), SAMPLING, GENERATOR_FOR)
    with pytest.raises(
        UnreadableVideoError, match=rf"{MAX_ATTEMPTS} videos in a row .* there is no video file .*gone"
    ):
        clips[0, 0]


def test_training_refuses_videos_without_a_label(folder):
    with pytest.raises(ValueError, match=r"1 videos have no label \(.*1.mp4 is the first\)"):
        VideoClips(corpus(folder, ["0.mp4", "1.mp4"], [0, None]), SAMPLING, GENERATOR_FOR)


def test_views_for_evaluation_are_those_of_the_processor(folder):
    processor = SttsVideoProcessor.from_config(SttsConfig.from_preset("tiny-mvit"))
    views = VideoViews(with_bad_files(folder), processor, num_crops=3)
    item = views[2]
    assert item["pixel_values"].shape == (15, 8, 3, 32, 32)
    expected = processor(folder / "1.mp4", num_views=5, num_crops=3)["pixel_values"][0]
    assert torch.equal(item["pixel_values"], expected)
    assert (item["index"], item["readable"], item["labels"].tolist()) == (2, True, 2)
    assert VideoViews(readable(folder), processor)[0]["pixel_values"].shape == (5, 8, 3, 32, 32)
    single = VideoViews(readable(folder), processor, num_views=1)[0]["pixel_values"]
    assert torch.equal(single, processor(folder / "0.mp4")["pixel_values"])


@pytest.mark.parametrize("number", [0, -1])
def test_no_views_are_no_test(folder, number):
    processor = SttsVideoProcessor.from_config(SttsConfig.from_preset("tiny-mvit"))
    for options in ({"num_views": number}, {"num_crops": number}):
        with pytest.raises(ValueError, match=f"must be at least 1, got .*{number}.*; leave them out"):
            VideoViews(readable(folder), processor, **options)


def test_evaluation_reports_what_it_could_not_read_and_drops_nothing(folder):
    processor = SttsVideoProcessor.from_config(SttsConfig.from_preset("tiny-mvit"))
    views = VideoViews(with_bad_files(folder), processor)
    batches = list(DataLoader(views, batch_size=4, collate_fn=collate_clips))
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(6))
    assert torch.cat([batch["readable"] for batch in batches]).tolist() == [True, False, True, False, True, True]
    assert batches[0]["unreadable"] == [str(folder / "text.mp4"), str(folder / "gone.mp4")]
    assert batches[0]["pixel_values"][1].abs().max() == 0
    unlabelled = VideoViews(corpus(folder, ["0.mp4"], [None]), processor)
    assert unlabelled[0]["labels"].tolist() == -1


def test_evaluation_needs_pictures_of_one_size(folder):
    processor = SttsVideoProcessor(do_center_crop=False)
    with pytest.raises(ValueError, match="no fixed size; set do_center_crop=True"):
        VideoViews(readable(folder), processor)
    assert SttsVideoProcessor(do_center_crop=False, size={"height": 8, "width": 9}).picture_size == (8, 9)


# -- the account of unreadable videos


def test_a_video_counts_once_however_often_it_is_reported():
    missed = UnreadableVideos(200, max_share=0.01)
    missed.add(["b.mp4", "a.mp4"])
    missed.add(["a.mp4"])
    assert missed.names == ["a.mp4", "b.mp4"]
    assert missed.summary() == "2 of 200 videos could not be read: a.mp4, b.mp4"
    with pytest.raises(ValueError, match=r"3 of 200 videos cannot be read \(a.mp4, b.mp4, c.mp4\), more than .*=0.01"):
        missed.add(["c.mp4"])


def test_a_small_corpus_may_miss_one_video_unless_none_is_allowed():
    UnreadableVideos(5).add(["a.mp4"])
    with pytest.raises(ValueError, match="1 of 5 videos"):
        UnreadableVideos(5, max_share=0).add(["a.mp4"])
    assert UnreadableVideos(5).summary() == "all of 5 videos could be read as far as they were needed"
    with pytest.raises(ValueError, match=r"max_unreadable_share must be in \[0, 1\], got 2"):
        UnreadableVideos(5, max_share=2)


def test_the_account_survives_a_restart():
    missed, resumed = UnreadableVideos(200), UnreadableVideos(200)
    missed.add(["a.mp4"])
    resumed.load_state_dict(missed.state_dict())
    resumed.add(["b.mp4"])
    assert resumed.names == ["a.mp4", "b.mp4"]
