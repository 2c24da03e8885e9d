import json

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, List, Value

from hf_vidmodels import MalForMaskLabeling, MalImageProcessor
from hf_vidmodels.evaluation.mask_evaluation import score_masks
from mask_examples import boxes, small_coco_file, write_json_file, write_pictures
from method_examples import mal_config
from script_runs import run_here

OBJECT = {
    "id": Value("int64"),
    "bbox": List(Value("float32"), length=4),
    "category": ClassLabel(names=["cat", "dog"]),
    "area": Value("float32"),
    "iscrowd": Value("int64"),
    "segmentation": {"size": List(Value("int64")), "counts": Value("string")},
}
FEATURES = Features({"image": Image(), "objects": List(OBJECT)})


def picture(*corners):
    objects = [
        {
            "id": number,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "category": 0,
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
            "segmentation": mask,
        }
        for number, ((x0, y0, x1, y1), mask) in enumerate(zip(corners, boxes(*corners), strict=True), start=1)
    ]
    return Dataset.from_list([{"image": None, "objects": objects}], features=FEATURES)


def test_an_object_that_got_no_mask_counts_with_zero():
    # The box of the second is too small to get a mask, that of the third got an empty one.
    dataset = picture((0, 0, 10, 10), (20, 5, 22, 30), (40, 5, 50, 30))
    true, empty = boxes((0, 0, 10, 10), (0, 0, 0, 0))
    labels = {1: {"segmentation": true, "score": 0.9}, 3: {"segmentation": empty, "score": 0.0}}
    evaluation = score_masks(labels, dataset, "test")
    assert evaluation.metrics["mIoU"] == pytest.approx(1 / 3, abs=1e-5)
    assert "3 masks in 1 test pictures" in evaluation.tables[0]["title"]
    assert [one["id"] for one in evaluation.predictions["annotations"]] == [1, 3]
    assert score_masks({}, dataset, "test").metrics["mIoU"] == 0


def test_bfloat16_scores_a_corpus_by_nearly_the_same_masks(tmp_path):
    corpus, model = tmp_path / "corpus", tmp_path / "model"
    write_pictures(corpus / "images" / "test", "a.png", "b.png")
    write_json_file(corpus / "instances_test.json", small_coco_file())
    torch.manual_seed(0)
    network = MalForMaskLabeling(mal_config())
    network.save_pretrained(model)
    MalImageProcessor.from_config(network.config).save_pretrained(model)
    scores = {}
    for choice in ("no", "bf16"):
        words = ("--model", model, "--dataset_name", corpus, "--mixed_precision", choice)
        done = run_here("evaluate.py", *words, "--output_dir", tmp_path / choice)
        assert done.status == 0, done.stderr
        found = json.loads((tmp_path / choice / "predictions.json").read_text())["annotations"]
        scores[choice] = [one["score"] for one in found]
    assert len(scores["no"]) == 2 and scores["bf16"] != scores["no"]
    assert scores["bf16"] == pytest.approx(scores["no"], abs=0.02)
