"""NABirds, Stanford Cars, Stanford Dogs, FGVC-Aircraft and CUB as classification, in tiny folders of their layouts."""

import builtins

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from hf_vidmodels.data.corpora import load_corpus


def put(root, *names, mode="RGB"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, (8, 8)).save(root / name, format="png")


def cell(*strings):
    """A MATLAB cell of strings, one a row."""
    return np.array([[string] for string in strings], dtype=object)


def annotations(*rows):
    """A MATLAB struct array of dicts with the same keys."""
    names = list(rows[0])
    return np.array([tuple(row.values()) for row in rows], dtype=[(name, object) for name in names])[None]


def classes_of(dataset):
    return dict(zip(dataset["image_id"], dataset.features["label"].int2str(list(dataset["label"])), strict=True))


# -- NABirds


@pytest.fixture
def nabirds(tmp_path):
    (tmp_path / "classes.txt").write_text(
        "0 Birds\n295 Common Eider (Female)\n1000 Oak Titmouse\n817 Barn Owl\n99 Barn Owl\n"
    )
    (tmp_path / "images.txt").write_text(
        "aa-1 0295/a.jpg\nbb-2 1000/b.jpg\ncc-3 0295/c.jpg\ndd-4 0817/d.jpg\nee-5 0099/e.jpg\n"
    )
    (tmp_path / "image_class_labels.txt").write_text("aa-1 295\nbb-2 1000\ncc-3 295\ndd-4 817\nee-5 99\n")
    (tmp_path / "train_test_split.txt").write_text("aa-1 1\nbb-2 1\ncc-3 0\ndd-4 1\nee-5 1\n")
    put(tmp_path / "images", "0295/a.jpg", "1000/b.jpg", "0295/c.jpg", "0817/d.jpg", "0099/e.jpg")
    return tmp_path


def test_nabirds_has_the_classes_with_pictures_in_the_order_of_their_numbers_as_text(nabirds):
    corpus = load_corpus("nabirds", data_dir=nabirds)
    assert corpus["train"].features["label"].names == [
        "Oak Titmouse",
        "Common Eider (Female)",
        "Barn Owl (817)",
        "Barn Owl (99)",
    ]
    assert classes_of(corpus["test"]) == {"cc-3": "Common Eider (Female)"}


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("train_test_split.txt", "aa-1 1\n", "train_test_split.txt has no line for 4 pictures: bb-2"),
        ("image_class_labels.txt", "aa-1\n", "line 1: expected a name, a blank and a value, got 'aa-1'"),
        ("images.txt", "aa-1 a.jpg\naa-1 b.jpg\n", "line 2: 'aa-1' was named before"),
        ("classes.txt", "295 Common Eider\n", "has classes that classes.txt does not name: 1000"),
        ("classes.txt", "\n", "classes.txt names nothing"),
    ],
)
def test_a_list_of_nabirds_that_is_damaged_is_named(nabirds, file, content, sentence):
    (nabirds / file).write_text(content)
    with pytest.raises(ValueError, match=sentence):
        load_corpus("nabirds", data_dir=nabirds)


def test_pictures_that_are_missing_are_counted_and_named(nabirds):
    (nabirds / "images" / "0295" / "c.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 5 pictures are missing .*cc-3"):
        load_corpus("nabirds", data_dir=nabirds)
    (nabirds / "images.txt").unlink()
    with pytest.raises(FileNotFoundError, match="images.txt is missing"):
        load_corpus("nabirds", data_dir=nabirds)


# -- Stanford Cars

CARS = ("Ram C/V Van 2012", "AM General Hummer 2000")


@pytest.fixture
def cars(tmp_path):
    rows = [
        {"relative_im_path": f"car_ims/{number}.jpg", "bbox_x1": 1, "class": label, "test": is_test}
        for number, label, is_test in ((1, 2, 0), (2, 1, 0), (3, 1, 1))
    ]
    savemat(tmp_path / "cars_annos.mat", {"annotations": annotations(*rows), "class_names": cell(*CARS).T})
    put(tmp_path / "car_ims", "1.jpg", "2.jpg", "3.jpg")
    return tmp_path


def test_cars_are_read_from_the_single_list(cars):
    corpus = load_corpus("stanford_cars", data_dir=cars)
    assert corpus["train"].features["label"].names == ["AM General Hummer 2000", "Ram C/V Van 2012"]
    assert classes_of(corpus["train"]) == {"car_ims/1.jpg": CARS[1], "car_ims/2.jpg": CARS[0]}
    assert classes_of(corpus["test"]) == {"car_ims/3.jpg": CARS[0]}


@pytest.fixture
def devkit(tmp_path):
    (tmp_path / "devkit").mkdir()
    savemat(tmp_path / "devkit" / "cars_meta.mat", {"class_names": cell(*CARS).T})
    for split, folder, name in (("train", "devkit", "cars_train_annos"), ("test", ".", "cars_test_annos_withlabels")):
        rows = annotations({"bbox_x1": 1, "class": 1, "fname": "1.jpg"}, {"bbox_x1": 1, "class": 2, "fname": "2.jpg"})
        savemat(tmp_path / folder / f"{name}.mat", {"annotations": rows})
        put(tmp_path / f"cars_{split}", "1.jpg", "2.jpg")
    return tmp_path


def test_cars_are_read_from_the_devkit(devkit):
    corpus = load_corpus("stanford_cars", data_dir=devkit)
    assert classes_of(corpus["test"]) == {"cars_test/1.jpg": CARS[0], "cars_test/2.jpg": CARS[1]}
    assert set(corpus) == {"train", "test"}


