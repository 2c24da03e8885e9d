import json
from pathlib import Path

import pytest

from hf_vidmodels.data.own.temporal_annotations import (
    read_annotation_json,
    read_instance_table,
    write_annotation_json,
)


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def test_activitynet_json_is_read_with_and_without_the_database_level(tmp_path):
    database = {
        "b": {
            "subset": "validation",
            "duration": 12,
            "url": "ignored",
            "annotations": [{"segment": [1, 2.5], "label": "Surfing"}, {"segment": [4, 6], "label": "Archery"}],
        },
        "a": {"annotations": []},
    }
    for content in (database, {"version": "1.3", "database": database}):
        annotations = read_annotation_json(write_json(tmp_path / "gt.json", content))
        assert list(annotations) == ["b", "a"]
        assert annotations["b"].segments == [(1.0, 2.5, "Surfing"), (4.0, 6.0, "Archery")]
        assert annotations["b"].video_labels == ["Archery", "Surfing"]
        assert (annotations["b"].subset, annotations["b"].duration) == ("validation", 12.0)
        assert annotations["a"].video_labels == [] and annotations["a"].duration is None


def test_classes_of_a_video_can_be_given_without_times(tmp_path):
    content = {
        "a": {"labels": ["Surfing"], "annotations": [{"segment": [0, 1], "label": "Archery"}]},
        "b": {"annotations": [{"label": "Surfing"}, {"segment": [0, 1], "label": "Archery"}]},
    }
    annotations = read_annotation_json(write_json(tmp_path / "gt.json", content))
    assert annotations["a"].video_labels == ["Surfing"]
    assert annotations["a"].all_labels == {"Surfing", "Archery"}
    assert annotations["b"].video_labels == ["Archery", "Surfing"]
    assert len(annotations["b"].segments) == 1


def test_what_is_written_is_read_again(tmp_path):
    content = {
        "a": {"subset": "test", "duration": 3.5, "annotations": [{"segment": [0.1, 1 / 3], "label": "Ümläut"}]},
        "b": {"subset": "test", "duration": 1.0, "labels": ["x"], "annotations": []},
    }
    first = read_annotation_json(write_json(tmp_path / "gt.json", content))
    write_annotation_json(tmp_path / "again.json", first)
    assert read_annotation_json(tmp_path / "again.json") == first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"database": [1]}, "is not a file of annotations"),
        ({"a": 3}, "is not a file of annotations"),
        ({"a": {"annotations": [{"segment": [0, 1]}]}}, "video 'a': an annotation must be"),
        ({"a": {"annotations": [{"label": "x", "segment": [0]}]}}, r"video 'a': a segment must be \[start, end\]"),
        ({"a": {"annotations": [{"label": "x", "segment": [0, "end"]}]}}, "video 'a': segment must be a number"),
        ({"a": {"annotations": [{"label": "x", "start": 3}]}}, "video 'a': segment must be a number, got None"),
        (
            {"a": {"annotations": [{"label": "x", "t_start": 3, "t_end": 4}]}},
            "no .segment. but 't_start', which is not",
        ),
        (
            {"a": {"annotations": [{"label": "x", "segment(frames)": [3, 4]}]}},
            r"but 'segment\(frames\)', which is not",
        ),
        ({"a": {"annotations": [{"label": ["x"]}]}}, "the label of an annotation must be the name of a class"),
        ({"a": {"annotations": None}}, "video 'a': annotations must be a list, got None"),
        ({"a": {"subset": 3}}, "video 'a': subset must be text, got 3"),
        ({"a": {"features": ["x", 3]}}, r"features must be a file or two files \(rgb, flow\)"),
        ({"a": {"frames_per_snippet": 1.5}}, "frames_per_snippet must be a whole number, got 1.5"),
        ({"a": {"duration": 10**400}}, "video 'a': duration must be a number, got 10+"),
        ({"a": {"annotations": {"label": "x"}}}, "video 'a': annotations must be a list"),
        ({"a": {"labels": "x"}}, "video 'a': labels must be a list of class names"),
        ({"a": {"duration": "long"}}, "video 'a': duration must be a number, got 'long'"),
    ],
)
def test_entries_of_another_form_are_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read_annotation_json(write_json(tmp_path / "gt.json", content))
    assert "gt.json" in str(error.value)


def test_a_video_that_stands_in_the_file_twice_is_named(tmp_path):
    (tmp_path / "gt.json").write_text('{"database": {"v1": {}, "v2": {}, "v1": {}}}')
    with pytest.raises(ValueError, match=r"gt\.json has these entries more than once: v1"):
        read_annotation_json(tmp_path / "gt.json")


def test_a_file_that_is_no_json_is_named_with_the_line(tmp_path):
    (tmp_path / "gt.json").write_text('{"a": {},\n "b"')
    with pytest.raises(ValueError, match=r"gt\.json is not valid JSON \(.*line 2"):
        read_annotation_json(tmp_path / "gt.json")


def test_a_table_of_instances_is_grouped_by_video(tmp_path):
    path = tmp_path / "annotations.csv"
    path.write_text(
        "video_id, label, start, end, subset, duration\n"
        'a, Surfing, 1, 2.5, train, 10\nb, "Skiing, fast", , , test, 5\na, Archery, 0, 1, train,\n'
    )
    annotations = read_instance_table(path)
    assert annotations["a"].segments == [(1.0, 2.5, "Surfing"), (0.0, 1.0, "Archery")]
    assert annotations["a"].duration == 10.0 and annotations["a"].subset == "train"
    assert annotations["b"].segments == [] and annotations["b"].video_labels == ["Skiing, fast"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,lable,start,end\na,x,0,1\n", r"has no column 'label' \(did you mean 'lable'\?\); found: video_id"),
        ("video_id,label,start,end\na,x,zero,1\n", "line 2: start must be a number, got 'zero'"),
        ("video_id,label,start,end\na,x,0,\n", "line 2: end must be a number, got ''"),
        ("video_id,label,start,end\na,x,0,1\n,x,0,1\n", "line 3: video_id is empty"),
        ("video_id,label,start,end\na,,0,1\n", "line 2: label is empty"),
        ('video_id,label,start,end\n\n\n"a\nb",x,0,1\na,x,zero,1\n', "line 6: start must be a number"),
        ("video_id,label,start,end\na,x,0\n", "line 2: 3 cells where the header has 4"),
        ("video_id,label,start,end,duration\na,x,0,1,9\na,x,2,3,8\n", "line 3: duration of video 'a' is 8.0 but an"),
        ("video_id,label,label,end\n", "names each column once"),
        ("", "names each column once"),
    ],
)
def test_mistakes_in_a_table_are_named_by_line(tmp_path, text, message):
    path = tmp_path / "annotations.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_instance_table(path)


REAL = Path(__file__).parents[3].parent / "shared" / "real" / "mmaction2_eval" / "gt.json"


@pytest.mark.skipif(not REAL.is_file(), reason="needs the real file ../shared/real/mmaction2_eval/gt.json")
def test_a_real_file_without_the_database_level_is_read():
    annotations = read_annotation_json(REAL)
    assert annotations["v_bYUmtLBL7W4"].duration == 224.49
    assert [label for _, _, label in annotations["v_bYUmtLBL7W4"].segments] == ["Wakeboarding"] * 3
    assert annotations["v_hDPLy21Yyuk"].video_labels == ["Cleaning shoes"]
