import json
from pathlib import Path

import numpy as np
import pytest

from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.published.published_classes import ACTIVITYNET_CLASSES, THUMOS14_CLASSES
from hf_vidmodels.data.published.wtalc import convert_wtalc_annotations

REAL = Path(__file__).parents[3].parent / "shared" / "real" / "thumos14"
SPLIT_OF_SUBSET = {"validation": "train", "test": "test"}


def write_corpus(root, database, splits, num_rows=25):
    """A corpus in the published layout; 25 rows of 16 frames at 25 fps last 16 s."""
    root.mkdir(exist_ok=True)
    (root / "gt.json").write_text(json.dumps({"database": database}))
    for official, ids in splits.items():
        (root / f"split_{official}.txt").write_text("\n".join(ids) + "\n")
        (root / official).mkdir(exist_ok=True)
        for video_id in ids:
            np.save(root / official / f"{video_id}.npy", np.zeros((num_rows, 3), dtype=np.float32))
    return root


def video(subset, *annotations, **more):
    return {
        "subset": subset,
        "annotations": [{"label": label, "segment": [start, end]} for label, start, end in annotations],
        **more,
    }


@pytest.fixture
def thumos_database():
    return {
        "video_validation_1": video("validation", ("Diving", 1, 2), ("CliffDiving", 1, 2)),
        "video_validation_2": video("validation", ("GolfSwing", 0, 5), duration=15.5),
        "video_test_1": video(
            "test", ("Diving", 3, 4.5), ("Diving", 8, 9), ("GolfSwing", 0, 1), ("CliffDiving", 0, 1)
        ),
    }


THUMOS_SPLITS = {"train": ["video_validation_1", "video_validation_2"], "test": ["video_test_1"]}


def test_thumos14_is_read_from_its_published_files(tmp_path, thumos_database):
    root = write_corpus(tmp_path / "thumos", thumos_database, THUMOS_SPLITS)
    corpus = load_corpus("thumos14", root)
    assert {split: data["video_id"][:] for split, data in corpus.items()} == THUMOS_SPLITS
    assert corpus["train"].features["labels"].feature.names == list(THUMOS14_CLASSES)
    first, second = corpus["train"]
    assert first == {
        "video_id": "video_validation_1",
        "features": str(root / "train" / "video_validation_1.npy"),
        "duration": 16.0,
        "fps": 25.0,
        "frames_per_snippet": 16,
        "labels": [4, 7],
        "segments": [{"start": 1.0, "end": 2.0, "label": 7}, {"start": 1.0, "end": 2.0, "label": 4}],
        "subset": "validation",
    }
    assert second["duration"] == 15.5, "a duration in gt.json counts more than the number of features"
    assert load_corpus("thumos14", root, split="test").num_rows == 1


def test_subsets_follow_the_ids_where_gt_json_has_none(tmp_path, thumos_database, recwarn):
    for entry in thumos_database.values():
        del entry["subset"]
    root = write_corpus(tmp_path, thumos_database, THUMOS_SPLITS)
    assert load_corpus("thumos14", root)["train"].num_rows == 2
    assert not [warning for warning in recwarn if "another subset" in str(warning.message)]


def test_activitynet_evaluates_on_its_validation_subset(tmp_path):
    database = {
        "v_a": video("train", ("Mooping floor", 0, 2)),
        "v_b": video("training", ("Hitting a pinata", 0, 2)),
        "v_c": video("val", ("Mooping floor", 0, 2)),
        "v_d": video("validation", ("Hitting a pinata", 1, 2)),
        "v_e": video("testing"),
    }
    root = write_corpus(tmp_path, database, {"train": ["v_a", "v_b"], "test": ["v_c", "v_d"]})
    corpus = load_corpus("activitynet", root)
    assert {split: data["video_id"][:] for split, data in corpus.items()} == {
        "train": ["v_a", "v_b"],
        "validation": ["v_c", "v_d"],
    }
    assert corpus["train"].features["labels"].feature.names == list(ACTIVITYNET_CLASSES)
    assert corpus["validation"]["labels"][0] == [ACTIVITYNET_CLASSES.index("Mooping floor")]


def test_class_lists_are_complete_and_sorted_by_code_point():
    for classes, count in ((THUMOS14_CLASSES, 20), (ACTIVITYNET_CLASSES, 200)):
        assert len(set(classes)) == count and sorted(classes) == list(classes)
    assert {"Mooping floor", "Hitting a pinata", "Plataform diving"} <= set(ACTIVITYNET_CLASSES)


