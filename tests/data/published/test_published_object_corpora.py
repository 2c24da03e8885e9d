"""Corpora with boxes, in the layouts of their publishers; the files are made here."""

import numpy as np
import pytest
from PIL import Image

from hf_vidmodels.data.corpora import load_corpus


def write_picture(path, size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def cub(tmp_path):
    write(tmp_path / "images.txt", "1 001.Albatross/a.jpg", "2 002.Jay/b.jpg")
    write(tmp_path / "classes.txt", "1 001.Albatross", "2 002.Jay")
    write(tmp_path / "image_class_labels.txt", "1 1", "2 2")
    write(tmp_path / "bounding_boxes.txt", "1 5.0 6.0 20.0 10.0", "2 0.0 0.0 30.0 30.0")
    write(tmp_path / "train_test_split.txt", "1 1", "2 0")
    for name in ("001.Albatross/a.jpg", "002.Jay/b.jpg"):
        write_picture(tmp_path / "images" / name)
    return tmp_path


def voc(*objects):
    parts = [
        f"<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>"
        f"<ymax>{box[3]}</ymax></bndbox></object>"
        for name, box in objects
    ]
    return f"<annotation>{''.join(parts)}</annotation>"


@pytest.fixture
def ilsvrc(tmp_path):
    annotations = tmp_path / "Annotations" / "CLS-LOC" / "val"
    write(annotations / "v1.xml", voc(("n02", (1, 2, 30, 20)), ("n02", (5, 5, 50, 39))))
    write(annotations / "v2.xml", voc(("n01", (0, 0, 10, 10))))
    for name in ("v1", "v2"):
        write_picture(tmp_path / "Data" / "CLS-LOC" / "val" / f"{name}.JPEG")
    return tmp_path


@pytest.fixture
def wsol(tmp_path):
    folder = tmp_path / "metadata" / "test"
    write(folder / "image_ids.txt", "val2/0/a.jpg", "val2/1/b.jpg")
    write(folder / "class_labels.txt", "val2/0/a.jpg,0", "val2/1/b.jpg,1")
    write(folder / "localization.txt", "val2/0/a.jpg,1,2,30,20", "val2/0/a.jpg,5,5,50,39", "val2/1/b.jpg,0,0,9,9")
    for name in ("val2/0/a.jpg", "val2/1/b.jpg"):
        write_picture(tmp_path / "images" / name)
    return tmp_path


def test_cub_boxes_become_corners(cub):
    corpus = load_corpus("cub200", cub)
    assert corpus["train"][0]["bbox"] == [5.0, 6.0, 25.0, 16.0]
    assert corpus["test"].features["label"].int2str(corpus["test"][0]["label"]) == "002.Jay"
    assert corpus["test"][0]["image"].size == (60, 40)


def test_ilsvrc_pictures_keep_all_their_boxes(ilsvrc):
    validation = load_corpus("ilsvrc", ilsvrc, split="validation")
    assert validation.features["label"].names == ["n01", "n02"]
    assert validation[0]["boxes"] == [[1, 2, 30, 20], [5, 5, 50, 39]]
    assert validation[0]["bbox"] == [1, 2, 30, 20]
    assert validation["image_id"][:] == ["v1", "v2"]


def test_the_layout_of_the_localisation_evaluator(wsol):
    test = load_corpus("wsol", wsol, split="test")
    assert test["label"][:] == [0, 1]
    assert len(test[0]["boxes"]) == 2


@pytest.mark.parametrize("name", ["cub200", "ilsvrc", "wsol"])
def test_missing_folders_lists_and_pictures_are_named(name, request, tmp_path_factory):
    with pytest.raises(ValueError, match=f"{name} is read from a folder; give its data_dir"):
        load_corpus(name)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_corpus(name, "/nowhere/at/all")
    with pytest.raises(FileNotFoundError):
        load_corpus(name, tmp_path_factory.mktemp("empty"))
    root = request.getfixturevalue({"cub200": "cub"}.get(name, name))
    next(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")).unlink()
    with pytest.raises(FileNotFoundError, match="1 pictures are missing in"):
        load_corpus(name, root)


def test_lines_and_files_of_another_form_are_named(cub, ilsvrc, wsol):
    write(cub / "bounding_boxes.txt", "1 5.0 6.0")
    with pytest.raises(ValueError, match=r"bounding_boxes\.txt, line 1: expected 5 columns"):
        load_corpus("cub200", cub)
    write(ilsvrc / "Annotations" / "CLS-LOC" / "val" / "v2.xml", "<annotation><object/></annotation>")
    with pytest.raises(ValueError, match=r"v2\.xml is no VOC annotation"):
        load_corpus("ilsvrc", ilsvrc)
    write(wsol / "metadata" / "test" / "localization.txt", "val2/0/a.jpg,1,2,30")
    with pytest.raises(ValueError, match=r"localization\.txt, line 1: expected path,x0,y0,x1,y1"):
        load_corpus("wsol", wsol)


def test_embedded_objects_have_a_label_and_a_box():
    test = load_corpus("embedded/objects", split="test")
    row = test[0]
    x0, y0, x1, y1 = row["bbox"]
    assert 0 <= x0 < x1 <= row["image"].width
    assert 0 <= y0 < y1 <= row["image"].height
