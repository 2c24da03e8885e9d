import json

import numpy as np
import pytest

from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.video_writing import write_video

HEADER = "video,second,x1,y1,x2,y2,label,person\n"
ROWS = """street,1,0.1,0.1,0.4,0.9,walk,anna
street,1,0.1,0.1,0.4,0.9,talk,anna
street,1,0.6,0.1,0.9,0.9,stand,ben
street,2.5,0.2,0.1,0.5,0.9,walk,anna
yard.mp4,1,,,,,,
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("street", "yard"):
        write_video(tmp_path / "videos" / f"{name}.mp4", np.zeros((30, 32, 32, 3), np.uint8), 10)
    return tmp_path


def write(folder, rows, header=HEADER):
    (folder / "annotations.csv").write_text(header + rows)
    return folder


def test_rows_of_one_time_are_one_example_and_of_one_person_one_box(folder):
    dataset = load_corpus(write(folder, ROWS))["train"]
    names = dataset.features["labels"].feature.feature.names
    assert dataset["timestamp"][:] == [1.0, 2.5, 1.0]
    assert dataset["video_id"][:] == ["street", "street", "yard"]
    assert dataset[0]["video"] == str(folder / "videos" / "street.mp4")
    assert dataset[0]["boxes"] == [[0.1, 0.1, 0.4, 0.9], [0.6, 0.1, 0.9, 0.9]]
    assert [[names[label] for label in labels] for labels in dataset[0]["labels"]] == [["walk", "talk"], ["stand"]]
    assert dataset["actor_ids"][:] == [[0, 1], [0], []]
    assert dataset[2]["boxes"] == []


def test_videos_may_be_named_as_on_windows(folder):
    dataset = load_corpus(write(folder, ROWS.replace("street", "videos\\street")))["train"]
    assert dataset[0]["video"] == str(folder / "videos" / "street.mp4")


def test_json_lines_and_splits_are_read_too(folder):
    row = {"video": "street", "second": 1, "x1": 0.1, "y1": 0.1, "x2": 0.4, "y2": 0.9, "label": "walk"}
    rows = [row | {"split": "train"}, row | {"split": "test", "video": "yard", "second": 2}]
    (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = load_corpus(folder, task="action-detection")
    assert {split: data["timestamp"][:] for split, data in corpus.items()} == {"train": [1.0], "test": [2.0]}
    assert corpus["train"]["actor_ids"][:] == [[None]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("street,1,10,10,40,90,walk,anna", "line 2: boxes are relative .* divide pixels by width and height"),
        ("street,1,0.1,0.1,1.1,0.9,walk,anna", "line 2: boxes are relative .* cut boxes"),
        ("street,1,0.4,0.1,0.1,0.9,walk,anna", "line 2: a box is x1, y1, x2, y2 with x1 < x2"),
        ("street,1,0.1,0.1,,0.9,walk,anna", "line 2: the box has no x2"),
        ("street,1,wide,0.1,0.4,0.9,walk,anna", "line 2: x1 must be a number, got 'wide'"),
        ("street,soon,0.1,0.1,0.4,0.9,walk,anna", "line 2: the second must be a number"),
        ("street,1,0.1,0.1,0.4,0.9,walk", "line 2: 7 cells where the header has 8"),
        (",1,0.1,0.1,0.4,0.9,walk,anna", "line 2: there is no video"),
        (
            "street,1,0.1,0.1,0.4,0.9,walk,anna\nstreet,1,0.5,0.1,0.9,0.9,walk,anna",
            "line 3: person anna is at .*, but at .* in .*line 2",
        ),
    ],
)
def test_a_row_that_is_wrong_is_named_by_its_line(folder, row, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(write(folder, row + "\n"))


def test_boxes_and_actions_are_no_corpus_of_segments(folder):
    corpus = write(folder, "street,1,0.1,0.1,0.4,0.9,walk,anna\n")
    with pytest.raises(ValueError, match="is a corpus for action-detection, not for temporal-action-localization"):
        load_corpus(corpus, task="temporal-action-localization")


def test_a_video_that_is_not_there_is_named(folder):
    with pytest.raises(FileNotFoundError, match="1 files of the column 'video' are missing: .*lake"):
        load_corpus(write(folder, "lake,1,0.1,0.1,0.4,0.9,walk,anna\n"))


def test_classes_outside_the_list_are_named(folder):
    (folder / "classes.txt").write_text("walk\nstand\n")
    with pytest.raises(ValueError, match="unknown classes .*'talk'"):
        load_corpus(write(folder, ROWS))
