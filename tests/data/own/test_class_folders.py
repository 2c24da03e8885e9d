import os
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.processing.media_suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES


def put(root, *names):
    """Put pictures and videos; other files hold text."""
    for index, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg"):
            Image.fromarray(np.full((8, 10, 3), 40 * index % 256, dtype=np.uint8)).save(path)
        elif path.suffix == ".mp4":
            write_video(path, np.zeros((2, 16, 16, 3), dtype=np.uint8), 10)
        else:
            path.write_text("nothing")
    return root


def rows(corpus):
    """The classes of each split by file, as the folder below the split names them."""
    found = {}
    for split, data in corpus.items():
        names = data.features["label"].names
        column = "image" if "image" in data.features else "video"
        paths = data.data.column(column).to_pylist()
        labels = data["label"][:]
        found[split] = {
            os.path.basename(path["path"]): None if label is None else names[label]
            for path, label in zip(paths, labels, strict=True)
        }
    return found


@pytest.fixture(autouse=True)
def nothing_is_said_without_a_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def test_folders_of_classes(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/dog/3.png", "test/cat/4.png")
    corpus = load_corpus(tmp_path)
    assert corpus["train"].features["label"].names == ["cat", "dog"]
    assert rows(corpus) == {"train": {"1.png": "cat", "2.png": "dog"}, "test": {"4.png": "cat", "3.png": "dog"}}
    assert corpus["train"][0]["image"].size == (10, 8)


def test_videos_are_not_decoded(tmp_path):
    corpus = load_corpus(put(tmp_path, "jump/1.mp4", "run/1.mp4"))
    assert corpus["train"][0] == {"video": {"path": str(tmp_path / "jump" / "1.mp4"), "bytes": None}, "label": 0}


@pytest.mark.parametrize(
    ("written", "split"),
    [("Train", "train"), ("TRAINING", "train"), ("Val", "validation"), ("valid", "validation"), ("DEV", "validation")]
    + [("Test", "test"), ("testing", "test")],
)
def test_splits_are_written_in_any_case(tmp_path, written, split):
    put(tmp_path, f"{written}/cat/1.png", f"{written}/dog/2.png")
    assert rows(load_corpus(tmp_path)) == {split: {"1.png": "cat", "2.png": "dog"}}


def test_a_split_is_a_whole_folder_name(tmp_path):
    put(tmp_path, "speed test/my_test.mp4", "train ride/video_validation_01.mp4", "retraining/a.mp4")
    found = {"my_test.mp4": "speed test", "video_validation_01.mp4": "train ride", "a.mp4": "retraining"}
    assert rows(load_corpus(tmp_path)) == {"train": found}


def test_a_class_may_be_called_like_a_split(tmp_path):
    put(tmp_path / "flat", "train/1.png", "plane/2.png")
    assert rows(load_corpus(tmp_path / "flat")) == {"train": {"1.png": "train", "2.png": "plane"}}
    put(tmp_path / "split", "train/train/1.png", "train/test/2.png", "test/train/3.png")
    assert rows(load_corpus(tmp_path / "split")) == {
        "train": {"1.png": "train", "2.png": "test"},
        "test": {"3.png": "train"},
    }


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("train/steam/1.png", "plane/2.png"), r"called like splits \(train\) beside others \(plane\)"),
        (("cat/train/1.png", "cat/test/2.png"), "the split 't(est|rain)' below 'cat'; give .*cat if its folders"),
        (("pets/train/cat/1.png", "pets/test/cat/2.png"), "give .*/pets if its folders are the splits"),
        (("val/cat/1.png", "Validation/cat/2.png"), "several folders of one split: Validation, val"),
        (("train/1.png", "test/2.png"), "class folders in .* hold no|no folder of a class that holds examples"),
        (("cat/1.png", "jump/1.mp4"), r"1 pictures \(cat/1\.png, \.\.\.\) and 1 videos \(jump/1\.mp4, \.\.\.\); say"),
    ],
)
def test_what_has_two_meanings_is_refused(tmp_path, names, complaint):
    with pytest.raises(ValueError, match=complaint):
        load_corpus(put(tmp_path, *names))


