import json
import os

import numpy as np
import pytest

from hf_vidmodels.metrics.activitynet_files import (
    read_activitynet_ground_truth,
    read_activitynet_results,
    results_to_json,
    write_activitynet_results,
)

GROUND_TRUTH = {
    "database": {
        "v_b": {"subset": "validation", "annotations": [{"label": "run", "segment": [1, 2.5]}]},
        "v_a": {"subset": "validation", "annotations": []},
        "v_c": {"subset": "training", "annotations": [{"label": "jump", "segment": [0.0, 1.0]}]},
    }
}
PREDICTIONS = {
    "v_b": {
        "segments": np.array([[0.1, 1 / 3], [2.0, 7.0]]),
        "scores": np.array([0.1 + 0.2, -0.5]),
        "labels": np.array([1, 0]),
    },
    "v_a": {"segments": np.empty((0, 2)), "scores": np.empty(0), "labels": np.empty(0, dtype=np.int64)},
}


def test_the_annotations_of_one_subset_are_read_with_names_from_the_whole_file():
    references, names = read_activitynet_ground_truth(GROUND_TRUTH, "validation")
    assert names == {0: "jump", 1: "run"}
    assert list(references) == ["v_b", "v_a"]
    assert references["v_b"]["segments"].tolist() == [[1.0, 2.5]]
    assert references["v_b"]["labels"].tolist() == [1]
    assert references["v_a"]["segments"].shape == (0, 2)
    assert references["v_a"]["labels"].dtype == np.int64


def test_class_ids_follow_the_given_names(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(GROUND_TRUTH))
    references, names = read_activitynet_ground_truth(path, "validation", label_names=["run", "jump"])
    assert references["v_b"]["labels"].tolist() == [0]
    assert names == {0: "run", 1: "jump"}


@pytest.mark.parametrize("names", [["jump", "run"], {0: "jump", 1: "run"}])
def test_written_results_are_read_back_exactly(tmp_path, names):
    path = tmp_path / "predictions.json"
    write_activitynet_results(path, PREDICTIONS, names, external_data={"used": False})
    again = read_activitynet_results(path, names)
    assert list(again) == list(PREDICTIONS)
    for video_id, video in PREDICTIONS.items():
        for key, values in video.items():
            np.testing.assert_array_equal(again[video_id][key], values)
            assert again[video_id][key].dtype == values.dtype
    content = json.loads(path.read_text())
    assert content["external_data"] == {"used": False}
    assert content["results"]["v_b"][0] == {"label": "run", "score": 0.1 + 0.2, "segment": [0.1, 1 / 3]}
    assert sorted(content) == ["external_data", "results", "version"]


def test_predictions_of_unknown_labels_are_refused_or_dropped():
    results = {"results": {"v": [{"label": "fly", "score": 1, "segment": [0, 1]}]}}
    with pytest.raises(ValueError, match="label of entry 0 of video 'v' in the results.*2 known classes, got 'fly'"):
        read_activitynet_results(results, ["jump", "run"])
    assert len(read_activitynet_results(results, ["jump", "run"], drop_unknown_labels=True)["v"]["labels"]) == 0


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            {"score": 1, "segment": [0, 1]},
            "entry 0 of video 'v' in the results must be an object with the key 'label'",
        ),
        ({"label": "run", "segment": [0, 1]}, r"key 'score', got keys \['label', 'segment'\]"),
        (
            {"label": "run", "score": "1", "segment": [0, 1]},
            "'score' of entry 0 of video 'v'.*must be a number, got '1'",
        ),
        ({"label": "run", "score": True, "segment": [0, 1]}, "must be a number, got True"),
        ({"label": "run", "score": 1, "segment": [0]}, r"'segment' of entry 0.*\[start, end\] in seconds, got \[0\]"),
        ({"label": "run", "score": 1, "segment": [0, None]}, r"\[start, end\] in seconds"),
        ({"label": "run", "score": 1, "segment": "0 1"}, "'segment' of entry 0.*must be a list"),
        ("run", "entry 0 of video 'v' in the results must be an object with the key 'segment', got str"),
    ],
)
def test_wrong_entries_are_named(entry, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_activitynet_results({"results": {"v": [entry]}}, ["run"])


def test_a_video_without_a_list_of_segments_is_named():
    with pytest.raises(ValueError, match="video 'v' in the results must hold a list of segments, got dict"):
        read_activitynet_results({"results": {"v": {"label": "run"}}}, ["run"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"videos": {}}, r"the ground truth must be an object with the key 'database', got keys \['videos'\]"),
        ({"database": []}, "'database' of the ground truth must be a JSON object"),
        ({"database": {"v": {"annotations": []}}}, "video 'v' in the ground truth.*key 'subset'"),
        ({"database": {"v": {"subset": "test"}}}, "key 'annotations'"),
        (GROUND_TRUTH, "subset must be one of those in the ground truth, got 'test'; found 'training', 'validation'"),
        ({"database": {}}, "found no video at all"),
    ],
)
def test_wrong_ground_truth_is_named(content, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_activitynet_ground_truth(content, "test")


def test_an_annotation_of_an_unknown_class_names_its_video():
    with pytest.raises(ValueError, match="entry 0 of video 'v_b'.*got 'run'"):
        read_activitynet_ground_truth(GROUND_TRUTH, "validation", label_names=["jump"])


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="label_names must be distinct, got 'run' for class ids 0 and 1"):
        read_activitynet_results({"results": {}}, ["run", "run"])


def test_files_that_are_missing_or_no_json_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.json is missing; it should hold the results"):
        read_activitynet_results(tmp_path / "absent.json", ["run"])
    (tmp_path / "broken.json").write_text('{"results": ')
    with pytest.raises(ValueError, match="broken.json is not valid JSON .*it should hold the results"):
        read_activitynet_results(tmp_path / "broken.json", ["run"])


def test_results_with_an_unnamed_class_or_a_score_that_is_no_number_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="no name for 1 of video 'v_b'"):
        write_activitynet_results(tmp_path / "out.json", PREDICTIONS, ["jump"])
    broken = {"v": {"segments": [[0, 1]], "scores": [float("nan")], "labels": [0]}}
    with pytest.raises(ValueError, match="video 'v' has a score that is not finite"):
        results_to_json(broken, ["jump"])
    assert os.listdir(tmp_path) == []
