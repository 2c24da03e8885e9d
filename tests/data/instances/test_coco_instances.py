import json

import numpy as np
import pytest

from hf_vidmodels.data.instances import coco_instances
from hf_vidmodels.data.instances.coco_instances import is_instance_file, read_detections, read_instance_file
from hf_vidmodels.modeling.ops.run_length_masks import decode_rles
from mask_examples import small_coco_file, write_json_file


@pytest.fixture
def read(tmp_path):
    """Read a COCO file with other members, and with changes to the first annotation."""

    def read(changes=None, with_masks=False, **members):
        content = small_coco_file() | members
        content["annotations"][0] |= changes or {}
        return read_instance_file(write_json_file(tmp_path / "instances.json", content), with_masks=with_masks)

    return read


def test_columns_keep_the_order_of_the_file(read):
    file = read()
    assert file.ids.tolist() == [5, 3, 9] and file.rles is None
    assert [file.images.file_names[row] for row in file.image_rows] == ["a.png", "b.png", "a.png"]
    assert [file.category_names[row] for row in file.category_rows] == ["toothbrush", "cat", "cat"]
    assert file.boxes.tolist()[0] == [10.5, 5.25, 20, 20] and file.areas.tolist() == [300.5, 2400, 400]
    assert file.crowds.tolist() == [False, True, False]
    assert file.heights.tolist() == [40] * 3 and file.widths.tolist() == [60] * 3


