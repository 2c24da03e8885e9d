"""Any image classifier of transformers is scored and asked through the commands."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

from script_runs import run_here

CLASSES = ["ball", "cup", "dish", "egg", "fan", "hat", "jug"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], id2label=dict(enumerate(CLASSES)))
    ResNetForImageClassification(config).eval().save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for split in ("train", "test"):
        for number, name in enumerate(CLASSES):
            pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            (folder / split / name).mkdir(parents=True)
            Image.fromarray(np.roll(pixels, split == "test")).save(folder / split / name / f"{split}_{name}.png")
    return folder


def probabilities(checkpoint, picture):
    model = ResNetForImageClassification.from_pretrained(checkpoint).eval()
    inputs = AutoImageProcessor.from_pretrained(checkpoint)(Image.open(picture), return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits.softmax(-1)[0]


def test_a_classifier_of_transformers_is_scored(checkpoint, corpus, tmp_path):
    words = ("--model", checkpoint, "--dataset_name", corpus, "--batch_size", 3, "--output_dir", tmp_path)
    done = run_here("evaluate.py", *words)
    assert done.status == 0, done.stderr
    ranks = []
    for label, name in enumerate(CLASSES):
        scores = probabilities(checkpoint, corpus / "test" / name / f"test_{name}.png")
        ranks.append(int((scores > scores[label]).sum()))
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["task"] == "image-classification" and found["num_examples"] == len(CLASSES)
    assert found["metrics"]["top1_accuracy"] == pytest.approx(np.mean(np.array(ranks) < 1))
    assert found["metrics"]["top5_accuracy"] == pytest.approx(np.mean(np.array(ranks) < 5))
    results = json.loads((tmp_path / "predictions.json").read_text())["results"]
    assert len(results) == len(CLASSES) and all(len(answer) == 5 for answer in results.values())
    assert (tmp_path / "answers.png").is_file()


def test_a_folder_of_pictures_is_classified(checkpoint, corpus, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"nothing")
    picture = corpus / "test" / "cup" / "test_cup.png"
    (tmp_path / "in" / "cup.png").write_bytes(picture.read_bytes())
    words = ("--model", checkpoint, "--input", tmp_path / "in", "--output_dir", tmp_path / "out", "--top_k", 2)
    done = run_here("predict.py", *words)
    assert done.status == 2 and "1 of 2 pictures could not be classified: bad.png" in done.stderr
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    scores, labels = probabilities(checkpoint, picture).topk(2)
    assert [answer["label"] for answer in found["cup.png"]] == [CLASSES[label] for label in labels]
    assert [answer["score"] for answer in found["cup.png"]] == pytest.approx(scores.tolist(), abs=1e-6)
    assert Image.open(tmp_path / "out" / "classes.png").width > 200


def refuse_exact_scores(found, exact):
    """Scores in bfloat16 are near those in float32, and not the same."""
    scores = [answer["score"] for answer in found]
    expected = [float(exact[CLASSES.index(answer["label"])]) for answer in found]
    assert scores != expected
    assert scores == pytest.approx(expected, abs=0.02)


def test_bfloat16_predicts_nearly_the_same_scores(checkpoint, corpus, tmp_path):
    picture = corpus / "test" / "cup" / "test_cup.png"
    words = ("--model", checkpoint, "--input", picture, "--output_dir", tmp_path, "--no_figures")
    done = run_here("predict.py", *words, "--mixed_precision", "bf16")
    assert done.status == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.json"]
    (found,) = json.loads((tmp_path / "predictions.json").read_text()).values()
    refuse_exact_scores(found, probabilities(checkpoint, picture))


def test_bfloat16_scores_a_corpus_by_nearly_the_same_scores(checkpoint, corpus, tmp_path):
    words = ("--model", checkpoint, "--dataset_name", corpus, "--output_dir", tmp_path, "--mixed_precision", "bf16")
    done = run_here("evaluate.py", *words)
    assert done.status == 0, done.stderr
    results = json.loads((tmp_path / "predictions.json").read_text())["results"]
    (cup,) = (answer for name, answer in results.items() if name.endswith("test_cup.png"))
    refuse_exact_scores(cup, probabilities(checkpoint, corpus / "test" / "cup" / "test_cup.png"))


def test_other_classes_than_the_models_are_refused(checkpoint, tmp_path):
    done = run_here(
        "evaluate.py", "--model", checkpoint, "--dataset_name", "embedded/images", "--output_dir", tmp_path
    )
    assert done.status == 2 and "the model and the corpus have different classes" in done.stderr