def test_the_folder_below_the_split_is_the_class_however_deep_its_files_lie(tmp_path):
    put(tmp_path, "train/jump/s1/a.mp4", "train/jump/s2/t3/b.mp4", "train/run/c.mp4")
    assert rows(load_corpus(tmp_path)) == {"train": {"a.mp4": "jump", "b.mp4": "jump", "c.mp4": "run"}}


def test_folders_of_frames_are_pictures_or_one_video_as_the_task_says(tmp_path):
    put(tmp_path, "jump/0001/img_1.png", "jump/0001/img_2.png", "run/0002/img_3.png")
    pictures = {"img_1.png": "jump", "img_2.png": "jump", "img_3.png": "run"}
    assert rows(load_corpus(tmp_path)) == {"train": pictures}
    assert rows(load_corpus(tmp_path, task="video-classification")) == {"train": {"0001": "jump", "0002": "run"}}


def test_every_suffix_that_is_known_is_read_in_either_case(tmp_path):
    for number, suffix in enumerate(sorted(VIDEO_SUFFIXES)):
        put(tmp_path / "videos", f"jump/{number}{suffix}", f"run/{number}{suffix.upper()}")
    corpus = load_corpus(tmp_path / "videos")
    assert corpus["train"].num_rows == 2 * len(VIDEO_SUFFIXES) and len(VIDEO_SUFFIXES) > 20
    for number, suffix in enumerate(sorted(PICTURE_SUFFIXES)):
        put(tmp_path / "pictures", f"cat/{number}_{suffix}".replace(f"_{suffix}", f".x{suffix.upper()}"))
    assert load_corpus(tmp_path / "pictures")["train"].num_rows == len(PICTURE_SUFFIXES)


def test_what_lies_beside_is_left_out_and_listed(tmp_path):
    root = put(tmp_path, "train/cat/1.png", "train/dog/2.png", "train/loose.png", "readme.txt", "train/cat/1.heic")
    with zipfile.ZipFile(root / "pets.zip", "w") as archive:
        archive.write(root / "train" / "cat" / "1.png", "cat/1.png")
    with pytest.warns(UserWarning, match="files are left out") as caught:
        corpus = load_corpus(root)
    (sentence,) = {str(warning.message) for warning in caught}
    assert "4 files are left out" in sentence
    assert all(name in sentence for name in ("pets.zip", "readme.txt", "train/loose.png", "train/cat/1.heic"))
    assert rows(corpus) == {"train": {"1.png": "cat", "2.png": "dog"}}


def test_files_of_systems_and_hidden_ones_are_no_part_of_a_corpus(tmp_path):
    put(tmp_path, "cat/1.png", "cat/@eaDir/1.png/thumb.jpg", "cat/._1.png", "cat/Thumbs.db", "dog/2.png")
    put(tmp_path, "@eaDir/cat/3.png", "__MACOSX/cat/._1.png", "#recycle/old.png", ".cache/x/4.png", ".DS_Store")
    assert rows(load_corpus(tmp_path)) == {"train": {"1.png": "cat", "2.png": "dog"}}


def test_signs_of_patterns_in_names_mean_nothing(tmp_path):
    root = put(tmp_path / "pets [v1] *", "cat [big]/1.png", "dog?/2.png")
    assert rows(load_corpus(root)) == {"train": {"1.png": "cat [big]", "2.png": "dog?"}}


