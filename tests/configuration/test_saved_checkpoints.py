"""Checkpoints that earlier versions saved go on working."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import hf_vidmodels  # noqa: F401  (registers the methods)

SAVED = Path(__file__).parents[1] / "fixtures" / "saved_2026_11"


def wave(*shape):
    values = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(values * 0.37).float().reshape(shape)


INPUTS = {
    "asm_loc": {"input_features": wave(1, 24, 16), "step": 0},
    "l2_caf": {"pixel_values": wave(1, 3, 64, 64)},
    "mal": {"pixel_values": wave(1, 3, 64, 64), "boxes": torch.tensor([[3.0, 4.0, 63.0, 80.0]])},
    "stts_mvit": {"pixel_values": wave(1, 8, 3, 32, 32)},
    "stts_video_swin": {"pixel_values": wave(1, 8, 3, 32, 32)},
}
NESTED = {"mal": "encoder_config", "stts_mvit": "backbone_config", "stts_video_swin": "backbone_config"}


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_a_checkpoint_of_november_2026_opens_without_a_word_and_gives_its_logits(name, caplog):
    model = AutoModel.from_pretrained(SAVED / name).eval()
    assert not [record for record in caplog.records if record.name.startswith("hf_vidmodels")]
    with torch.no_grad():
        logits = model(**INPUTS[name]).logits
    expected = json.loads((SAVED / name / "expected.json").read_text())
    assert list(logits.shape) == expected["shape"]
    found = logits.flatten()[: len(expected["logits"])]
    torch.testing.assert_close(found, torch.tensor(expected["logits"]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(NESTED))
def test_what_is_saved_again_is_nested_and_means_the_same(name, tmp_path):
    model = AutoModel.from_pretrained(SAVED / name)
    model.save_pretrained(tmp_path)
    old, new = (json.loads((folder / "config.json").read_text()) for folder in (SAVED / name, tmp_path))
    nested = new[NESTED[name]]
    assert not set(nested) & set(new) - {"dtype", "model_type"}
    assert nested["hidden_size"] == old["hidden_size"] and "hidden_size" not in new
    assert nested["attention_probs_dropout_prob"] == 0.1 and "attention_dropout_prob" not in nested
    for field in set(nested) & set(old) - {"model_type"}:
        assert nested[field] == old[field]
    opened = type(model.config).from_pretrained(tmp_path)
    assert opened.to_diff_dict() == model.config.to_diff_dict()
    weights = load_file(tmp_path / "model.safetensors")
    assert all(
        torch.equal(weights[key], value) for key, value in load_file(SAVED / name / "model.safetensors").items()
    )
