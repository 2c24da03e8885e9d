import json
from fractions import Fraction

import datasets
import numpy as np
import pytest
from PIL import Image

from feature_extraction_examples import tiny_extractor, write_moving_video
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.features.corpus_extraction import extract_corpus_features
from hf_vidmodels.data.video_writing import write_video

TEMPORAL = "temporal-action-localization"


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def put_features(root, *names, num_rows=25):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.zeros((num_rows, 3), dtype=np.float32))


def put_pictures(root, *names):
    for index, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 10, 3), 40 * index, dtype=np.uint8)).save(path)


def put_videos(root, *names, num_frames=20, fps=10):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, np.zeros((num_frames, 32, 32, 3), dtype=np.uint8), fps)


def put_lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


# --- untrimmed videos ---


def test_a_table_of_actions_with_a_features_folder(tmp_path):
    put_features(tmp_path, "features/a.npy", "features/b.npy")
    put_lines(
        tmp_path / "annotations.csv",
        "video_id,label,start,end,subset,duration",
        "a,dive,1,2,training,10",
        "a,golf,3,4,training,10",
        "b,golf,0,5,val,12.5",
    )
    corpus = load_corpus(tmp_path)
    assert corpus["train"][0] == {
        "video_id": "a",
        "features": str(tmp_path / "features" / "a.npy"),
        "duration": 10.0,
        "fps": None,
        "frames_per_snippet": None,
        "labels": [0, 1],
        "segments": [{"start": 1.0, "end": 2.0, "label": 0}, {"start": 3.0, "end": 4.0, "label": 1}],
        "subset": "training",
    }
    assert corpus["train"].features["labels"].feature.names == ["dive", "golf"]
    assert corpus["validation"]["video_id"][:] == ["b"]


def test_activitynet_style_json_with_features_in_split_folders_and_id_files(tmp_path):
    put_features(tmp_path, "train/a.npy", "test/b.npy")
    database = {
        name: {"duration": 9, "annotations": [{"label": "golf", "segment": [0, 1]}]} for name in ("a", "b", "left_out")
    }
    (tmp_path / "gt.json").write_text(json.dumps({"database": database}))
    put_lines(tmp_path / "split_train.txt", "a")
    put_lines(tmp_path / "split_test.txt", "b")
    with pytest.warns(UserWarning, match=r"1 annotated videos are in no split file .*\(left_out\)"):
        corpus = load_corpus(tmp_path)
    assert {split: data["video_id"][:] for split, data in corpus.items()} == {"train": ["a"], "test": ["b"]}
    assert corpus["test"]["features"][0] == str(tmp_path / "test" / "b.npy")


def test_rows_with_the_columns_of_the_task(tmp_path):
    put_features(tmp_path, "f/a.npy", "f/b.npy", num_rows=50)
    rows = [
        {"video_id": "a", "features": "f/a.npy", "fps": 25, "frames_per_snippet": 16, "labels": ["golf"]},
        {
            "video_id": "b",
            "features": "f/b.npy",
            "duration": 9.5,
            "segments": [{"start": 1, "end": 2, "label": "dive"}],
        },
    ]
    rows[1]["split"] = "test"
    put_lines(tmp_path / "metadata.jsonl", *rows)
    with pytest.warns(UserWarning, match=r"split 'test': 1 classes have no example in split 'train' \(dive\)"):
        corpus = load_corpus(tmp_path)
    assert corpus["train"][0]["duration"] == 50 * 16 / 25
    assert corpus["test"][0]["labels"] == [0] and corpus["test"][0]["duration"] == 9.5

    put_lines(
        tmp_path / "metadata.csv",
        "video_id,features,duration,labels,segments,split",
        'a,f/a.npy,32,golf;dive,"[{""start"": 1, ""end"": 2, ""label"": ""dive""}]",train',
    )
    (tmp_path / "metadata.jsonl").unlink()
    row = load_corpus(tmp_path)["train"][0]
    assert row["labels"] == [0, 1] and row["segments"] == [{"start": 1.0, "end": 2.0, "label": 0}]


