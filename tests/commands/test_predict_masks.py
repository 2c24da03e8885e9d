import argparse
import json

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from hf_vidmodels import MalForMaskLabeling, MalImageProcessor
from hf_vidmodels.commands.input_files import find_pictures
from hf_vidmodels.commands.predict_masks import label_pictures
from hf_vidmodels.modeling.ops.run_length_masks import decode_rles
from mask_examples import small_coco_file, write_json_file, write_pictures
from method_examples import mal_config


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mal")
    network = MalForMaskLabeling(mal_config())
    network.save_pretrained(folder)
    MalImageProcessor.from_config(network.config).save_pretrained(folder)
    return folder


@pytest.fixture
def predict(model, tmp_path):
    """Label the pictures below `tmp_path / "in"` with boxes as given in a file."""

    def run(boxes=None, threshold=None, no_figures=False, mixed_precision=None):
        file = None if boxes is None else write_json_file(tmp_path / "boxes.json", boxes)
        arguments = argparse.Namespace(
            model=model,
            output_dir=tmp_path / "out",
            device="cpu",
            threshold=threshold,
            boxes=file,
            no_figures=no_figures,
            mixed_precision=mixed_precision,
        )
        label_pictures(arguments, find_pictures(tmp_path / "in"), Accelerator(cpu=True))
        return json.loads((tmp_path / "out" / "masks.json").read_text())

    write_pictures(tmp_path / "in", "a.png", "deep/b.png")
    return run


def test_boxes_by_name_give_masks_drawings_and_a_table(predict, tmp_path, capsys):
    answers = predict({"a.png": [[5, 5, 30, 25], [0, 0, 60, 40]], "b.png": []}, threshold=0.5)
    assert [answer["box"] for answer in answers["a.png"]] == [[5, 5, 30, 25], [0, 0, 60, 40]]
    masks = decode_rles([answer["segmentation"] for answer in answers["a.png"]])
    assert masks.shape == (2, 40, 60) and [answer["area"] for answer in answers["a.png"]] == masks.sum((1, 2)).tolist()
    assert answers["deep/b.png"] == []
    assert (
        Image.open(tmp_path / "out" / "a.png.masks.png").width
        == Image.open(tmp_path / "out" / "deep" / "b.png.masks.png").width
        == 660
    )
    printed = capsys.readouterr().out
    assert "[5, 5, 30, 25]" in printed and "drawings of 2 pictures" in printed


def test_boxes_and_class_names_of_a_coco_file_are_taken(predict):
    answers = predict(small_coco_file())
    assert [(answer["label"], answer["box"]) for answer in answers["a.png"]] == [
        ("toothbrush", [10.5, 5.25, 30.5, 25.25]),
        ("cat", [10, 5, 30, 25]),
    ]
    assert [answer["label"] for answer in answers["deep/b.png"]] == ["cat"]


def test_without_figures_masks_are_written_alone(predict, tmp_path, capsys):
    assert list(predict(no_figures=True)) == ["a.png", "deep/b.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["masks.json"]
    assert "wrote masks.json of 2 pictures" in capsys.readouterr().out


def test_bfloat16_gives_nearly_the_same_masks(predict):
    exact, rough = ([one[0] for one in predict(mixed_precision=choice).values()] for choice in ("no", "bf16"))
    assert [one["score"] for one in rough] != [one["score"] for one in exact]
    assert [one["score"] for one in rough] == pytest.approx([one["score"] for one in exact], abs=0.02)


def test_without_boxes_the_whole_picture_is_one(predict):
    answers = predict()
    assert answers["a.png"][0]["box"] == [0, 0, 60, 40] and answers["a.png"][0]["label"] is None
    assert np.isfinite(answers["a.png"][0]["score"])


def test_pictures_and_boxes_that_do_not_fit_are_named(predict, tmp_path):
    with pytest.raises(ValueError, match=r"has no boxes of 1 pictures, first deep/b\.png; it knows 1"):
        predict({"a.png": []})
    with pytest.raises(ValueError, match=r"list of boxes \[x0, y0, x1, y1\] for 'a\.png', got \[\[1, 2\]\]"):
        predict({"a.png": [[1, 2]], "b.png": []})
    with pytest.raises(ValueError, match=r"1 of 2 pictures could not be labelled: a\.png"):
        predict({"a.png": [[5, 5, 2, 9]], "b.png": [[1, 1, 9, 9]]})
    assert "deep/b.png" in json.loads((tmp_path / "out" / "masks.json").read_text())
    changed = small_coco_file()
    changed["annotations"][0]["bbox"] = [30, 20, 50, 38]
    with pytest.raises(ValueError, match="annotation 5 reaches beyond its picture"):
        predict(changed)
