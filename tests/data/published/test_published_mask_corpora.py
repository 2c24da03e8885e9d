"""Corpora with boxes and masks, in the layouts of their publishers; the files are made here."""

import numpy as np
import pytest
from PIL import Image

from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.modeling.ops.run_length_masks import decode_rles
from mask_examples import boxes, small_coco_file, write_json_file, write_pictures

SQUARE = np.zeros((40, 60), bool)
SQUARE[5:25, 10:30] = True


def numbered(first_image_id, folder="", **changes):
    """The small COCO file with other ids of pictures, as splits do not share them."""
    content = small_coco_file()
    new = {7: first_image_id, 20: first_image_id + 1}
    for image in content["images"]:
        image |= {"id": new[image["id"]], "file_name": folder + image["file_name"], **changes}
    for annotation in content["annotations"]:
        annotation["image_id"] = new[annotation["image_id"]]
    return content


def make_coco(root):
    write_json_file(root / "annotations" / "instances_train2017.json", numbered(1))
    write_json_file(root / "annotations" / "instances_val2017.json", numbered(11))
    for split in ("train", "val"):
        write_pictures(root / f"{split}2017", "a.png", "b.png")


def make_lvis(root):
    for split, first in (("train", 1), ("val", 11)):
        content = numbered(first)
        for image in content["images"]:
            image["coco_url"] = f"http://images.cocodataset.org/{split}2017/{image.pop('file_name')}"
        for annotation in content["annotations"]:
            del annotation["iscrowd"]
        write_json_file(root / f"lvis_v1_{split}.json", content)
        write_pictures(root / f"{split}2017", "a.png", "b.png")


def make_objects365(root):
    for split, first in (("train", 1), ("val", 11)):
        content = numbered(first, folder="images/v1/patch8/")
        for annotation in content["annotations"]:
            del annotation["segmentation"]
        write_json_file(root / "annotations" / f"zhiyuan_objv2_{split}.json", content)
        write_pictures(root / split / "patch8", "a.png", "b.png")


def make_voc_json(root):
    for split, first in (("train", 1), ("val", 11)):
        write_json_file(root / "annotations" / f"voc_2012_{split}.json", numbered(first))
    write_pictures(root / "JPEGImages", "a.png", "b.png")


MAKERS = {"coco": make_coco, "lvis": make_lvis, "objects365": make_objects365, "voc2012": make_voc_json}


@pytest.mark.parametrize("name", MAKERS)
def test_layouts_in_cocos_format(name, tmp_path):
    MAKERS[name](tmp_path)
    corpus = load_corpus(name, tmp_path)
    assert list(corpus) == ["train", "validation"]
    train = corpus["train"]
    assert train["image_id"][:] == [2, 1] and train[0]["image"].size == (60, 40)
    assert train[0]["file_name"].endswith("b.png") and (train[0]["height"], train[0]["width"]) == (40, 60)
    feature = train.features["objects"].feature
    assert feature["category"].names == ["cat", "toothbrush"] and "segmentation" not in feature
    first, second = train[1]["objects"]
    assert (first["id"], first["category"], first["category_id"]) == (5, 1, 90)
    assert first["bbox"] == [10.5, 5.25, 20, 20] and first["area"] == 300.5
    assert second["id"] == 9 and train[0]["objects"][0]["iscrowd"] == (0 if name == "lvis" else 1)


@pytest.mark.parametrize("name", ["coco", "lvis", "voc2012"])
def test_masks_of_scored_splits_are_read(name, tmp_path):
    MAKERS[name](tmp_path)
    validation = load_corpus(name, tmp_path, split="validation")
    rles = [item["segmentation"] for item in validation[1]["objects"]]
    np.testing.assert_array_equal(decode_rles(rles), [SQUARE, SQUARE])


def test_the_file_of_boxes_is_preferred_for_training(tmp_path):
    make_coco(tmp_path)
    content = numbered(1)
    del content["annotations"][1:]
    write_json_file(tmp_path / "annotations" / "boxes_train2017.json", content)
    assert [len(row) for row in load_corpus("coco", tmp_path, split="train")["objects"]] == [0, 1]