def test_rgb_and_flow_can_lie_in_two_folders(tmp_path):
    put_features(tmp_path, "features_rgb/a.npy", "features_flow/a.npy")
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end,duration", "a,golf,0,1,10")
    assert load_corpus(tmp_path)["train"][0]["features"] == [
        str(tmp_path / "features_rgb" / "a.npy"),
        str(tmp_path / "features_flow" / "a.npy"),
    ]


def test_videos_alone_are_enough_and_give_the_duration(tmp_path):
    put_videos(tmp_path, "videos/a.mp4")
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end", "a,golf,0,1")
    row = load_corpus(tmp_path)["train"][0]
    assert row["video"] == str(tmp_path / "videos" / "a.mp4")
    assert row["duration"] == pytest.approx(2.0) and "features" not in row


def test_extracted_features_tell_their_rate_and_so_the_duration(tmp_path):
    write_moving_video(tmp_path / "clips" / "a.mp4", 48)
    extract_corpus_features(tmp_path / "clips", tiny_extractor(), tmp_path / "features")
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end", "a,golf,0,1")
    row = load_corpus(tmp_path)["train"][0]
    assert (row["fps"], row["frames_per_snippet"], row["duration"]) == (25.0, 8, 1.92)


def test_a_table_can_lie_apart_from_its_features(tmp_path):
    put_features(tmp_path / "big_disk", "features/a.npy")
    table = put_lines(tmp_path / "my.csv", "video_id,label,start,end,duration", "a,golf,0,1,10")
    corpus = load_corpus(table, data_dir=tmp_path / "big_disk", split="train")
    assert corpus["features"][0] == str(tmp_path / "big_disk" / "features" / "a.npy")


