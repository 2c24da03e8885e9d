import numpy as np
import pytest
from datasets import Dataset
from matplotlib.colors import to_hex
from PIL import Image

from hf_vidmodels.data.annotation_sheet import SEGMENT_COLOR, WRONG_COLOR, draw_annotations
from hf_vidmodels.data.contracts import features_for
from hf_vidmodels.data.corpus_table import corpus_table
from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.modeling.ops.run_length_masks import encode_masks

NAMES = ["archery", "diving"]


def build(task, **columns):
    return Dataset.from_dict(columns, features=features_for(task, columns, NAMES))


def untrimmed(segments, duration=10.0):
    rows = [{"start": start, "end": end, "label": label} for start, end, label in segments]
    return build(
        "temporal-action-localization",
        video_id=["a $x$ video"],
        features=["a.npy"],
        duration=[duration],
        labels=[sorted({row["label"] for row in rows})],
        segments=[rows],
    )


@pytest.fixture
def video(tmp_path):
    frames = np.zeros((10, 32, 48, 3), dtype=np.uint8)
    frames[5:] = 255
    write_video(tmp_path / "a.mp4", frames, 10)
    return str(tmp_path / "a.mp4")


def bars(axes):
    return [(p.get_x(), p.get_width(), to_hex(p.get_facecolor()).upper()) for p in axes.patches[1:]]


def test_time_lines_show_every_segment_and_mark_those_that_do_not_fit():
    dataset = untrimmed([(1, 3, 1), (8, 14, 0)])
    (axes,) = draw_annotations(dataset, "temporal-action-localization").axes
    assert bars(axes) == [(1.0, 2.0, SEGMENT_COLOR), (8.0, 6.0, WRONG_COLOR)]
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES
    assert axes.get_xlim() == (0, 14)


def test_videos_without_segments_show_their_classes():
    dataset = untrimmed([(1, 3, 1)]).remove_columns("segments")
    (axes,) = draw_annotations(dataset, "temporal-action-localization").axes
    assert bars(axes) == [] and "classes only" in axes.get_title(loc="left")


def test_examples_are_spread_over_the_split():
    pictures = [Image.new("RGB", (4, 4)) for _ in range(10)]
    dataset = build("image-classification", image=pictures, label=[0] * 9 + [None])
    figure = draw_annotations(dataset, "image-classification", num_examples=4)
    assert [axes.get_title() for axes in figure.axes] == ["archery", "archery", "archery", "unlabelled"]


def test_boxes_lie_where_the_conventions_say():
    picture = Image.new("RGB", (40, 20))
    masks = build(
        "mask-labeling",
        image=[picture],
        image_id=["7"],
        objects=[[{"id": 0, "bbox": [1, 2, 10, 5], "category": 1, "area": 50, "iscrowd": 0}]],
    )
    (box,) = draw_annotations(masks, "mask-labeling").axes[0].patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((1, 2), 10, 5)
    located = build("object-localization", image=[picture], label=[0], bbox=[[1, 2, 10, 5]])
    (box,) = draw_annotations(located, "object-localization").axes[0].patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((1, 2), 9, 3)


def test_masks_are_painted_on_the_picture():
    masks = np.zeros((1, 20, 40), bool)
    masks[0, 2:7, 1:11] = True
    (rle,) = encode_masks(masks)
    item = {"id": 0, "bbox": [1, 2, 10, 5], "category": 1, "area": 50, "iscrowd": 0, "segmentation": rle}
    unmasked = {**item, "id": 1, "segmentation": None}
    columns = {"image": [Image.new("RGB", (40, 20))], "image_id": ["7"], "objects": [[item, unmasked]]}
    features = features_for("mask-labeling", columns, NAMES, ["segmentation"])
    (axes,) = draw_annotations(Dataset.from_dict(columns, features=features), "mask-labeling").axes
    np.testing.assert_array_equal(axes.images[0].get_array().any(axis=2), masks[0])
    assert len(axes.patches) == 2 and "1 masks" in axes.get_title()
    columns["image"] = [Image.new("RGB", (41, 20))]
    with pytest.raises(ValueError, match=r"masks of 7 have \(20, 40\) rows and columns, its picture \(20, 41\)"):
        draw_annotations(Dataset.from_dict(columns, features=features), "mask-labeling")


def test_people_are_drawn_on_the_frame_of_their_timestamp(video):
    people = build(
        "action-detection",
        video_id=["a", "a"],
        video=[video, video],
        timestamp=[0.1, 0.7],
        boxes=[[[0, 0.5, 0.5, 1]], []],
        labels=[[[0, 1]], []],
    )
    first, second = draw_annotations(people, "action-detection").axes
    (box,) = first.patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((0, 16), 24, 16)
    assert first.texts[0].get_text() == "archery, diving"
    assert first.images[0].get_array().mean() < 20 and second.images[0].get_array().mean() > 235


def test_clips_show_their_middle_frame(video):
    clips = build("video-classification", video=[video], label=[1])
    (axes,) = draw_annotations(clips, "video-classification").axes
    assert axes.get_title() == "diving" and axes.images[0].get_array().mean() > 235


def test_videos_without_a_column_of_labels_are_drawn_too(video):
    (axes,) = draw_annotations(build("motion-pretraining", video=[video]), "motion-pretraining").axes
    assert axes.get_title() == "unlabelled" and axes.images[0].get_array().mean() > 235


def test_an_empty_split_and_an_unreadable_video_are_errors(tmp_path, video):
    clips = build("video-classification", video=[video], label=[1])
    with pytest.raises(ValueError, match="none to draw"):
        draw_annotations(clips.select([]), "video-classification")
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises((ValueError, OSError), match=r"a\.mp4"):
        draw_annotations(clips, "video-classification")


def test_the_table_counts_examples_classes_instances_and_seconds():
    dataset = untrimmed([(1, 3, 1), (8, 9, 1)], duration=7200.0)
    empty = dataset.select([])
    lines = corpus_table({"train": dataset, "test": empty}, "temporal-action-localization").splitlines()
    assert lines[0].split() == ["split", "examples", "classes", "instances", "total", "shortest", "median", "longest"]
    assert " ".join(lines[2].split()) == "train 1 1 of 2 2 2.0 h 7200.0 s 7200.0 s 7200.0 s"
    assert lines[3].split() == ["test", "0"]


def test_columns_that_a_task_does_not_have_are_left_out_of_the_table():
    dataset = build("image-classification", image=[None, None], label=[0, None])
    header, _, row = corpus_table({"train": dataset}, "image-classification").splitlines()
    assert header.split() == ["split", "examples", "classes"]
    assert " ".join(row.split()) == "train 2 1 of 2, 1 unlabelled"