@pytest.mark.parametrize("at_once", [1, 2, 4096])
@pytest.mark.parametrize("annotations_first", [False, True])
def test_masks_of_every_kind_become_rles_whatever_comes_first(tmp_path, monkeypatch, at_once, annotations_first):
    monkeypatch.setattr(coco_instances, "_SEGMENTATIONS_AT_ONCE", at_once)
    content = small_coco_file()
    content["annotations"].append({"id": 1, "image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5]})
    if annotations_first:
        content = {"annotations": content.pop("annotations"), **content}
    file = read_instance_file(write_json_file(tmp_path / "a.json", content), with_masks=True)
    square, crowd, mask, none = file.rles
    expected = np.zeros((40, 60), bool)
    expected[5:25, 10:30] = True
    assert none is None and decode_rles([crowd]).all()
    np.testing.assert_array_equal(decode_rles([square, mask]), [expected, expected])
    assert file.areas[3] == 25


def test_some_annotations_can_be_chosen(read):
    file = read(with_masks=True)
    chosen = file.select(np.array([False, True, True]))
    assert chosen.ids.tolist() == [3, 9] and chosen.rles == file.rles[1:] and len(chosen.images.ids) == 2


def test_pictures_of_lvis_have_their_names_from_their_addresses(read):
    images = small_coco_file()["images"]
    del images[0]["file_name"]
    images[0]["coco_url"] = "http://images.cocodataset.org/train2017/000000391895.jpg"
    assert read(images=images).images.file_names == ["train2017/000000391895.jpg", "a.png"]


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_missing_list_is_named(tmp_path, key):
    content = small_coco_file()
    del content[key]
    with pytest.raises(ValueError, match=rf"instances\.json has no '{key}'; a COCO instance file has images,"):
        read_instance_file(write_json_file(tmp_path / "instances.json", content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": 9}, "two annotations with the id 9"),
        ({"id": None}, "annotation without a whole number as id"),
        ({"id": "5"}, "annotation without a whole number as id"),
        ({"id": 2**70}, "annotation without a whole number as id"),
        ({"image_id": 99}, "annotation 5 has the image_id 99, but there is no such picture"),
        ({"image_id": "7"}, "annotation 5 has the image_id '7', but there is no such picture"),
        ({"image_id": [7]}, "annotation 5 has the image_id .* but there is no such picture"),
        ({"image_id": None}, "annotation 5 has no image_id"),
        ({"category_id": 3}, "annotation 5 has the category_id 3, but there is no such category"),
        ({"bbox": None}, "annotation 5 has no bbox"),
        ({"bbox": [1, 2, 3]}, r"annotation 5 has the bbox \[1, 2, 3\]; expected four numbers"),
        ({"bbox": [1, 2, 3, "x"]}, "annotation 5 has the bbox"),
        ({"bbox": 7}, "annotation 5 has the bbox 7"),
        ({"bbox": ["1", 2, 3, 4]}, "annotation 5 has the bbox"),
        ({"bbox": [True, 2, 3, 4]}, "annotation 5 has the bbox"),
        ({"bbox": [10**400, 2, 3, 4]}, "annotation 5 has the bbox"),
        ({"bbox": {"x": 1, "y": 2, "w": 3, "h": 4}}, "annotation 5 has the bbox"),
        ({"image_id": True}, "annotation 5 has the image_id 'True', but there is no such picture"),
        ({"area": "big"}, "annotation 5 has the area 'big'; expected square pixels"),
        ({"area": True}, "annotation 5 has the area True"),
        ({"area": float("nan")}, "annotation 5 has the area nan; expected square pixels, 0 or more"),
        ({"area": -4}, "annotation 5 has the area -4"),
        ({"area": float("inf")}, "annotation 5 has the area inf"),
        *(
            ({"iscrowd": crowd}, "annotation 5 has the iscrowd .* expected the number 0 or 1")
            for crowd in ("0", "no", 2)
        ),
        ({"segmentation": {"size": [40, 60], "counts": "zz"}}, "annotation 5 has a malformed RLE"),
        ({"segmentation": {"size": [60, 40], "counts": [2400]}}, r"annotation 5 has an RLE of \[60, 40\]"),
        ({"segmentation": [[1, 2, 3]]}, "annotation 5 has a polygon"),
    ],
)
def test_annotations_that_do_not_fit_are_named(read, changes, message):
    with pytest.raises(ValueError, match=message):
        read(changes, with_masks=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": [10, 10, 0, 5]}, r"the bbox \[10, 10, 0, 5\] of annotation 5 has no positive width and height"),
        ({"bbox": [10, 10, -3, 5]}, "annotation 5 has no positive width and height"),
        ({"bbox": [float("nan"), 10, 3, 5]}, "annotation 5 has numbers in it that are NaN or infinite"),
        (
            {"bbox": [30, 20, 50, 38]},
            "annotation 5 reaches beyond its picture of 60 x 40 but would fit as",
        ),
        ({"bbox": [61, 20, 5, 8]}, "annotation 5 lies outside its picture of 60 x 40"),
    ],
)
def test_boxes_that_cannot_be_right_are_named(read, changes, message):
    with pytest.raises(ValueError, match=message):
        read(changes).refuse_faulty_boxes()
    read().refuse_faulty_boxes()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"categories": []}, "needs a list of categories"),
        ({"categories": {"1": "cat"}}, "needs a list of categories"),
        ({"categories": [{"id": 2}]}, "a category without id and name"),
        ({"categories": [{"id": 2, "name": "a"}, {"id": 3, "name": "a"}]}, "two categories with the name 'a'"),
        ({"categories": [{"id": 2, "name": "a"}, {"id": 2, "name": "b"}]}, "two categories with the id 2"),
        ({"images": [{"file_name": "a.png"}]}, "a picture without an id"),
        ({"images": [{"id": 7}]}, "no file_name of picture 7"),
        ({"images": [{"id": 7, "file_name": "a"}, {"id": 7, "file_name": "b"}]}, "two pictures with the id 7"),
        ({"images": [{"id": 7, "file_name": "a"}, {"id": "8", "file_name": "b"}]}, "use one kind"),
        *(
            (
                {"images": [{"id": 7, "file_name": "a", "height": side}]},
                f"height {side!r} of picture 7; expected pixels",
            )
            for side in (-1, 0, True, "40", 40.5, float("inf"), 10**12)
        ),
        ({"images": [{"id": True, "file_name": "a"}]}, "a picture without an id"),
        ({"categories": [{"id": "2", "name": "a"}]}, "a category without id and name"),
        ({"categories": [{"id": [2], "name": "a"}]}, "a category without id and name"),
        ({"categories": [{"id": 2, "name": None}]}, "a category without id and name"),
        ({"categories": [{"id": 2, "name": ["a"]}]}, "a category without id and name"),
        ({"annotations": None}, "expected a list in 'annotations', got null"),
        ({"annotations": {"a": 1}}, "expected a list in 'annotations'"),
        ({"annotations": [7]}, "annotation without a whole number as id: 7"),
    ],
)
def test_lists_that_are_not_as_they_should_be_are_named(tmp_path, members, message):
    path = write_json_file(tmp_path / "instances.json", small_coco_file() | members)
    with pytest.raises(ValueError, match=rf"instances\.json.*{message}"):
        read_instance_file(path)


