"""`pipeline("mask-labeling")` gives what the model and its processor give."""

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from transformers import AutoModelForImageClassification, ResNetConfig, pipeline

from hf_vidmodels import MalForMaskLabeling, MalImageProcessor
from method_examples import mal_config

BOXES = [[5.0, 6.0, 40.5, 44.0], [20.0, 0.0, 69.0, 30.0], [1.0, 1.0, 30.0, 30.0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mal")
    torch.manual_seed(0)
    model = MalForMaskLabeling(mal_config())
    model.save_pretrained(folder)
    MalImageProcessor.from_config(model.config).save_pretrained(folder)
    return folder


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))


def test_one_picture_gives_a_dict_for_each_box(folder, picture, tmp_path):
    label = pipeline("mask-labeling", model=str(folder), device="cpu")
    answer = label(picture, boxes=BOXES, crops_per_batch=2)
    expected = MalForMaskLabeling.from_pretrained(folder).label_masks(picture, BOXES)[0]
    assert [one["area"] for one in answer] == expected["areas"].tolist()
    np.testing.assert_array_equal(np.stack([one["mask"] for one in answer]), expected["masks"].numpy())
    assert answer[0]["box"] == {"xmin": 5, "ymin": 6, "xmax": 40, "ymax": 44}
    assert answer[0]["score"] == pytest.approx(float(expected["scores"][0]))
    picture.save(tmp_path / "a.png")
    from_path = label({"image": str(tmp_path / "a.png"), "boxes": BOXES})
    np.testing.assert_array_equal(from_path[1]["mask"], answer[1]["mask"])


def test_a_list_of_pictures_and_all_options_pass_through(folder, picture):
    label = pipeline("mask-labeling", model=str(folder), device="cpu", flip=True, encode_rle=True)
    answers = label([{"image": picture, "boxes": BOXES}, {"image": picture, "boxes": []}], mask_thresholds=[0.5])
    assert [len(answer) for answer in answers] == [3, 0]
    model = MalForMaskLabeling.from_pretrained(folder)
    processor = MalImageProcessor.from_config(model.config)
    crops = processor(picture, BOXES)
    probabilities = model.mask_probabilities(crops["pixel_values"], crops["boxes"], crops["box_mask"], flip=True)
    expected = processor.post_process_masks(probabilities, crops, mask_thresholds=[0.5])[0]["masks"]
    decoded = np.stack([coco_mask.decode(one["segmentation"]) for one in answers[0]])
    np.testing.assert_array_equal(decoded.astype(bool), expected.numpy())


def test_missing_boxes_and_unfit_models_are_refused_in_a_sentence(folder, picture):
    label = pipeline("mask-labeling", model=str(folder), device="cpu")
    with pytest.raises(ValueError, match="mask labelling needs a picture and its boxes"):
        label(picture)
    with pytest.raises(ValueError, match="box 0 of picture 0 .* lies outside the picture, which is 70 x 50 pixels"):
        label(picture, boxes=[[100, 0, 120, 20]])
    network = AutoModelForImageClassification.from_config(ResNetConfig(hidden_sizes=[8], depths=[1], embedding_size=8))
    with pytest.raises(ValueError, match="ResNetForImageClassification makes no masks from boxes"):
        pipeline("mask-labeling", model=network, image_processor=MalImageProcessor())
