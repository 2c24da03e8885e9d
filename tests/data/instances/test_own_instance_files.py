import numpy as np
import pytest
from datasets import Image

from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.modeling.ops.run_length_masks import decode_rles
from mask_examples import small_coco_file, write_json_file, write_pictures

LAYOUTS = {
    "annotations.json": "images",
    "instances.json": ".",
    "instances_train.json": "images/train",
    "instances_val2017.json": "val2017",
    "annotations/instances_test.json": "test",
    "annotations/person.json": "images",
    "_annotations.coco.json": ".",
    "valid/_annotations.coco.json": "valid",
}


@pytest.mark.parametrize(("file", "pictures"), LAYOUTS.items(), ids=LAYOUTS)
def test_instance_files_are_found_with_their_pictures(file, pictures, tmp_path):
    write_json_file(tmp_path / file, small_coco_file())
    write_pictures(tmp_path / pictures, "a.png", "b.png")
    corpus = load_corpus(tmp_path)
    ((split, dataset),) = corpus.items()
    expected = {"val": "validation", "test": "test", "person": "person"}
    assert split == next((expected[part] for part in expected if part in file), "train")
    assert dataset["image_id"][:] == [20, 7] and dataset[1]["image"].size == (60, 40)
    square = decode_rles([item["segmentation"] for item in dataset[1]["objects"]])
    assert square.sum() == 800


def test_splits_have_a_file_each_and_pictures_may_lie_elsewhere(tmp_path):
    other = small_coco_file()
    other["images"] = [{**other["images"][1], "id": 70, "file_name": "deep/c.png"}]
    other["annotations"] = [{**other["annotations"][0], "image_id": 70}]
    write_json_file(tmp_path / "corpus" / "instances_train.json", small_coco_file())
    write_json_file(tmp_path / "corpus" / "instances_test.json", other)
    write_pictures(tmp_path / "pictures", "a.png", "b.png", "deep/c.png")
    corpus = load_corpus(tmp_path / "corpus", data_dir=tmp_path / "pictures")
    assert corpus["train"].num_rows == 2 and corpus["test"][0]["image"].size == (60, 40)
    alone = load_corpus(tmp_path / "corpus" / "instances_test.json", data_dir=tmp_path / "pictures")
    assert list(alone) == ["test"]


def test_files_without_masks_or_sizes_are_completed_from_the_pictures(tmp_path):
    content = small_coco_file()
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    del content["images"][0]["height"], content["images"][1]["width"]
    write_json_file(tmp_path / "annotations.json", content)
    write_pictures(tmp_path / "images", "a.png", "b.png")
    train = load_corpus(tmp_path)["train"]
    assert train["height"][:] == [40, 40] and train["width"][:] == [60, 60]
    assert "segmentation" not in train.features["objects"].feature
    (tmp_path / "images" / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"the picture of annotation 5, 9 cannot be read: .*a\.png"):
        load_corpus(tmp_path)


def test_ids_of_pictures_may_be_text(tmp_path):
    content = small_coco_file()
    for row in (*content["images"], *content["annotations"]):
        key = "id" if "file_name" in row else "image_id"
        row[key] = f"picture {row[key]}"
    write_json_file(tmp_path / "annotations.json", content)
    write_pictures(tmp_path / "images", "a.png", "b.png")
    assert load_corpus(tmp_path)["train"]["image_id"][:] == ["picture 20", "picture 7"]


def test_missing_pictures_and_repeated_splits_are_named(tmp_path):
    write_json_file(tmp_path / "instances_train.json", small_coco_file())
    with pytest.raises(FileNotFoundError, match=r"annotation 3 is missing: .*b\.png \(and 1 other pictures\)"):
        load_corpus(tmp_path)
    write_json_file(tmp_path / "instances_train2017.json", small_coco_file())
    write_pictures(tmp_path / "images", "a.png", "b.png")
    with pytest.raises(ValueError, match="two instance files of split 'train'"):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ([10, 10, 0, 5], "the bbox .* of annotation 5 has no positive width and height"),
        ([30, 20, 50, 38], "of annotation 5 reaches beyond its picture of 60 x 40 but would fit as two corners"),
        ([70, 20, 5, 5], "of annotation 5 lies outside its picture of 60 x 40"),
        ([float("nan"), 20, 5, 5], "of annotation 5 has numbers in it that are NaN"),
    ],
)
def test_own_boxes_that_cannot_be_right_are_errors(tmp_path, bbox, message):
    content = small_coco_file()
    content["annotations"][0]["bbox"] = bbox
    write_json_file(tmp_path / "annotations.json", content)
    write_pictures(tmp_path / "images", "a.png", "b.png")
    with pytest.raises(ValueError, match=f"split 'train': .*{message}"):
        load_corpus(tmp_path)


