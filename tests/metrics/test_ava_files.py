import numpy as np
import pytest

from hf_vidmodels.metrics.ava_files import (
    NO_ACTION,
    read_ava_annotations,
    read_ava_detections,
    read_ava_rows,
    read_excluded_frames,
    read_label_map,
    write_ava_detections,
)
from hf_vidmodels.metrics.frame_detection import frame_detection_map

GOOD = "film,0902,0.1,0.2,0.3,0.4,12,3"


def file_of(folder, text, name="boxes.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_rows_are_boxes_with_action_and_person(tmp_path):
    rows = read_ava_rows(file_of(tmp_path, f"{GOOD}\nfilm,903.5,0,0,1,1,,\n\n  \nfilm,0904,,,,,,\nfilm,0905\n"))
    assert rows.videos.tolist() == ["film", "film"]
    assert rows.seconds.tolist() == [902, 903.5]
    assert rows.actions.tolist() == [12, NO_ACTION]
    np.testing.assert_array_equal(rows.last, [3, np.nan])
    assert rows.empty_frames == [("film", 904.0), ("film", 905.0)]


def test_boxes_alone_need_no_columns_for_action_and_score(tmp_path):
    text = "film,0902,0.1,0.2,0.3,0.4\nfilm,0903,0.1,0.2,0.3,0.4,,0.9\n"
    rows = read_ava_rows(file_of(tmp_path, text), boxes_alone=True)
    assert rows.actions.tolist() == [NO_ACTION, NO_ACTION] and rows.boxes.shape == (2, 4)
    np.testing.assert_array_equal(rows.last, [np.nan, 0.9])


def test_key_frames_without_people_are_frames_without_boxes(tmp_path):
    annotations = read_ava_annotations(file_of(tmp_path, f"{GOOD}\nfilm,0904,,,,,,\n"))
    assert annotations.frame_ids == [("film", 902.0), ("film", 904.0)]
    assert len(annotations) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("film,0902,0.1,0.2,0.3,0.4", "row 2: expected video, second, .* got 6 columns"),
        ("film,0902,0.1,0.2,0.3,0.4,12,0.5,1", "row 2: .* got 9 columns"),
        ("film,0902,0.1,0.2,0.3,0.4,12,high", "row 2: the last column must be a number, got 'high'"),
        ("film,x,0.1,0.2,0.3,0.4,12,1", "row 2: the second must be a number, got 'x'"),
        ("film,0902,0.1,wide,0.3,0.4,12,1", "row 2: y1 of a box must be a number, got 'wide'"),
        ("film,0902,0.1,nan,0.3,0.4,12,1", "row 2: y1 of a box must be a number, got 'nan'"),
        ("film,0902,0.1,0.2,0.3,0.4,1.5,1", "row 2: the action must be a whole number .* got 1.5"),
        ("film,0902,0.1,0.2,0.3,0.4,1e300,1", "row 2: the action must be a whole number of at most 15 digits"),
        ("f" * 200_000, "row 2: field larger than field limit"),
        ("film,0902,12,20,130,140,12,1", "row 2: boxes are relative .* divide pixels by width and height"),
        ("film,0902,0.1,0.2,1.2,0.4,12,1", "row 2: boxes are relative .* cut boxes at the edges"),
    ],
)
def test_a_row_that_is_wrong_is_named_by_its_number(tmp_path, row, message):
    with pytest.raises(ValueError, match=f"boxes.csv, {message}"):
        read_ava_rows(file_of(tmp_path, f"{GOOD}\n{row}\n"))


def test_what_annotations_and_detections_need_is_named(tmp_path):
    without_action = file_of(tmp_path, "film,0902,0.1,0.2,0.3,0.4,,0.5\n")
    with pytest.raises(ValueError, match="row 1: there is no action"):
        read_ava_detections(without_action)
    with pytest.raises(ValueError, match="row 1: there is no score"):
        read_ava_detections(file_of(tmp_path, "film,0902,0.1,0.2,0.3,0.4,12\n"))
    with pytest.raises(ValueError, match="row 3: it repeats row 1"):
        read_ava_annotations(file_of(tmp_path, f"{GOOD}\nfilm,0903,0.1,0.2,0.3,0.4,12,3\n{GOOD}\n"))


def test_an_empty_file_of_detections_scores_nothing(tmp_path):
    detections = read_ava_detections(file_of(tmp_path, ""))
    annotations = read_ava_annotations(file_of(tmp_path, GOOD, "truth.csv"))
    with pytest.warns(UserWarning, match="no detections"):
        assert frame_detection_map(detections, annotations).mAP[0] == 0


def test_what_is_written_reads_the_same(tmp_path):
    boxes = np.array([[0.1, 0.2, 0.3, 0.4], [0.123456, 0.25, 0.5, 1.0]])
    scores = np.array([[0.7, 0.0], [0.123456, 0.9]])
    found = [
        {"video": "film", "timestamp": 902.0, "boxes": boxes, "scores": scores},
        {"video": "film", "timestamp": 3.25, "boxes": boxes[:1], "scores": scores[:1]},
    ]
    write_ava_detections(tmp_path / "found.csv", found, {0: 12, 1: 80})
    read = read_ava_detections(tmp_path / "found.csv")
    assert read.frame_ids == [("film", 902.0), ("film", 3.25)]
    assert read.labels.tolist() == [12, 12, 80, 12]
    np.testing.assert_array_equal(read.scores, [0.7, 0.123456, 0.9, 0.7])
    np.testing.assert_array_equal(read.boxes, boxes[[0, 1, 1, 0]])


def test_excluded_frames_are_videos_and_seconds(tmp_path):
    assert read_excluded_frames(file_of(tmp_path, "a,0902\nb,1001\n")) == [("a", 902.0), ("b", 1001.0)]
    with pytest.raises(ValueError, match="row 2: expected video, second, got 'b'"):
        read_excluded_frames(file_of(tmp_path, "a,0902\nb\n"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.pbtxt", 'item {\n  name: "stand"\n  id: 11\n}\nitem {\n  name: "talk to (e.g., self)"\n  id: 79\n}\n'),
        (
            "map.pbtxt",
            "label {\n name: 'stand' label_id: 11 }\nlabel { name: 'talk to (e.g., self)' label_id: 79 }",
        ),
        ("map.csv", 'label_id,label_name\n11,stand\n79,"talk to (e.g., self)"\n'),
    ],
)
def test_label_maps_are_read_in_their_published_forms(tmp_path, name, text):
    assert read_label_map(file_of(tmp_path, text, name)) == {11: "stand", 79: "talk to (e.g., self)"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("map.pbtxt", "nothing", "holds no classes"),
        ("map.pbtxt", 'item { name: "stand" }', "an item has no name or no id"),
        ("map.csv", "1,stand\n1,sit\n", "the id 1 for 'stand' and 'sit'"),
        ("map.csv", "1,stand\ntwo,sit\n", "row 2: expected id,name"),
    ],
)
def test_a_label_map_that_is_none_is_refused(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_label_map(file_of(tmp_path, text, name))