def test_all_missing_features_are_listed_at_once(tmp_path):
    put_features(tmp_path, "features/b.npy")
    rows = [f"{name},golf,0,1,10" for name in "abcd"]
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end,duration", *rows)
    with pytest.raises(FileNotFoundError, match=r"3 of 4 feature files are missing in .*: a, c, d; extract them"):
        load_corpus(tmp_path)
    (tmp_path / "features" / "b.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"4 of 4 feature or video files are missing in .*: a, b, c, d;"):
        load_corpus(tmp_path)


def test_a_duration_that_cannot_be_known_says_what_to_add(tmp_path):
    put_features(tmp_path, "features/a.npy")
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end", "a,golf,0,1")
    with pytest.raises(ValueError, match=r"1 videos have no duration \(a\); add `duration` .* `fps` and `frames_per"):
        load_corpus(tmp_path)


def test_a_video_whose_clock_cannot_be_true_is_refused(tmp_path):
    put_videos(tmp_path, "videos/a.mp4", num_frames=3, fps=Fraction(1, 1000))
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end", "a,golf,0,1")
    with pytest.raises(ValueError, match=r"a\.mp4 declares 0\.8 hours for 3 frames; .* add its true `duration`"):
        load_corpus(tmp_path)
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end,duration", "a,golf,0,1,9")
    assert load_corpus(tmp_path)["train"]["duration"][:] == [9.0]


def test_bad_times_and_repeated_videos_are_errors_of_an_own_corpus(tmp_path):
    put_features(tmp_path, "features/a.npy")
    row = {"video_id": "a", "duration": 10, "segments": [{"start": 3, "end": 2, "label": "golf"}]}
    late = row | {"segments": [{"start": 3, "end": 12, "label": "golf"}]}
    put_lines(tmp_path / "metadata.jsonl", row, late)
    with pytest.raises(ValueError) as error:
        load_corpus(tmp_path)
    for part in (
        "occur more than once (a)",
        "end before they start (a [3, 2])",
        "reach beyond the end of their video",
    ):
        assert part in str(error.value)
    put_lines(tmp_path / "metadata.jsonl", late)
    with pytest.raises(ValueError, match="a ends at 10 s, its last segment at 12 s"):
        load_corpus(tmp_path)
    with pytest.warns(UserWarning, match="a ends at 10 s"):
        load_corpus(tmp_path, allow_out_of_duration=True)


def test_classes_txt_fixes_the_classes_and_their_order(tmp_path):
    put_features(tmp_path, "features/a.npy")
    put_lines(tmp_path / "classes.txt", "tennis", "golf")
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end,duration", "a,golf,0,1,10")
    assert load_corpus(tmp_path)["train"]["labels"][0] == [1]
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end,duration", "a,glof,0,1,10")
    with pytest.raises(ValueError, match=r"unknown classes: 'glof' \(did you mean 'golf'\?\) in a; there are 2 known"):
        load_corpus(tmp_path)
    put_lines(tmp_path / "classes.txt", "tennis", "tennis")
    with pytest.raises(ValueError, match=r"classes\.txt must name each class once, got tennis"):
        load_corpus(tmp_path)


def test_mistakes_in_id_files_are_named(tmp_path):
    put_features(tmp_path, "train/a.npy")
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end,duration", "a,golf,0,1,10")
    put_lines(tmp_path / "split_train.txt", "a", "b")
    with pytest.raises(ValueError, match=r"split_train\.txt lists 1 videos without annotations \(b\)"):
        load_corpus(tmp_path)
    put_lines(tmp_path / "split_train.txt", "a")
    put_lines(tmp_path / "split_test.txt", "a")
    with pytest.raises(ValueError, match=r"split_test\.txt lists 1 videos of another split file too \(a\)"):
        load_corpus(tmp_path)


def test_a_misspelt_column_of_a_table_is_reported(tmp_path):
    put_features(tmp_path, "a.npy")
    row = {"video_id": "a", "feature": "a.npy", "duration": 10, "labels": ["golf"]}
    put_lines(tmp_path / "metadata.jsonl", row)
    with (
        pytest.warns(UserWarning, match=r"'feature' is not read \(did you mean 'features'\?\)"),
        pytest.raises(FileNotFoundError),
    ):
        load_corpus(tmp_path)


# --- other tasks ---


def test_pictures_with_classes_in_a_table(tmp_path):
    put_pictures(tmp_path, "pictures/1.png", "pictures/2.png")
    put_lines(
        tmp_path / "metadata.jsonl",
        {"file_name": "pictures/1.png", "label": "cat"},
        {"file_name": "pictures/2.png", "label": None},
    )
    corpus = load_corpus(tmp_path)
    assert corpus["train"][0]["image"].size == (10, 8)
    assert corpus["train"]["label"][:] == [0, None]


def test_a_table_for_each_split(tmp_path):
    put_pictures(tmp_path, "1.png", "2.png")
    put_lines(tmp_path / "train.csv", "image,label", "1.png,dog", "2.png,cat")
    put_lines(tmp_path / "val.csv", "image,label", "1.png,cat")
    corpus = load_corpus(tmp_path)
    assert {split: data["label"][:] for split, data in corpus.items()} == {"train": [1, 0], "validation": [0]}
    put_lines(tmp_path / "validation.csv", "image,label")
    with pytest.raises(ValueError, match=r"several tables of split 'validation': .*val\.csv, .*validation\.csv"):
        load_corpus(tmp_path)
    (tmp_path / "val.csv").unlink()
    with pytest.raises(ValueError, match="split 'validation' is empty"):
        load_corpus(tmp_path)


def test_metadata_in_split_folders_has_paths_relative_to_them(tmp_path):
    put_pictures(tmp_path, "train/1.png", "test/1.png")
    for split in ("train", "test"):
        put_lines(tmp_path / split / "metadata.csv", "file_name,label", "1.png,cat")
    corpus = load_corpus(tmp_path, task="image-classification")
    assert [data[0]["image"].getpixel((0, 0))[0] for data in corpus.values()] == [0, 40]


def test_videos_with_one_or_several_classes_stay_files(tmp_path):
    put_videos(tmp_path, "1.mp4", "2.mp4")
    put_lines(tmp_path / "metadata.csv", "file_name,label", "1.mp4,jump", "2.mp4,run")
    row = load_corpus(tmp_path)["train"][1]
    assert row["video"]["path"] == str(tmp_path / "2.mp4") and row["label"] == 1
    put_lines(tmp_path / "metadata.csv", "file_name,label", "1.mp4,jump;run", "2.mp4,run")
    assert load_corpus(tmp_path)["train"]["label"][:] == [[0, 1], [1]]


def test_objects_boxes_and_people_are_typed(tmp_path):
    put_pictures(tmp_path, "1.png")
    put_videos(tmp_path, "1.mp4")
    objects = [{"bbox": [1, 2, 3, 4], "category": "cat"}]
    put_lines(tmp_path / "masks" / "metadata.jsonl", {"image": "../1.png", "image_id": 7, "objects": objects})
    row = load_corpus(tmp_path / "masks")["train"][0]
    assert row["image_id"] == "7" and row["objects"][0]["bbox"] == [1.0, 2.0, 3.0, 4.0]

    put_lines(tmp_path / "boxes" / "metadata.csv", "image,label,bbox", '../1.png,cat,"[1, 2, 3, 4]"')
    assert load_corpus(tmp_path / "boxes")["train"][0]["bbox"] == [1.0, 2.0, 3.0, 4.0]

    person = {
        "video_id": "a",
        "video": "../1.mp4",
        "timestamp": 1,
        "boxes": [[0, 0, 0.5, 1]],
        "labels": [["run", "go"]],
    }
    put_lines(tmp_path / "people" / "metadata.jsonl", person)
    corpus = load_corpus(tmp_path / "people", task="action-detection")
    assert corpus["train"][0]["labels"] == [[1, 0]]
    assert corpus["train"].features["labels"].feature.feature.names == ["go", "run"]


def test_what_datasets_saved_is_loaded(tmp_path):
    put_features(tmp_path, "features/a.npy")
    put_lines(tmp_path / "annotations.csv", "video_id,label,start,end,duration", "a,golf,0,1,10")
    corpus = load_corpus(tmp_path)
    corpus.save_to_disk(tmp_path / "saved")
    assert load_corpus(tmp_path / "saved")["train"][0] == corpus["train"][0]
    (tmp_path / "parquet").mkdir()
    corpus["train"].to_parquet(tmp_path / "parquet" / "train.parquet")
    assert load_corpus(tmp_path / "parquet", split="train")[0] == corpus["train"][0]


# --- bad input ---


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "metadata.jsonl",
            '{"image": "1.png", "label": "cat"}\n{"image"',
            r"metadata\.jsonl, line 2 is not valid JSON",
        ),
        ("metadata.jsonl", "[1]", "line 1: an example must be an object"),
        ("metadata.json", '"x"', r"metadata\.json must hold a list of examples, got str"),
        ("metadata.csv", "image,label\n1.png\n", "line 2: 1 cells where the header has 2"),
        ("metadata.jsonl", '{"image": "1.png", "label": [1.5]}', "column 'label' must be the name of a class"),
        ("metadata.jsonl", '{"image": "1.png", "label": " "}', "column 'label' must be the name of a class"),
        ("metadata.jsonl", '{"image": ["1.png"], "label": "cat"}', r"column 'image' must be text, got \['1\.png'\]"),
        (
            "metadata.jsonl",
            '{"image": "1.png", "label": "a", "label": "b"}',
            "line 1 has these entries more than once: l",
        ),
        ("metadata.jsonl", '{"image": "1.png"} {}', r"line 1 is not valid JSON \(Extra data"),
        ("metadata.json", "[" * 100_000, r"metadata\.json is not valid JSON \(it is nested too deeply\)"),
        ("metadata.csv", "image;label\n1.png;cat\n", r"metadata\.csv has ';' between its cells; save it with commas"),
        ("metadata.csv", f"image,label\n1.png,{'x' * 200_000}\n", r"line 2: field larger than field limit"),
        ("metadata.jsonl", '{"image": null, "label": "cat"}', "1 examples in .* have no image"),
        (
            "metadata.jsonl",
            '{"image": "1.png", "label": "a", "bbox": [1, "x", 3, 4]}',
            "line 1, column 'bbox': the val",
        ),
        (
            "metadata.jsonl",
            '{"image": "1.png", "label": "a", "bbox": [1, "2", 3, 4]}',
            "the value must be a number, got the text '2'",
        ),
        (
            "metadata.jsonl",
            '{"image": "1.png", "label": "a", "bbox": [1, 2, 3]}',
            r"must have 4 values, got \[1, 2, 3",
        ),
        ("metadata.jsonl", '{"image": "1.png", "label": "a", "bbox": [1, true, 3, 4]}', "must be a number, got True"),
        ("metadata.csv", 'image,label,bbox\n1.png,a,"[1, ""2"", 3, 4]"\n', "must be a number, got the text '2'"),
        (
            "metadata.jsonl",
            f'{{"image": "1.png", "label": "a", "bbox": [1, 1{"0" * 400}, 3, 4]}}',
            r"the value must be a number, got 10+\.\.\.",
        ),
        (
            "metadata.jsonl",
            '{"image_id": 1, "image": "1.png", "objects": [{"id": 1.5, "bbox": [1, 1, 2, 2], "category": "a"}]}',
            r"'objects'\.id: the value must be a whole number, got 1\.5",
        ),
        ("metadata.jsonl", '{"text": "1.png"}', r"metadata\.jsonl: the columns text are those of no task"),
        ("metadata.csv", "image,label\n", r"there is no example in .*metadata\.csv"),
        ("metadata.json", "{}", r"there is no example in .*metadata\.json"),
        ("metadata.csv", 'image,label,bbox\n\n1.png,"a\nb",\n1.png,a,1;x;3;4\n', "line 5, column 'bbox': the val"),
        ("metadata.jsonl", '{"image": "1.png", "label": "a", "split": ["train"]}', "line 1: a split is named by text"),
        ("metadata.jsonl", '{"image_id": 1, "image": "1.png", "objects": [3]}', "must be an object with id, bbox"),
    ],
)
def test_mistakes_in_tables_are_named_with_their_place(tmp_path, name, text, message):
    put_pictures(tmp_path, "1.png")
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_corpus(tmp_path)