def test_all_missing_feature_files_are_listed_at_once(tmp_path):
    ids = [f"video_validation_{number}" for number in range(40)]
    database = {name: video("validation", ("Diving", 0, 1)) for name in [*ids, "video_test_1"]}
    root = write_corpus(tmp_path, database, {"train": ids, "test": ["video_test_1"]})
    missing = [*ids[3:], "video_test_1"]
    for name in missing:
        next(root.glob(f"*/{name}.npy")).unlink()
    with pytest.raises(FileNotFoundError, match=r"38 of 41 feature files are missing in ") as error:
        load_corpus("thumos14", root)
    assert all(f"{name}," in str(error.value) or f"{name};" in str(error.value) for name in missing)
    assert "video_validation_2," not in str(error.value)


def test_annotated_videos_that_no_split_lists_are_reported(tmp_path, thumos_database):
    thumos_database["video_test_9"] = video("test", ("Diving", 0, 1))
    root = write_corpus(tmp_path, thumos_database, THUMOS_SPLITS)
    with pytest.warns(UserWarning, match=r"1 of 2 annotated videos of split 'test' .* \(video_test_9\)"):
        load_corpus("thumos14", root)


def test_videos_of_another_subset_are_reported(tmp_path, thumos_database):
    thumos_database["video_validation_2"]["subset"] = "test"
    root = write_corpus(tmp_path, thumos_database, THUMOS_SPLITS)
    with pytest.warns(UserWarning, match=r"1 videos of split 'train' have another subset .*video_validation_2"):
        load_corpus("thumos14", root)


def test_segments_beyond_the_duration_are_a_warning_unless_told_otherwise(tmp_path, thumos_database):
    thumos_database["video_test_1"]["annotations"][0]["segment"] = [3, 700]
    root = write_corpus(tmp_path, thumos_database, THUMOS_SPLITS)
    with pytest.warns(UserWarning, match="video_test_1 ends at 16 s, its last segment at 700 s"):
        load_corpus("thumos14", root)
    with pytest.raises(ValueError, match="video_test_1 ends at 16 s"):
        load_corpus("thumos14", root, allow_out_of_duration=False)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            {"train": ["video_validation_1"] * 2, "test": ["video_test_1"]},
            r"video ids more than once \(video_validatio",
        ),
        ({"train": ["video_test_1"], "test": ["video_test_1"]}, r"in more than one split file .*\(video_test_1\)"),
        (
            {"train": ["video_validation_3"], "test": ["video_test_1"]},
            r"no entry in gt\.json .*did you mean 'video_val",
        ),
        ({"train": [], "test": ["video_test_1"]}, "split 'train' is empty"),
    ],
)
def test_mistakes_in_split_files_are_named(tmp_path, thumos_database, splits, message):
    root = write_corpus(tmp_path, thumos_database, splits)
    with pytest.raises(ValueError, match=message):
        load_corpus("thumos14", root)


def test_an_unknown_class_is_named_with_its_video_and_the_nearest(tmp_path, thumos_database):
    thumos_database["video_test_1"]["annotations"][0]["label"] = "Golf swing"
    root = write_corpus(tmp_path, thumos_database, THUMOS_SPLITS)
    with pytest.raises(ValueError, match=r"'Golf swing' \(did you mean 'GolfSwing'\?\) in video_test_1"):
        load_corpus("thumos14", root)


def test_a_folder_without_the_files_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="thumos14 needs data_dir: the folder with gt.json"):
        load_corpus("thumos14")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_corpus("thumos14", tmp_path / "nowhere")
    (tmp_path / "gt.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"has no split_train\.txt, split_test\.txt"):
        load_corpus("activitynet", tmp_path)


def test_a_folder_of_wtalc_files_points_to_the_converter(tmp_path):
    for name in ("videoname.npy", "segments.npy"):
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=r"scripts/convert_wtalc_annotations\.py"):
        load_corpus("thumos14", tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real files in ../shared/real/thumos14")
def test_the_real_thumos14_annotations_load_with_features_of_the_right_length(tmp_path):
    convert_wtalc_annotations(REAL, tmp_path)
    database = json.loads((tmp_path / "gt.json").read_text())["database"]
    for name, entry in database.items():
        folder = tmp_path / SPLIT_OF_SUBSET[entry["subset"]]
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{name}.npy", np.zeros((max(1, int(entry["duration"] * 25 / 16)), 1), dtype=np.float32))
    with pytest.warns(UserWarning) as caught:
        corpus = load_corpus("thumos14", tmp_path)
    assert [data.num_rows for data in corpus.values()] == [200, 212]
    assert [sum(map(len, data["segments"])) for data in corpus.values()] == [3007, 3358]
    sentences = [str(warning.message) for warning in caught]
    assert any("4 segments in 2 videos reach beyond" in sentence for sentence in sentences)
    assert any("26 segments in 3 videos reach beyond" in sentence for sentence in sentences)
