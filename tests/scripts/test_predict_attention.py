"""`scripts/predict.py` on pictures: a checkpoint of L2-CAF, and any classifier with `--method l2_caf`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ResNetForImageClassification

from hf_vidmodels import GtaConfig, L2CafForObjectLocalization, L2CafImageProcessor
from method_examples import l2_caf_config


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.jpg")):
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    model = L2CafForObjectLocalization(l2_caf_config())
    model.save_pretrained(tmp_path / "model")
    L2CafImageProcessor.from_config(model.config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_of_pictures_gives_a_sheet_and_a_table(predict, pictures, checkpoint, tmp_path):
    status, out, _ = predict("--model", checkpoint, "--input", pictures, "--top_k", 2)
    assert status == 0
    assert "a.png" in out
    assert "exact" in out
    assert Image.open(tmp_path / "out" / "contact_sheet.png").width > 300
    answers = json.loads((tmp_path / "out" / "attention.json").read_text())
    assert sorted(answers) == ["a.png", "b.jpg"]
    assert len(answers["a.png"]) == 2
    assert set(answers["a.png"][0]["box"]) == {"xmin", "ymin", "xmax", "ymax"}


def test_without_figures_boxes_and_scores_are_written_alone(predict, pictures, checkpoint, tmp_path):
    status, out, err = predict("--model", checkpoint, "--input", pictures, "--no_figures")
    assert status == 0, err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["attention.json"]
    answers = json.loads((tmp_path / "out" / "attention.json").read_text())
    assert "heatmap" not in answers["a.png"][0] and "box" in answers["a.png"][0]
    assert "wrote attention.json of 2 pictures" in out


@pytest.mark.filterwarnings("ignore:.*has no image processor")
def test_any_classifier_is_shown_for_chosen_classes(predict, pictures, tmp_path):
    ResNetForImageClassification(l2_caf_config().network_config).save_pretrained(tmp_path / "resnet")
    arguments = ("--method", "l2_caf", "--model", tmp_path / "resnet", "--input", pictures / "a.png")
    status, out, _ = predict(*arguments, "--classes", "LABEL_1", "3", "--objective", "centered")
    assert status == 0
    assert "LABEL_1" in out
    assert "LABEL_3" in out
    status, _, error = predict(*arguments, "--classes", "LABEL_I")
    assert status == 2
    assert (
        error.strip().splitlines()[-1].startswith("error: the network has no class 'LABEL_I'; nearest names: LABEL_")
    )
    status, _, error = predict(*arguments, "--classes", "5000")
    assert status == 2 and "error: the network has no class 5000; its classes are 0 to " in error


def test_a_network_that_is_no_classifier_is_named_by_its_kind(predict, pictures, tmp_path):
    GtaConfig.from_preset("tiny-gta").save_pretrained(tmp_path / "gta")
    status, _, error = predict("--method", "l2_caf", "--model", tmp_path / "gta", "--input", pictures)
    assert status == 2
    assert "gta is a gta_video, which transformers opens as no image classifier; name a classifier" in error
    assert "Unrecognized configuration class" not in error


def test_what_is_no_picture_is_named(predict, pictures, checkpoint):
    (pictures / "c.png").write_bytes(b"nothing")
    status, out, error = predict("--model", checkpoint, "--input", pictures)
    assert status == 2
    assert "c.png cannot be read as a picture" in out
    assert "1 of 3 pictures could not be read: c.png" in error


@pytest.mark.parametrize("method", [(), ("--method", "l2_caf")])
def test_pictures_cannot_be_embedded_as_videos(predict, pictures, checkpoint, tmp_path, method):
    status, _, error = predict("--model", checkpoint, "--input", pictures, "--embed_video", *method)
    assert status == 2
    assert error.splitlines()[-1] == (
        f"error: --embed_video is for temporal-action-localization and action-detection, but {checkpoint} is used for "
        "object-localization; leave it out"
    )
    assert not (tmp_path / "out").exists()


def test_no_class_at_all_cannot_be_asked_for(predict, pictures, checkpoint):
    status, _, error = predict("--model", checkpoint, "--input", pictures, "--top_k", 0)
    assert status == 2 and error.splitlines()[-1] == "error: --top_k must be at least 1, got 0"
