import os
import pickle

import numpy as np
import pytest

from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.published.ava_classes import AVA_CLASSES, AVA_GROUPS
from hf_vidmodels.data.published.tube_annotations import convert_tube_annotations
from hf_vidmodels.data.video_writing import write_video

NAMES = list(AVA_CLASSES.values())
TRAIN = """film,0902,0.1,0.2,0.3,0.4,12,0
film,0902,0.1,0.2,0.3,0.4,80,0
film,0902,0.5,0.2,0.7,0.4,2,1
film,0903,0.1,0.2,0.3,0.4,12,0
film,0904,0.1,0.2,0.3,0.4,12,0
"""


@pytest.fixture
def ava(tmp_path):
    """AVA with one film as folders of seconds."""
    (tmp_path / "ava_train_v2.2.csv").write_text(TRAIN)
    (tmp_path / "ava_train_excluded_timestamps_v2.2.csv").write_text("film,0903\n")
    (tmp_path / "frames" / "film" / "00902").mkdir(parents=True)
    return tmp_path


def test_ava_has_a_row_for_every_second_with_people(ava):
    corpus = load_corpus("ava_v2.2", ava)
    rows = corpus["train"]
    assert rows["timestamp"][:] == [902, 903, 904]
    assert rows["excluded"][:] == [False, True, False]
    assert rows[0]["boxes"] == [[0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.7, 0.4]]
    assert [[NAMES[label] for label in labels] for labels in rows[0]["labels"]] == [
        ["stand", "watch (a person)"],
        # Crawling is one of the 20 actions that are not evaluated; who crawls is a person all the same.
        [],
    ]
    assert rows[0]["actor_ids"] == [0, 1]
    assert rows[0]["video"] == str(ava / "frames" / "film")
    assert rows.features["labels"].feature.feature.names == NAMES
    assert len(NAMES) == 60 and sum(len(group) for group in AVA_GROUPS.values()) == 60


def test_ava_is_validated_on_every_second(ava):
    (ava / "ava_val_v2.2.csv").write_text("other,1000,0.1,0.2,0.3,0.4,12,0\n")
    (ava / "frames" / "other" / "00902").mkdir(parents=True)
    rows = load_corpus("ava_v2.2", ava, split="validation")
    assert rows["timestamp"][:] == list(range(902, 1799))
    assert [len(boxes) for boxes in rows["boxes"]] == [time == 1000 for time in range(902, 1799)]


def test_boxes_without_area_are_left_out_with_a_warning(ava):
    (ava / "ava_train_v2.2.csv").write_text(TRAIN + "film,0904,0.5,0.2,0.5,0.4,12,1\n")
    with pytest.warns(UserWarning, match=r"1 rows of .*ava_train_v2\.2\.csv have boxes without area: 6"):
        rows = load_corpus("ava_v2.2", ava, split="train")
    assert rows[2]["boxes"] == [[0.1, 0.2, 0.3, 0.4]]


def test_boxes_of_a_person_detector_are_proposals(ava):
    (ava / "ava_train_predicted_boxes.csv").write_text(
        "film,0902,0.1,0.2,0.3,0.4,,0.95\nfilm,0902,0.1,0.2,0.3,0.4,,0.9\nfilm,0904,0,0,1,1,,0.5\n"
    )
    rows = load_corpus("ava_v2.2", ava, split="train")
    assert rows["proposals"][:] == [[[0.1, 0.2, 0.3, 0.4]], [], [[0.0, 0.0, 1.0, 1.0]]]
    assert rows["proposal_scores"][:] == [[0.95], [], [0.5]]


def test_films_cut_to_the_annotated_quarter_begin_at_second_900(ava):
    os.rename(ava / "frames", ava / "unused")
    (ava / "videos").mkdir()
    write_video(ava / "videos" / "film.mp4", np.zeros((20, 32, 32, 3), np.uint8), 4)
    rows = load_corpus("ava_v2.2", ava, split="train")
    assert rows["timestamp"][:] == [2, 3, 4]


def test_numbered_frames_of_ava_are_thirty_a_second_from_second_900(ava):
    (ava / "frames" / "film" / "00902").rmdir()
    (ava / "frames" / "film" / "film_000001.jpg").touch()
    rows = load_corpus("ava_v2.2", ava, split="train")
    assert rows["timestamp"][:] == [2, 3, 4] and rows["fps"][:] == [30, 30, 30]