def test_masks_may_stand_in_a_table_of_examples(tmp_path):
    write_pictures(tmp_path, "a.png")
    rle = {"size": [40, 60], "counts": small_coco_file()["annotations"][2]["segmentation"]["counts"]}
    row = {
        "file_name": "a.png",
        "image_id": "a",
        "objects": [{"id": 1, "bbox": [10, 5, 20, 20], "category": "cat", "segmentation": rle}],
    }
    write_json_file(tmp_path / "metadata.jsonl", row)
    (item,) = load_corpus(tmp_path)["train"][0]["objects"]
    assert np.count_nonzero(decode_rles([item["segmentation"]])) == 400


@pytest.mark.parametrize("file", ["result.json", "my_train_set.json", "images/export.json", "train.json"])
def test_a_file_of_any_name_beside_its_pictures_is_found(file, tmp_path):
    write_json_file(tmp_path / file, {"version": 1, "meta": {"tool": "x"}} | small_coco_file())
    write_pictures(tmp_path / "images", "a.png", "b.png")
    corpus = load_corpus(tmp_path)
    assert list(corpus) == ["train"] and corpus["train"]["image_id"][:] == [20, 7]


def test_files_of_any_name_say_their_split_by_a_word(tmp_path):
    for split in ("train", "valid"):
        write_json_file(tmp_path / split / "coco.json", small_coco_file())
        write_pictures(tmp_path / split, "a.png", "b.png")
    assert list(load_corpus(tmp_path)) == ["train", "validation"]
    write_json_file(tmp_path / "shop_test2.json", small_coco_file())
    write_pictures(tmp_path, "a.png", "b.png")
    assert list(load_corpus(tmp_path)) == ["test"]


def test_a_table_beside_a_file_of_any_name_wins(tmp_path):
    write_json_file(tmp_path / "export.json", small_coco_file())
    write_pictures(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,cat\n")
    assert load_corpus(tmp_path)["train"].column_names == ["image", "label"]


@pytest.mark.parametrize(
    "name",
    ["images\\a.png", "..\\..\\upload\\4\\a.png", "C:\\shop\\images\\a.png", "/mnt/other/a.png", "../x/images/a.png"],
)
def test_names_from_other_systems_lead_to_the_pictures_here(name, tmp_path):
    content = small_coco_file()
    content["images"][1]["file_name"] = name
    content["images"][0]["file_name"] = name.replace("a.png", "b.png")
    write_json_file(tmp_path / "annotations.json", content)
    write_pictures(tmp_path / "images", "a.png", "b.png")
    train = load_corpus(tmp_path)["train"]
    assert train[1]["file_name"] == name
    assert train.cast_column("image", Image(decode=False))[1]["image"]["path"] == str(tmp_path / "images" / "a.png")


def test_two_names_are_never_one_picture(tmp_path):
    content = small_coco_file()
    for image, folder in zip(content["images"], ("first", "second"), strict=True):
        image["file_name"] = f"{folder}\\a.png"
    write_json_file(tmp_path / "annotations.json", content)
    write_pictures(tmp_path / "images", "a.png")
    with pytest.raises(ValueError, match=r"'first\\\\a.png' and 'second\\\\a.png' would both be .*a\.png"):
        load_corpus(tmp_path)


def test_ids_may_begin_anew_in_each_split_but_a_picture_is_in_one(tmp_path):
    for split in ("train", "val"):
        write_json_file(tmp_path / f"instances_{split}.json", small_coco_file())
        write_pictures(tmp_path / split, "a.png", "b.png")
    corpus = load_corpus(tmp_path)
    assert corpus["train"]["image_id"][:] == corpus["validation"]["image_id"][:]
    content = small_coco_file()
    for image in content["images"]:
        image["id"] += 100
        image["file_name"] = f"train/{image['file_name']}"
    for annotation in content["annotations"]:
        annotation["image_id"] += 100
    write_json_file(tmp_path / "instances_val.json", content)
    with pytest.raises(ValueError, match=r"b\.png is in split 'train' and in split 'validation'"):
        load_corpus(tmp_path)
