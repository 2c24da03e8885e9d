import json

import pytest
from datasets import Dataset
from PIL import Image
from pycocotools.coco import COCO

from hf_vidmodels.data.contracts import features_for
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.instances.coco_content import coco_content, write_instance_file
from mask_examples import small_coco_file, write_json_file, write_pictures


def test_a_corpus_comes_back_as_the_file_it_was_read_from(tmp_path):
    content = small_coco_file()
    content["categories"].insert(1, {"id": 3, "name": "never seen"})
    write_json_file(tmp_path / "annotations.json", content)
    write_pictures(tmp_path / "images", "a.png", "b.png")
    found = coco_content(load_corpus(tmp_path)["train"])
    assert found["images"] == content["images"]
    assert [item["id"] for item in found["categories"]] == [2, 91, 90]
    by_id = {item["id"]: item for item in found["annotations"]}
    for item in content["annotations"]:
        kept = {key: item[key] for key in ("image_id", "category_id", "bbox", "area", "iscrowd")}
        assert by_id[item["id"]].items() >= kept.items()


def test_an_embedded_corpus_becomes_a_file_that_pycocotools_reads(tmp_path):
    test = load_corpus("embedded/boxes", split="test").select(range(4))
    folder = write_instance_file(test, tmp_path / "annotations.json")
    coco = COCO(str(tmp_path / "annotations.json"))
    assert len(coco.imgs) == 4 and len(coco.cats) == 10
    for image in coco.imgs.values():
        assert Image.open(folder / image["file_name"]).size == (image["width"], image["height"])
    objects = test[0]["objects"]
    for annotation, item in zip(coco.imgToAnns[1], objects, strict=True):
        assert annotation["id"] == item["id"] and coco.annToMask(annotation).sum() == item["area"]
        assert coco.cats[annotation["category_id"]]["name"] == str(item["category"])


def test_what_a_corpus_leaves_out_is_filled_in():
    columns = {
        "image": [Image.new("RGB", (6, 4))],
        "image_id": ["a"],
        "objects": [[{"id": None, "bbox": [1, 1, 2, 3], "category": 1, "area": None, "iscrowd": None}]],
    }
    dataset = Dataset.from_dict(columns, features=features_for("mask-labeling", columns, ["x", "y"]))
    found = coco_content(dataset)
    assert found["images"] == [{"id": 1, "file_name": "1.png", "height": 4, "width": 6}]
    expected = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 1, 2, 3], "area": 6, "iscrowd": 0}
    assert found["annotations"] == [expected]
    json.dumps(found)


def test_pictures_that_are_no_files_cannot_be_named_in_a_file(tmp_path):
    columns = {"image": [Image.new("RGB", (6, 4))], "image_id": ["a"], "objects": [[]]}
    dataset = Dataset.from_dict(columns, features=features_for("mask-labeling", columns, ["x"]))
    with pytest.raises(ValueError, match="are no files, so a COCO file cannot name them"):
        write_instance_file(dataset, tmp_path / "a.json")