def test_names_of_categories_may_repeat_where_only_ids_count(tmp_path):
    categories = [{"id": 2, "name": "fish"}, {"id": 90, "name": "fish"}]
    path = write_json_file(tmp_path / "a.json", small_coco_file() | {"categories": categories})
    assert read_instance_file(path, unique_names=False).category_names == ["fish", "fish"]


def test_crowds_may_be_numbers_booleans_or_left_out(read):
    for crowd, expected in ((0, False), (1, True), (True, True), (False, False), (None, False)):
        assert read({"iscrowd": crowd}).crowds[0] == expected


def test_a_mask_needs_the_size_of_its_picture(tmp_path):
    content = small_coco_file()
    for image in content["images"]:
        del image["height"]
    path = write_json_file(tmp_path / "a.json", content)
    assert np.isnan(read_instance_file(path).heights).all()
    with pytest.raises(ValueError, match="annotation 5 has a segmentation, but its picture no height and width"):
        read_instance_file(path, with_masks=True)


def test_instance_files_are_told_from_other_json(tmp_path):
    assert is_instance_file(write_json_file(tmp_path / "a.json", small_coco_file()))
    assert is_instance_file(write_json_file(tmp_path / "b.json", {"annotations": []}))
    for content in ({"database": {}}, [1], {}, {"info": {}, "database": {}}):
        assert not is_instance_file(write_json_file(tmp_path / "c.json", content))
    (tmp_path / "d.json").write_text("{")
    assert not is_instance_file(tmp_path / "d.json")
    assert json.loads((tmp_path / "a.json").read_text()) == small_coco_file()


def test_detections_take_the_place_of_annotations(read, tmp_path):
    detections = [
        {"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 20, "category_id": 2, "bbox": [5, 6, 7, 8], "score": 1},
    ]
    file, scores = read_detections(write_json_file(tmp_path / "found.json", detections), read())
    assert file.ids.tolist() == [1, 2] and scores.tolist() == [0.5, 1]
    assert file.image_rows.tolist() == [1, 0] and file.boxes.tolist()[1] == [5, 6, 7, 8]
    assert file.areas.tolist() == [12, 56] and file.category_names == ["cat", "toothbrush"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4]}], "detection 1 has no score that is a number"),
        ([{"image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4], "score": float("nan")}], "detection 1 has no score"),
        ([{"image_id": 8, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 1}], "detection 1 has the image_id 8"),
        ([{"image_id": 7, "category_id": 2, "bbox": [1, 2], "score": 1}], "detection 1 has the bbox"),
        ([3], "detection 1 has no score"),
        ({"annotations": []}, "expected a list in the file"),
    ],
)
def test_detections_that_do_not_fit_are_named(read, tmp_path, content, message):
    path = write_json_file(tmp_path / "found.json", content)
    with pytest.raises(ValueError, match=rf"found\.json.*{message}"):
        read_detections(path, read())