def test_published_boxes_that_cannot_be_right_are_left_out_with_a_warning(tmp_path):
    make_coco(tmp_path)
    content = numbered(1)
    content["annotations"][0]["bbox"] = [10, 10, 0, 5]
    write_json_file(tmp_path / "annotations" / "instances_train2017.json", content)
    with pytest.warns(UserWarning, match=r"1 annotations are left out, .*no positive width and height \(5\)"):
        train = load_corpus("coco", tmp_path, split="train")
    assert [item["id"] for item in train[1]["objects"]] == [9]


def voc_xml(*objects):
    parts = [
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox></object>"
        for name, (x0, y0, x1, y1) in objects
    ]
    return f"<annotation>{''.join(parts)}</annotation>"


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("Annotations", "ImageSets/Segmentation", "SegmentationObject"):
        (root / folder).mkdir(parents=True)
    write_pictures(root / "JPEGImages", "t.jpg", "v.jpg")
    numbers = np.zeros((40, 60), np.uint8)
    numbers[5:25, 10:30] = 1
    numbers[25:30, 10:30] = 255
    for name, split in (("t", "train"), ("v", "val")):
        (root / "Annotations" / f"{name}.xml").write_text(
            voc_xml(("dog", (11, 6, 30, 25)), ("person", (41, 1, 60, 40)))
        )
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(f"{name}\n\n")
        Image.fromarray(numbers).save(root / "SegmentationObject" / f"{name}.png")
    return tmp_path


def test_voc_is_read_from_its_own_files(voc):
    corpus = load_corpus("voc2012", voc)
    dog, person = corpus["validation"][0]["objects"]
    assert corpus["train"]["image_id"][:] == ["t"] and corpus["validation"]["image_id"][:] == ["v"]
    assert dog["bbox"] == [10, 5, 20, 20] and person["bbox"] == [40, 0, 20, 40]
    assert corpus["train"].features["objects"].feature["category"].names[dog["category"]] == "dog"
    assert dog["category_id"] == 12 and person["segmentation"] is None
    np.testing.assert_array_equal(decode_rles([dog["segmentation"]])[0], SQUARE)
    assert "segmentation" not in corpus["train"][0]["objects"][0]


