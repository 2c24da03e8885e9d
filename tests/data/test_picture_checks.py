"""Pictures against their annotations, and corpora whose pictures EXIF turns."""

import json

import numpy as np
import pytest
from PIL import Image

from hf_vidmodels import MalImageProcessor
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.picture_checks import find_picture_problems

BOX = [20, 10, 50, 30]


def corpus(folder, orientation=1, bbox=BOX, **sizes):
    (folder / "images").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "images/a.png", exif=exif)
    content = {
        "images": [{"id": 1, "file_name": "a.png", **sizes}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": bbox}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return load_corpus(folder, split="train"), pixels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_corpus_and_a_processor_see_the_pixels_as_stored(tmp_path, orientation):
    dataset, pixels = corpus(tmp_path, orientation)
    np.testing.assert_array_equal(np.asarray(dataset[0]["image"]), pixels)
    np.testing.assert_array_equal(np.asarray(dataset.select([0]).map(lambda row: {"more": 1})[0]["image"]), pixels)
    np.testing.assert_array_equal(MalImageProcessor().read(tmp_path / "images/a.png"), pixels)


def test_pictures_that_fit_have_no_problem(tmp_path):
    assert find_picture_problems(corpus(tmp_path / "said", height=96, width=128)[0], "train") == []
    assert find_picture_problems(corpus(tmp_path / "not_said")[0], "train") == []


def test_swapped_sizes_are_an_error_that_names_the_picture(tmp_path):
    (problem,) = find_picture_problems(corpus(tmp_path, height=128, width=96)[0], "train")
    assert problem.severity == "error"
    assert "a.png has 96 x 128 pixels (height x width), said 128 x 96" in problem.sentence


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_annotations_of_the_turned_picture_are_an_error(tmp_path, orientation):
    (problem,) = find_picture_problems(corpus(tmp_path, orientation, height=128, width=96)[0], "train")
    assert problem.severity == "error"
    assert "fit only the turned picture" in problem.sentence
    assert "a.png" in problem.sentence


def test_a_turned_picture_whose_annotations_fit_as_stored_is_a_warning(tmp_path):
    (problem,) = find_picture_problems(corpus(tmp_path, 3, height=96, width=128)[0], "train")
    assert problem.severity == "warning"
    assert "ask by EXIF to be turned" in problem.sentence


def table_of_boxes(folder, orientation, bbox):
    corpus(folder / "pictures", orientation)
    row = {"image": "pictures/images/a.png", "label": "thing", "bbox": bbox}
    (folder / "metadata.jsonl").write_text(json.dumps(row))
    return load_corpus(folder, split="train")


def test_boxes_of_other_tasks_tell_the_turn_too(tmp_path):
    (problem,) = find_picture_problems(table_of_boxes(tmp_path, 6, [10, 20, 90, 120]), "train")
    assert problem.severity == "error"
    assert "fit only the turned picture" in problem.sentence


def test_pictures_that_cannot_be_opened_are_named(tmp_path):
    dataset, _ = corpus(tmp_path, height=96, width=128)
    (tmp_path / "images/a.png").write_bytes(b"nothing")
    (problem,) = find_picture_problems(dataset, "train")
    assert problem.severity == "error"
    assert "a.png cannot be read as a picture" in problem.sentence