def test_all_missing_pictures_are_listed_at_once(tmp_path):
    put_pictures(tmp_path, "2.png")
    put_lines(tmp_path / "metadata.csv", "image,label", "1.png,cat", "2.png,cat", "3.png,cat")
    with pytest.raises(FileNotFoundError, match=r"2 files of the column 'image' are missing: .*1\.png, .*3\.png"):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("annotations.csv", "video_id,label,start,end,duration\na,gölf,0,1,10\n"),
        ("annotations.json", '{"database": {"a": {"duration": 10, "labels": ["gölf"]}}}'),
        ("metadata.jsonl", '{"video_id": "a", "duration": 10, "labels": ["gölf"]}\n'),
    ],
)
def test_tables_are_read_in_the_encodings_that_name_themselves_and_others_are_told(tmp_path, name, text):
    put_features(tmp_path, "features/a.npy")
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / name).write_text(text, encoding=encoding)
        assert load_corpus(tmp_path)["train"].features["labels"].feature.names == ["gölf"]
    (tmp_path / name).write_text(text, encoding="cp1252")
    with pytest.raises(ValueError, match=rf"{name} is not UTF-8 text .*save it as UTF-8"):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ("tool", "name", "content"),
    [
        ("VGG Image Annotator", "annotations.json", {"_via_settings": {}, "_via_img_metadata": {}}),
        ("VGG Image Annotator", "annotations.json", {"a.png12": {"filename": "a.png", "size": 12, "regions": []}}),
        ("labelme", "annotations.json", {"version": "5", "flags": {}, "shapes": [], "imagePath": "a.png"}),
        ("Label Studio", "metadata.json", [{"id": 1, "data": {"image": "a.png"}, "annotations": []}]),
        ("COCO results", "gt.json", [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}]),
    ],
)
def test_files_of_other_labelling_tools_are_named(tmp_path, tool, name, content):
    put_pictures(tmp_path, "images/a.png")
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"{name} is a file of {tool}.*, which is not read; export or convert"):
        load_corpus(tmp_path)