def test_voc_masks_that_belong_to_other_boxes_are_refused(voc):
    root = voc / "VOCdevkit" / "VOC2012"
    (root / "Annotations" / "v.xml").write_text(voc_xml(("dog", (41, 1, 60, 20))))
    with pytest.raises(ValueError, match=r"v\.png: the pixels of object 1 lie elsewhere than its box"):
        load_corpus("voc2012", voc)
    (root / "Annotations" / "v.xml").write_text(voc_xml(("zebra", (41, 1, 60, 20))))
    with pytest.raises(ValueError, match=r"v\.xml has the class 'zebra'"):
        load_corpus("voc2012", voc)
    (root / "Annotations" / "v.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"v\.xml is missing"):
        load_corpus("voc2012", voc)


@pytest.fixture
def youtube_vis(tmp_path):
    (mask,) = boxes((10, 5, 30, 25))
    uncompressed = {"size": [40, 60], "counts": [0, 2400]}
    content = {
        "videos": [
            {"id": 1, "file_names": ["v1/00000.jpg", "v1/00005.jpg"], "height": 40, "width": 60},
            {"id": 2, "file_names": ["v2/00000.jpg"], "height": 40, "width": 60},
        ],
        "annotations": [
            {
                "id": 8,
                "video_id": 1,
                "category_id": 3,
                "bboxes": [None, [10, 5, 20, 20]],
                "areas": [None, 400],
                "segmentations": [None, mask],
                "iscrowd": 0,
            },
            {
                "id": 4,
                "video_id": 1,
                "category_id": 3,
                "bboxes": [[0, 0, 60, 40], [1, 2, 3, 4]],
                "areas": [2400, None],
                "segmentations": [uncompressed, None],
            },
        ],
        "categories": [{"id": 3, "name": "fox"}],
    }
    write_json_file(tmp_path / "train.json", content)
    write_json_file(tmp_path / "subtrain.json", content)
    write_pictures(tmp_path / "train" / "JPEGImages", "v1/00000.jpg", "v1/00005.jpg", "v2/00000.jpg")
    return tmp_path, content


def test_youtube_vis_has_a_row_for_each_frame(youtube_vis):
    corpus = load_corpus("youtube_vis", youtube_vis[0])
    train, subtrain = corpus["train"], corpus["subtrain"]
    assert train["video_id"][:] == ["train/1", "train/1", "train/2"] and train["frame_index"][:] == [0, 1, 0]
    assert train["image_id"][:] == ["train/v1/00000", "train/v1/00005", "train/v2/00000"]
    assert [[(item["instance_id"], item["area"]) for item in row] for row in train["objects"]] == [
        [(4, 2400)],
        [(8, 400), (4, 12)],
        [],
    ]
    assert len({item["id"] for row in train["objects"] for item in row}) == 3
    np.testing.assert_array_equal(decode_rles([subtrain[1]["objects"][0]["segmentation"]])[0], SQUARE)
    assert decode_rles([subtrain[0]["objects"][0]["segmentation"]]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_id": 9}, "annotation 8 has the video_id 9, but the file has no such video"),
        ({"category_id": 9}, "annotation 8 has the category_id 9"),
        ({"bboxes": [None]}, "annotation 8 has 1 bboxes, but its video 2 frames"),
        ({"bboxes": [None, [1, 2]]}, r"annotation 8 has the bbox \[1, 2\]"),
        ({"bboxes": [None, ["1", 2, 3, 4]]}, "annotation 8 has the bbox"),
        ({"bboxes": {"0": [1, 2, 3, 4]}}, "annotation 8 has .* bboxes, but its video 2 frames"),
        ({"areas": [None, -1]}, "annotation 8 has the area -1"),
        ({"video_id": [1]}, r"annotation 8 has the video_id \[1\]"),
        ({"category_id": [3]}, r"annotation 8 has the category_id \[3\]"),
        ({"id": None}, "has an annotation without a whole number as id"),
    ],
)
def test_instances_of_videos_that_do_not_fit_are_named(youtube_vis, change, message):
    root, content = youtube_vis
    content["annotations"][0] |= change
    write_json_file(root / "train.json", content)
    with pytest.raises(ValueError, match=message):
        load_corpus("youtube_vis", root)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"annotations": {"8": {}}}, "train.json needs a list of objects under 'annotations'"),
        ({"annotations": [None]}, "train.json needs a list of objects under 'annotations'"),
        ({"videos": None}, "train.json needs a list of objects under 'videos', got None"),
        ({"videos": [{"id": 1, "file_names": None, "height": 4, "width": 6}]}, "a video without file_names"),
        (
            {"videos": [{"id": 1, "file_names": [3], "height": 4, "width": 6}]},
            "file_names of video 1 that are no list",
        ),
        ({"videos": [{"id": 1, "file_names": ["a"], "height": "4", "width": 6}]}, "the height '4' of video 1"),
        ({"categories": None}, "needs a list of categories"),
    ],
)
def test_lists_of_videos_that_are_not_as_they_should_be_are_named(youtube_vis, members, message):
    root, content = youtube_vis
    write_json_file(root / "train.json", content | members)
    with pytest.raises(ValueError, match=message):
        load_corpus("youtube_vis", root)


def test_videos_whose_annotations_are_kept_back_have_none(youtube_vis):
    root, content = youtube_vis
    write_json_file(root / "train.json", content | {"annotations": None})
    assert [len(objects) for objects in load_corpus("youtube_vis", root)["train"]["objects"]] == [0, 0, 0]


@pytest.mark.parametrize("name", [*MAKERS, "youtube_vis"])
def test_missing_folders_and_files_are_named(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name} is read from a folder; give its data_dir"):
        load_corpus(name)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_corpus(name, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=rf"has no (instance file|annotations) of {name}; looked for"):
        load_corpus(name, tmp_path)


@pytest.mark.parametrize("name", MAKERS)
def test_missing_pictures_are_named_with_an_annotation(name, tmp_path):
    MAKERS[name](tmp_path)
    next(tmp_path.rglob("a.png")).unlink()
    with pytest.raises(FileNotFoundError, match=r"the picture of annotation 5, 9 is missing: .*a\.png"):
        load_corpus(name, tmp_path)


def test_a_file_without_videos_is_refused(tmp_path):
    write_json_file(tmp_path / "train.json", {"annotations": [], "categories": []})
    with pytest.raises(ValueError, match=r"train\.json has no 'videos'"):
        load_corpus("youtube_vis", tmp_path)