def test_a_test_list_without_labels_is_refused(devkit):
    rows = annotations({"bbox_x1": 1, "fname": "1.jpg"}, {"bbox_x1": 1, "fname": "2.jpg"})
    savemat(devkit / "cars_test_annos_withlabels.mat", {"annotations": rows})
    with pytest.raises(ValueError, match="annotation 1 has no class; the test list without labels cannot be scored"):
        load_corpus("stanford_cars", data_dir=devkit)


def test_a_class_beyond_the_list_of_cars_is_refused(cars):
    row = {"relative_im_path": "car_ims/1.jpg", "class": 3, "test": 0}
    savemat(cars / "cars_annos.mat", {"annotations": annotations(row, row), "class_names": cell(*CARS).T})
    with pytest.raises(ValueError, match="1.jpg has the class 3, but classes are counted from 1 to 2"):
        load_corpus("stanford_cars", data_dir=cars)


def test_a_file_that_is_no_matlab_file_is_named(cars):
    (cars / "cars_annos.mat").write_bytes(b"no list at all")
    with pytest.raises(ValueError, match="cars_annos.mat is no MATLAB file"):
        load_corpus("stanford_cars", data_dir=cars)
    savemat(cars / "cars_annos.mat", {"other": 1})
    with pytest.raises(ValueError, match="cars_annos.mat has no annotations, class_names"):
        load_corpus("stanford_cars", data_dir=cars)


def test_without_scipy_the_error_says_what_to_install(cars, monkeypatch):
    real_import = builtins.__import__
    monkeypatch.setattr(
        "hf_vidmodels.optional_packages.import_module",
        lambda name: (_ for _ in ()).throw(ModuleNotFoundError(name=name)) if name == "scipy" else real_import(name),
    )
    with pytest.raises(ValueError, match=r"needs the package scipy, .*pip install 'hf_vidmodels\[mat\]'"):
        load_corpus("stanford_cars", data_dir=cars)


# -- Stanford Dogs


@pytest.fixture
def dogs(tmp_path):
    files = {"train": ("n02-Chihuahua/n02_1.jpg", "n01-Pug/n01_1.jpg"), "test": ("n01-Pug/n01_2.jpg",)}
    for split, names in files.items():
        savemat(tmp_path / f"{split}_list.mat", {"file_list": cell(*names), "labels": np.ones((len(names), 1))})
        put(tmp_path / "Images", *names)
    return tmp_path


def test_dogs_have_the_classes_of_their_folders(dogs):
    corpus = load_corpus("stanford_dogs", data_dir=dogs)
    assert corpus["train"].features["label"].names == ["n01-Pug", "n02-Chihuahua"]
    assert classes_of(corpus["test"]) == {"n01-Pug/n01_2.jpg": "n01-Pug"}


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/picture.jpg", "n01-Pug/../../x.jpg", "n01_1.jpg"])
def test_a_list_that_leads_out_of_the_pictures_is_refused(dogs, name):
    savemat(dogs / "train_list.mat", {"file_list": cell(name, "n01-Pug/n01_1.jpg")})
    with pytest.raises(ValueError, match="expected class_folder/picture.jpg in file_list, got"):
        load_corpus("stanford_dogs", data_dir=dogs)


# -- FGVC-Aircraft


@pytest.fixture(params=["data", "."])
def aircraft(tmp_path, request):
    root = tmp_path / request.param
    root.mkdir(exist_ok=True)
    lists = {"train": "001 F/A-18\n002 707-320\n", "val": "003 F/A-18\n", "test": "0004 707-320\n"}
    lists["trainval"] = lists["train"] + lists["val"]
    for split, lines in lists.items():
        (root / f"images_variant_{split}.txt").write_text(lines)
        (root / f"images_manufacturer_{split}.txt").write_text(
            lines.replace("707-320", "Boeing").replace("F/A-18", "Boeing")
        )
    put(root / "images", "001.jpg", "002.jpg", "003.jpg", "0004.jpg")
    return tmp_path


def test_aircraft_have_three_splits_and_names_with_slashes(aircraft):
    corpus = load_corpus("fgvc_aircraft", data_dir=aircraft)
    assert {split: len(dataset) for split, dataset in corpus.items()} == {"train": 2, "validation": 1, "test": 1}
    assert corpus["train"].features["label"].names == ["707-320", "F/A-18"]
    assert classes_of(corpus["test"]) == {"0004": "707-320"}
    assert len(load_corpus("fgvc_aircraft_trainval", data_dir=aircraft)["train"]) == 3
    coarse = load_corpus("fgvc_aircraft_manufacturer", data_dir=aircraft)
    assert coarse["train"].features["label"].names == ["Boeing"]


def test_one_picture_a_class_is_a_corpus(aircraft):
    with pytest.raises(FileNotFoundError, match="images_family_train.txt is missing"):
        load_corpus("fgvc_aircraft_family", data_dir=aircraft)
    assert len(load_corpus("fgvc_aircraft", data_dir=aircraft, split="train")) == 2


# -- CUB-200-2011


def test_cub_is_read_as_classification_too(tmp_path):
    files = {
        "images.txt": "1 001.A/a.jpg\n2 002.B/b.jpg\n",
        "image_class_labels.txt": "1 1\n2 2\n",
        "train_test_split.txt": "1 1\n2 0\n",
        "bounding_boxes.txt": "1 0.0 0.0 4.0 4.0\n2 1.0 1.0 4.0 4.0\n",
        "classes.txt": "1 001.A\n2 002.B\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    put(tmp_path / "images", "001.A/a.jpg", "002.B/b.jpg")
    corpus = load_corpus("cub200", data_dir=tmp_path, task="image-classification")
    assert classes_of(corpus["train"]) == {"001.A/a.jpg": "001.A"}
    assert classes_of(corpus["test"]) == {"002.B/b.jpg": "002.B"}
