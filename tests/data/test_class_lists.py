import csv
import json

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_vidmodels.data.class_lists import class_lookup, class_name, order_classes, read_class_names
from hf_vidmodels.data.corpora import load_corpus

PIXELS = b"P6 1 1 255 abc"


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def test_whole_numbers_keep_their_order_and_names_are_sorted_by_code_point():
    assert order_classes(["10", "2", "0", "2"]) == ["0", "2", "10"]
    assert order_classes(["-1", "03", "3", "1.0", "1"]) == ["-1", "1", "03", "3"]
    assert order_classes(["b", "10", "2", "B"]) == ["10", "2", "B", "b"]
    assert order_classes(["1.5", "10"]) == ["1.5", "10"]


def test_a_label_is_a_name_or_an_id_but_no_id_where_classes_are_numbers():
    look_up = class_lookup(["jump", "run"])
    assert [look_up(label) for label in ("run", "0", "1.0", "2", "-1", "sit")] == [1, 0, 1, None, None, None]
    look_up = class_lookup(["10", "2", "0"])
    assert [look_up(label) for label in ("0", "10", "2.0", "1")] == [2, 0, 1, None]


@pytest.mark.parametrize("value", [True, None, 1.5, "", "  ", ["a"]])
def test_what_cannot_name_a_class_is_refused(value):
    with pytest.raises(ValueError, match="here must be the name of a class, got"):
        class_name(value, "here")


def test_a_list_of_classes_may_have_any_encoding_that_names_itself(tmp_path):
    assert read_class_names(tmp_path) is None
    (tmp_path / "classes.txt").write_text("gölf\ndive\n", encoding="utf-16")
    assert read_class_names(tmp_path) == ["gölf", "dive"]


NAMES = st.text("abz019.-é", min_size=1, max_size=3)
LABELS = st.lists(st.none() | st.integers(-3, 30), min_size=1, max_size=8) | st.lists(
    st.none() | NAMES, min_size=1, max_size=8
)


@given(LABELS, st.booleans(), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_content_is_the_same_corpus_whatever_holds_it(tmp_path_factory, labels, with_list, data):
    """CSV, JSON lines, JSON and a data set of the Hub give the same classes and the same ids."""
    if all(label is None for label in labels):
        labels[0] = "a"
    root = tmp_path_factory.mktemp("corpus")
    classes = order_classes(str(label) for label in labels if label is not None)
    order = data.draw(st.permutations(classes)) if with_list else None
    rows = [{"image": f"{index}.ppm", "label": label} for index, label in enumerate(labels)]
    for kind in ("csv", "jsonl", "json"):
        (root / kind).mkdir()
        for row in rows:
            (root / kind / row["image"]).write_bytes(PIXELS)
        if order is not None:
            (root / kind / "classes.txt").write_text("\n".join(order), encoding="utf-8")
    with (root / "csv" / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["image", "label"])
        writer.writeheader()
        writer.writerows(rows)
    (root / "jsonl" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "json" / "metadata.json").write_text(json.dumps(rows))
    found = [load_corpus(root / kind, split="train") for kind in ("csv", "jsonl", "json")]
    if order is None:
        plain = Features({"image": Image(), "label": Value("int64" if isinstance(labels[0] or "", int) else "string")})
        if all(label is None or isinstance(label, int) for label in labels):
            plain["label"] = Value("int64")
        shared = Dataset.from_dict(
            {"image": [str(root / "csv" / row["image"]) for row in rows], "label": labels}, features=plain
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(datasets, "load_dataset", lambda name: DatasetDict({"train": shared}))
            found.append(load_corpus("someone/pictures", split="train"))
    for corpus in found:
        assert corpus.features["label"].names == (classes if order is None else order)
        names = [None if id is None else corpus.features["label"].names[id] for id in corpus["label"][:]]
        assert order_classes(name for name in names if name is not None) == classes
        assert corpus["label"][:] == found[0]["label"][:]


def hub(monkeypatch, features, **splits):
    shared = DatasetDict({name: Dataset.from_dict(columns, features=features) for name, columns in splits.items()})
    monkeypatch.setattr(datasets, "load_dataset", lambda name: shared)
    return load_corpus("someone/set")


def picture():
    return {"bytes": PIXELS, "path": None}


def test_a_class_list_of_a_shared_data_set_keeps_its_order_and_minus_one_is_no_class(monkeypatch):
    features = Features({"image": Image(), "label": ClassLabel(names=["b", "a"])})
    corpus = hub(
        monkeypatch,
        features,
        train={"image": [picture()], "label": [1]},
        test={"image": [picture()] * 2, "label": [-1, 0]},
    )
    assert corpus["train"].features["label"].names == ["b", "a"]
    assert corpus["train"]["label"][:] == [1] and corpus["test"]["label"][:] == [None, 0]


def test_classes_written_as_text_get_ids_over_all_splits(monkeypatch):
    features = Features({"video_id": Value("string"), "duration": Value("float64"), "labels": List(Value("string"))})
    features |= {"features": Value("string"), "segments": List({"start": Value("float64"), "end": Value("float64")})}
    features["segments"].feature["label"] = Value("string")
    row = {"duration": [9.0], "features": ["a.npy"], "segments": [[{"start": 0.0, "end": 1.0, "label": "run"}]]}
    corpus = hub(
        monkeypatch,
        Features(features),
        train=row | {"video_id": ["a"], "labels": [["run", "go"]]},
        test=row | {"video_id": ["b"], "labels": [["run"]]},
    )
    assert corpus["train"][0]["labels"] == [1, 0] and corpus["test"][0]["labels"] == [1]
