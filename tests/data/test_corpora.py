from dataclasses import replace
from functools import partial

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, Video
from datasets.exceptions import DatasetNotFoundError

from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.embedded import embedded_corpora as embedded


@pytest.fixture
def own(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 2), dtype=np.float32))
    (tmp_path / "train.csv").write_text("video_id,features,duration,labels\na,a.npy,3.2,golf\n")
    (tmp_path / "val.csv").write_text("video_id,features,duration,labels\nb,a.npy,3.2,golf\n")
    return tmp_path


def test_one_split_can_be_asked_for(own):
    assert isinstance(load_corpus(own), DatasetDict)
    assert load_corpus(str(own), split="validation")["video_id"][:] == ["b"]


def test_an_unknown_split_is_named_with_those_there_are(own):
    with pytest.raises(
        ValueError, match=r"has no split 'valdation' \(did you mean 'validation'\?\); it has: train, val"
    ):
        load_corpus(own, split="valdation")


def test_an_unknown_task_is_refused_before_anything_is_read(own):
    with pytest.raises(ValueError, match="there is no task 'localization'"):
        load_corpus(own, task="localization")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("thumos", "thumos14"), ("ActivityNet", "activitynet"), ("embedded/untrimed", "embedded/untrimmed")],
)
def test_an_unknown_name_gets_the_nearest_and_all_known_ones(name, hint):
    with pytest.raises(
        FileNotFoundError, match=rf"no corpus '{name}' \(did you mean '{hint}'\?\); give one of thumos14"
    ):
        load_corpus(name)


def test_an_embedded_corpus_is_made_and_loaded(tmp_path, monkeypatch):
    parameters = replace(embedded.EMBEDDED_CORPORA["images"].parameters, splits=(("train", 12), ("test", 3)))
    monkeypatch.setattr(
        embedded, "load_embedded_corpus", partial(embedded.load_embedded_corpus, parameters=parameters)
    )
    corpus = load_corpus("embedded/images", data_dir=tmp_path)
    assert {split: data.num_rows for split, data in corpus.items()} == {"train": 12, "test": 3}
    assert corpus["train"][0]["image"].mode == "RGB"
    assert any(tmp_path.iterdir()), "data_dir is where it is made"


@pytest.fixture
def small_embedded(tmp_path, monkeypatch):
    parameters = {
        kind: replace(embedded.EMBEDDED_CORPORA[kind].parameters, splits=(("train", 6), ("test", 3)))
        for kind in ("images", "objects")
    }
    load = embedded.load_embedded_corpus
    monkeypatch.setattr(
        embedded,
        "load_embedded_corpus",
        lambda kind, cache_dir: load(kind, cache_dir=cache_dir, parameters=parameters[kind]),
    )
    return tmp_path


def test_a_corpus_of_another_task_says_which_task_it_is(small_embedded, tmp_path_factory):
    with pytest.raises(
        ValueError,
        match=r"embedded/images is a corpus for image-classification, not for mask-labeling: mask-labeling needs a "
        r"column 'image_id' .*columns found: image, label",
    ):
        load_corpus("embedded/images", data_dir=small_embedded, task="mask-labeling")
    lists = tmp_path_factory.mktemp("lists")
    for name in ("a.mp4", "b.mp4"):
        (lists / name).touch()
    (lists / "train.csv").write_text("a.mp4,0\nb.mp4,1\n")
    with pytest.raises(ValueError, match="video_lists is a corpus for video-classification, not for action-detection"):
        load_corpus("video_lists", data_dir=lists, task="action-detection")


def test_a_corpus_serves_every_task_whose_columns_it_has(small_embedded):
    corpus = load_corpus("embedded/objects", data_dir=small_embedded, task="image-classification")
    assert {"image", "label", "bbox"} <= set(corpus["train"].column_names)


def test_a_hub_data_set_is_checked_and_its_videos_stay_files(monkeypatch):
    video = {"path": None, "bytes": b"not decoded"}
    columns = {"video": [video], "label": [0]}
    features = Features({"video": Video(), "label": ClassLabel(names=["a"])})
    shared = DatasetDict({"train": Dataset.from_dict(columns, features=features)})
    monkeypatch.setattr(datasets, "load_dataset", lambda name: shared)
    assert load_corpus("someone/clips")["train"][0]["video"]["bytes"] == b"not decoded"
    shared["train"] = shared["train"].remove_columns("label")
    with pytest.raises(ValueError, match="video-classification needs a column 'label'"):
        load_corpus("someone/clips", task="video-classification")


@pytest.mark.parametrize("error", [DatasetNotFoundError("no such thing"), ConnectionError("no net")])
def test_a_hub_data_set_that_cannot_be_loaded_is_one_sentence(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(OSError, match=r"'someone/clips' is no folder here, and .* from the Hub: no (such thing|net)"):
        load_corpus("someone/clips")


def test_features_in_the_rows_themselves_are_accepted(monkeypatch):
    columns = {"video_id": ["a"], "features": [[[1.0, 2.0]]], "duration": [0.6], "labels": [[0]]}
    features = Features(
        {
            "video_id": Value("string"),
            "features": List(List(Value("float32"))),
            "duration": Value("float64"),
            "labels": List(ClassLabel(names=["a"])),
        }
    )
    shared = DatasetDict({"train": Dataset.from_dict(columns, features=features)})
    monkeypatch.setattr(datasets, "load_dataset", lambda name: shared)
    assert load_corpus("someone/features", split="train")[0]["features"] == [[1.0, 2.0]]
