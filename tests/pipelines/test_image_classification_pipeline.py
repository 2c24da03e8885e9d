"""transformers' own pipeline for pictures, with a model of ours."""

import pytest
import torch
from PIL import Image
from transformers import pipeline

from hf_vidmodels import (
    MalForMaskLabeling,
    MalImageProcessor,
    SemiformerForImageClassification,
    SemiformerImageProcessor,
)
from hf_vidmodels.hub.code_export import export_code
from method_examples import mal_config, semiformer_config


def test_pictures_are_classified_by_a_saved_model(tmp_path):
    torch.manual_seed(0)
    config = semiformer_config(id2label=dict(enumerate("abcde")))
    model = SemiformerForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    processor = SemiformerImageProcessor.from_config(config)
    processor.save_pretrained(tmp_path)
    picture = Image.new("RGB", (90, 70), (200, 30, 90))
    (first, second, *_) = pipeline("image-classification", model=str(tmp_path))(picture)
    with torch.no_grad():
        scores = model(**processor(picture)).logits.softmax(-1)[0]
    assert first["label"] == "abcde"[int(scores.argmax())] and first["score"] >= second["score"]
    assert first["score"] == pytest.approx(float(scores.max()), abs=1e-5)


@pytest.mark.parametrize(
    ("task", "model_class", "processor_class", "make_config"),
    [
        ("image-classification", SemiformerForImageClassification, SemiformerImageProcessor, semiformer_config),
        ("mask-labeling", MalForMaskLabeling, MalImageProcessor, mal_config),
    ],
)
def test_nobody_is_asked_about_the_code_in_a_repository(
    task, model_class, processor_class, make_config, tmp_path, monkeypatch
):
    config = make_config()
    model, processor = model_class(config), processor_class.from_config(config)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    export_code(model, tmp_path, [processor])
    questions = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or "n")
    found = pipeline(task, model=str(tmp_path))
    assert type(found.model) is model_class and type(found.image_processor) is processor_class
    assert questions == []