def test_tables_for_splits_are_found_in_any_case(tmp_path):
    put_pictures(tmp_path, "1.png", "2.png", "Dev/3.png")
    put_lines(tmp_path / "Train.CSV", "image,label", "1.png,cat")
    put_lines(tmp_path / "TEST.csv", "image,label", "2.png,cat")
    put_lines(tmp_path / "Dev" / "metadata.csv", "image,label", "3.png,cat")
    corpus = load_corpus(tmp_path)
    assert {split: data.num_rows for split, data in corpus.items()} == {"train": 1, "validation": 1, "test": 1}


def test_a_picture_that_two_tables_name_is_told(tmp_path):
    put_pictures(tmp_path, "1.png", "2.png")
    (tmp_path / "3.png").symlink_to(tmp_path / "2.png")
    put_lines(tmp_path / "train.csv", "image,label", "1.png,cat", "2.png,cat")
    put_lines(tmp_path / "test.csv", "image,label", "3.png,cat")
    with pytest.warns(UserWarning, match=r"1 files are in split 'train' and in split 'test' \(.*2\.png\)"):
        load_corpus(tmp_path)


def test_people_in_folders_of_frames_with_proposals_and_tubes(tmp_path):
    put_pictures(tmp_path, "film/00902/00001.jpg", "film/00903/00001.jpg", "frames/1.jpg")
    rows = [
        {
            "video_id": "film",
            "video": "film",
            "timestamp": 902,
            "boxes": [[0, 0, 0.5, 1]],
            "labels": [["run"]],
            "actor_ids": [7],
            "starts": [900.5],
            "ends": [None],
            "proposals": [[0, 0, 1, 1], [0.1, 0.1, 0.2, 0.3]],
            "proposal_scores": [0.9, 0.1],
            "excluded": False,
        },
        {"video_id": "b", "video": "frames", "timestamp": 0, "boxes": [], "labels": [], "fps": 25, "excluded": True},
    ]
    put_lines(tmp_path / "metadata.jsonl", *rows)
    train = load_corpus(tmp_path, split="train")
    assert train["video"][:] == [str(tmp_path / "film"), str(tmp_path / "frames")]
    assert train[0]["actor_ids"] == [7] and train[0]["ends"] == [None] and train["excluded"][:] == [False, True]
    (tmp_path / "frames" / "1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 files of the column 'video' are missing: .*frames"):
        load_corpus(tmp_path)