def test_what_is_wrong_with_a_folder_of_ava_is_said(ava, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no ava_train_v2\.1\.csv or ava_val_v2\.1\.csv"):
        load_corpus("ava_v2.1", ava)
    with pytest.raises(ValueError, match="give its data_dir"):
        load_corpus("ava_v2.1")
    os.rename(ava / "frames", ava / "unused")
    with pytest.raises(FileNotFoundError, match="1 videos of ava_v2.2, split 'train', are missing: film; give"):
        load_corpus("ava_v2.2", ava)
    os.rename(ava / "unused", ava / "frames")
    (ava / "ava_action_list_v2.2_for_activitynet_2019.pbtxt").write_text('item { name: "sit" id: 1 }')
    with pytest.raises(ValueError, match="names action 1 'sit', not 'bend/bow"):
        load_corpus("ava_v2.2", ava)
    (ava / "ava_action_list_v2.2_for_activitynet_2019.pbtxt").unlink()
    (ava / "ava_train_v2.2.csv").write_text(TRAIN + "film,0905,0.1,0.2,0.3,0.4,81,0\n")
    with pytest.raises(ValueError, match="row 6: AVA's actions are 1 to 80, got 81"):
        load_corpus("ava_v2.2", ava)
    for person in ("0.5", "1e300"):
        (ava / "ava_train_v2.2.csv").write_text(f"{TRAIN}film,0905,0.1,0.2,0.3,0.4,80,{person}\n")
        with pytest.raises(ValueError, match="row 6: the person must be a whole number"):
            load_corpus("ava_v2.2", ava)
    (ava / "ava_train_v2.2.csv").write_text("")
    with pytest.raises(ValueError, match=r"the annotations of ava_v2\.2, split 'train', are empty"):
        load_corpus("ava_v2.2", ava)


TUBE = np.array([[2, 32, 24, 96, 120], [3, 64, 24, 128, 120], [4, 96, 24, 330, 250]], dtype=np.float32)


def tube_pickle():
    return {
        "labels": ["Basketball", "Biking"],
        "train_videos": [["Biking/v_a"]],
        "test_videos": [["Biking/v_b"]],
        "nframes": {"Biking/v_a": 5, "Biking/v_b": 5},
        "resolution": {"Biking/v_a": (240, 320), "Biking/v_b": (240, 320)},
        "gttubes": {"Biking/v_a": {1: [TUBE, TUBE[:2]]}, "Biking/v_b": {1: [TUBE]}},
    }


@pytest.fixture
def ucf(tmp_path):
    """UCF101-24 with the pickle beside numbered frames."""
    (tmp_path / "UCF101v2-GT.pkl").write_bytes(pickle.dumps(tube_pickle(), protocol=2 + 2))
    for name in ("v_a", "v_b"):
        (tmp_path / "rgb-images" / "Biking" / name).mkdir(parents=True)
        (tmp_path / "rgb-images" / "Biking" / name / "00001.jpg").touch()
    return tmp_path


def test_ucf24_has_a_row_for_every_frame_with_its_tubes(ucf):
    with pytest.raises(FileNotFoundError, match=r"convert them: python scripts/convert_tube_annotations\.py"):
        load_corpus("ucf101_24", ucf)
    convert_tube_annotations(ucf / "UCF101v2-GT.pkl", ucf / "UCF101v2-GT.json")
    corpus = load_corpus("ucf101_24", ucf)
    rows = corpus["train"]
    assert [len(boxes) for boxes in rows["boxes"]] == [0, 2, 2, 1, 0]
    assert rows[1]["boxes"][0] == [0.1, 0.1, 0.3, 0.5]
    assert rows[3]["boxes"][0][2:] == [1.0, 1.0]
    assert rows[1]["actor_ids"] == [0, 1] and rows[1]["labels"] == [[1], [1]]
    assert rows[1]["starts"] == [0.04, 0.04] and rows[1]["ends"] == [4 / 25, 3 / 25]
    assert rows["timestamp"][:] == [0, 0.04, 0.08, 0.12, 0.16] and rows["keyframe"][:] == [0, 1, 2, 3, 4]
    assert rows["fps"][:] == [25] * 5 and len(corpus["test"]) == 5


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    (tmp_path / "UCF101v2-GT.pkl").write_bytes(pickle.dumps({**tube_pickle(), "extra": Evil()}, protocol=4))
    with pytest.raises(ValueError, match=r"the pickle .* is refused: it wants to call .*system"):
        convert_tube_annotations(tmp_path / "UCF101v2-GT.pkl", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gttubes": {"Biking/v_a": {1: [TUBE[::-1]]}}}, "a tube of Biking/v_a must be .* ascending frames"),
        ({"labels": None}, "has no 'labels'"),
    ],
)
def test_annotations_of_another_layout_are_refused(tmp_path, change, message):
    content = {name: value for name, value in {**tube_pickle(), **change}.items() if value is not None}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(ValueError, match=message):
        convert_tube_annotations(tmp_path / "a.pkl", tmp_path / "a.json")


def test_only_lists_of_videos_take_a_folder_of_media(ava):
    with pytest.raises(ValueError, match=r"media_dir and skip_missing_files are for .*ava_v2\.2"):
        load_corpus("embedded/tubes", media_dir=ava)
    os.rename(ava / "frames", ava / "elsewhere")
    (ava / "media").mkdir()
    os.rename(ava / "elsewhere", ava / "media" / "frames")
    assert len(load_corpus("ava_v2.2", ava, media_dir=ava / "media")["train"]) == 3
