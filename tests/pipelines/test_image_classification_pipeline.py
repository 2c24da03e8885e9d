"""transformers' own pipeline for pictures, with a model of ours."""

import pytest
import torch
from PIL import Image
from transformers import pipeline

from hf_vidmodels import SemiformerForImageClassification, SemiformerImageProcessor
from method_examples import semiformer_config


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