def test_a_task_whose_columns_are_not_there_names_them(tmp_path):
    put_pictures(tmp_path, "1.png")
    put_lines(tmp_path / "metadata.csv", "image,label", "1.png,cat")
    with pytest.raises(ValueError, match="is a corpus for image-classification, not .* needs a column 'bbox'"):
        load_corpus(tmp_path, task="object-localization")
    with pytest.raises(ValueError, match="is a corpus for image-classification, not for temporal"):
        load_corpus(tmp_path, task=TEMPORAL)


def test_a_folder_with_nothing_to_read_says_what_could_be_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no table of examples \(metadata\.jsonl\|csv\|json.*docs/data\.md"):
        load_corpus(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"notes\.txt is not a table; use one of \.jsonl, \.csv, \.json"):
        load_corpus(tmp_path / "notes.txt")


def test_tables_from_windows_part_folders_by_backslashes(tmp_path):
    put_pictures(tmp_path, "cats/1.png", "dogs/2.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\ncats\\1.png,cat\ndogs\\2.png,dog\n")
    dataset = load_corpus(tmp_path, task="image-classification")["train"]
    files = [example["image"]["path"] for example in dataset.cast_column("image", datasets.Image(decode=False))]
    assert files == [str(tmp_path / "cats" / "1.png"), str(tmp_path / "dogs" / "2.png")]


def test_a_backslash_in_the_name_of_a_file_stays(tmp_path):
    put_pictures(tmp_path, "a\\b.png", "a/b.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\na\\b.png,odd\na/b.png,even\n")
    dataset = load_corpus(tmp_path, task="image-classification")["train"]
    files = [example["image"]["path"] for example in dataset.cast_column("image", datasets.Image(decode=False))]
    assert files == [str(tmp_path / "a\\b.png"), str(tmp_path / "a" / "b.png")]


def test_annotated_videos_may_name_features_as_on_windows(tmp_path):
    put_features(tmp_path, "i3d/v1.npy")
    entry = {"subset": "train", "duration": 10.0, "annotations": [{"label": "jump", "segment": [1, 2]}]}
    content = {"database": {"v1": entry | {"features": "i3d\\v1.npy", "fps": 25, "frames_per_snippet": 16}}}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert load_corpus(tmp_path)["train"]["features"][:] == [str(tmp_path / "i3d" / "v1.npy")]