def test_unlabelled_parts_are_a_split_of_their_own(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/2.png", "train/Unlabeled/deep/3.png", "unlabelled/4.png")
    corpus = load_corpus(tmp_path)
    assert rows(corpus) == {
        "train": {"1.png": "cat", "2.png": "dog"},
        "unlabelled": {"3.png": None, "4.png": None},
    }
    assert corpus["unlabelled"].features == corpus["train"].features
    put(tmp_path / "flat", "jump/1.mp4", "unlabelled/2.mp4")
    assert rows(load_corpus(tmp_path / "flat")) == {"train": {"1.mp4": "jump"}, "unlabelled": {"2.mp4": None}}


def test_a_test_split_without_class_folders_is_unlabelled(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/3.png", "test/4.png")
    with pytest.warns(UserWarning, match="split 'test' has no folders of classes; its 2 examples are unlabelled"):
        corpus = load_corpus(tmp_path)
    assert rows(corpus)["test"] == {"3.png": None, "4.png": None}


def test_numbers_keep_their_order_and_a_list_of_classes_wins(tmp_path):
    put(tmp_path, "0/1.png", "10/2.png", "2/3.png")
    corpus = load_corpus(tmp_path)
    assert corpus["train"].features["label"].names == ["0", "2", "10"]
    assert rows(corpus)["train"] == {"1.png": "0", "3.png": "2", "2.png": "10"}
    (tmp_path / "classes.txt").write_text("10\n2\n0\n")
    assert load_corpus(tmp_path)["train"].features["label"].names == ["10", "2", "0"]
    (tmp_path / "classes.txt").write_text("10\n2\n")
    with pytest.raises(ValueError, match=r"classes\.txt does not name the class folders 0"):
        load_corpus(tmp_path)


def test_one_file_in_two_splits_is_refused_by_whatever_name(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/dog/3.png")
    (tmp_path / "test" / "dog" / "4.png").symlink_to(tmp_path / "train" / "dog" / "2.png")
    with pytest.raises(ValueError, match=r"1 files are in split 'train' and in split 'test' \(.*dog/2\.png\); remove"):
        load_corpus(tmp_path)
    (tmp_path / "test" / "dog" / "4.png").unlink()
    (tmp_path / "test" / "cat").symlink_to(tmp_path / "train" / "cat")
    with pytest.raises(ValueError, match=r"1 files are in split 'train' and in split 'test' \(.*cat/1\.png\); remove"):
        load_corpus(tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path):
    put(tmp_path / "store", "animals/1.png")
    put(tmp_path / "corpus", "dog/2.png")
    (tmp_path / "corpus" / "cat").symlink_to(tmp_path / "store" / "animals")
    (tmp_path / "store" / "animals" / "again").symlink_to(tmp_path / "corpus")
    assert rows(load_corpus(tmp_path / "corpus")) == {"train": {"1.png": "cat", "2.png": "dog"}}
    (tmp_path / "corpus" / "dog" / "3.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"dog/3\.png is a link to a file that is not there"):
        load_corpus(tmp_path / "corpus")


def test_class_folders_without_examples_are_named(tmp_path):
    put(tmp_path, "train/jump/1.mp4", "train/run/notes.txt")
    (tmp_path / "train" / "sit").mkdir()
    (tmp_path / "train" / ".cache").mkdir()
    with pytest.raises(ValueError, match=r"2 class folders in .* hold no video \(train/run, train/sit\); add some"):
        load_corpus(tmp_path)


def test_a_folder_of_classes_says_which_task_it_is(tmp_path):
    put(tmp_path, "cat/1.png", "dog/2.png")
    with pytest.raises(
        ValueError, match="folder for each class, of a corpus for image-classification and not for mask"
    ):
        load_corpus(tmp_path, task="mask-labeling")


@pytest.mark.parametrize(
    ("names", "of", "asked"),
    [
        (("train/cat/1.png", "train/dog/2.png"), "image-classification", "video-classification"),
        (("train/jump/1.mp4", "train/run/2.mp4"), "video-classification", "image-classification"),
    ],
)
def test_folders_of_the_other_medium_are_no_empty_classes(tmp_path, names, of, asked):
    put(tmp_path, *names)
    with pytest.raises(ValueError, match=f"folder for each class, of a corpus for {of} and not for {asked}"):
        load_corpus(tmp_path, task=asked)


@pytest.mark.parametrize("beside", ["labels.csv", "metadata.xlsx", "pictures/1.xml", "LABELS.JSON"])
def test_the_lone_folder_beside_annotations_is_no_class(tmp_path, beside):
    put(tmp_path, "pictures/1.png", beside)
    told = f"'pictures' as the only folder of a class, beside {beside}, which is not read"
    with warnings.catch_warnings(), pytest.raises(ValueError, match=told):
        warnings.simplefilter("ignore")
        load_corpus(tmp_path)
