"""Folders of videos that nobody has labelled."""

import pytest

from hf_vidmodels.data.corpora import load_corpus

TASK = "motion-pretraining"


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def files(dataset, folder):
    return [row["path"].removeprefix(f"{folder}/") for row in dataset["video"]]


def test_all_videos_below_a_folder_are_learned_from_and_top_folders_may_be_splits(tmp_path):
    put(tmp_path, "b.mp4", "trip/day 1/a.webm", "validation/c.mp4", "notes.txt", "frames/1.jpg", "frames/2.jpg")
    corpus = load_corpus(tmp_path, task=TASK)
    assert files(corpus["train"], tmp_path) == ["b.mp4", "frames", "trip/day 1/a.webm"]
    assert files(corpus["validation"], tmp_path) == ["validation/c.mp4"]
    assert corpus["train"].column_names == ["video"]


def test_folders_of_classes_keep_their_classes(tmp_path):
    put(tmp_path, "train/jump/a.mp4", "train/run/b.mp4", "test/run/c.mp4")
    corpus = load_corpus(tmp_path, task=TASK)
    assert corpus["train"].features["label"].names == ["jump", "run"]
    assert corpus["test"]["label"] == [1]


def test_a_table_needs_no_column_of_labels(tmp_path):
    put(tmp_path, "a.mp4")
    (tmp_path / "metadata.csv").write_text("file_name\na.mp4\n")
    assert load_corpus(tmp_path, task=TASK)["train"].column_names == ["video"]
    with pytest.raises(ValueError, match="video-classification needs a column 'label'"):
        load_corpus(tmp_path, task="video-classification")


def test_a_folder_without_videos_is_refused(tmp_path):
    put(tmp_path, "notes.txt")
    with pytest.raises(FileNotFoundError, match="holds no video to learn from"):
        load_corpus(tmp_path, task=TASK)
