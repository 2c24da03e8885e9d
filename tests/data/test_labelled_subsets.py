"""Which pictures count as labelled: by a published list, by their place, or by a share of every class."""

import pytest
from datasets import Dataset
from PIL import Image

from hf_vidmodels.data.contracts import features_for
from hf_vidmodels.data.labelled_subsets import (
    file_names,
    first_rows_of_classes,
    official_rows,
    read_labelled_list,
    split_by_rows,
    stratified_rows,
)
from hf_vidmodels.data.own.class_folders import read_class_folders
from semiformer_cases import load_case


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The toy folder that the official listing was run on, and what it gave."""
    expected = load_case("data_pipeline").expected["dataset"]
    root = tmp_path_factory.mktemp("imagenet")
    for synset, count in expected["files_per_class"].items():
        (root / synset).mkdir()
        for number in range(count):
            Image.new("RGB", (8, 8)).save(root / synset / f"{synset}_{1 + 7 * number}.JPEG")
    (root / "split.txt").write_text("\n".join(expected["split_file_lines"]) + "\n")
    return root, read_class_folders(root, "image-classification")["train"], expected


def listed(dataset):
    from datasets import Image as ImageFeature

    paths = [row["path"] for row in dataset.cast_column("image", ImageFeature(decode=False))["image"]]
    return [
        [path.partition(path.split("/")[-2])[1] + "/" + path.split("/")[-1], label]
        for path, label in zip(paths, dataset["label"], strict=True)
    ]


@pytest.mark.filterwarnings("ignore:.*files are left out")
def test_a_published_list_splits_a_folder_as_in_the_official_code(official):
    root, dataset, expected = official
    rows = read_labelled_list(root / "split.txt", dataset)
    labelled, everything = split_by_rows(dataset, rows)
    assert listed(labelled) == expected["labelled"]
    assert sorted(listed(everything)) == sorted(expected["unlabelled_default"])
    _, others = split_by_rows(dataset, rows, exclude=True)
    assert sorted(listed(others)) == expected["unlabelled_excluding_labelled_sorted"]


def test_a_share_of_all_is_that_of_the_official_code(official):
    _, dataset, expected = official
    rows = official_rows(file_names(dataset), expected["select_ratio"])
    assert listed(dataset.select(rows)) == expected["select_ratio_labelled"]


def data_set(files, labels):
    features = features_for("image-classification", ("image", "label"), ["a", "b"])
    return Dataset.from_dict({"image": files, "label": labels}, features=features)


FILES = data_set(["/x/a/1.png", "/x/a/2.png", "/x/b/1.png"], [0, None, 1])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("2.png,3\n", "line 1: expected a file name, or file name, shard and index"),
        ("2.png\n\n5.png\n", "line 3: the data set has no picture '5.png'"),
        ("2.png\na/2.png\n", "line 2: 'a/2.png' was named in line 1 already"),
        ("1.png\n", "line 1: the data set has 2 pictures '1.png'; give more of its path"),
        ("c/1.png\n", "line 1: the data set has no picture 'c/1.png'"),
        ("\n", "names no picture"),
    ],
)
def test_lines_that_are_wrong_are_named(tmp_path, content, sentence):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_labelled_list(tmp_path / "list.txt", FILES)


def test_names_may_be_those_of_a_column(tmp_path):
    (tmp_path / "list.txt").write_text("z.png\n")
    named = FILES.add_column("file_name", ["x.png", "y.png", "z.png"])
    assert read_labelled_list(tmp_path / "list.txt", named) == [2]


def test_a_picture_without_class_cannot_count_as_labelled():
    with pytest.raises(ValueError, match=r"1 of the pictures that are to be labelled have no class \(rows 1\)"):
        split_by_rows(FILES, [0, 1])


def test_something_must_be_left_without_label():
    with pytest.raises(ValueError, match="no picture is left without label"):
        split_by_rows(FILES.select([0]), [0], exclude=True)


def test_every_class_gives_its_share_which_follows_from_the_seed():
    labels = [0] * 30 + [None] * 5 + [1] * 3
    rows = stratified_rows(labels, 0.1, seed=0)
    assert [labels[row] for row in rows] == [0, 0, 0, 1]
    assert rows == stratified_rows(labels, 0.1, seed=0) != stratified_rows(labels, 0.1, seed=1)
    assert stratified_rows(labels, 1.0, seed=5) == [row for row, label in enumerate(labels) if label is not None]


def test_the_first_pictures_of_every_class_are_taken_in_their_order():
    assert first_rows_of_classes([1, 0, 1, 0, 1], 2) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="class 0 has 2 labelled pictures, but labels_per_class asks for 3"):
        first_rows_of_classes([1, 0, 1, 0, 1], 3)
