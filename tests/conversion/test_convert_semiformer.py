"""Official Semiformer checkpoints, both ways, and those that are not."""

import argparse

import pytest
import torch
from safetensors.torch import save_file

from hf_vidmodels.conversion.convert_checkpoint import convert_official_checkpoint
from hf_vidmodels.conversion.convert_semiformer import convert_semiformer, export_semiformer
from hf_vidmodels.modeling.modeling_semiformer import SemiformerForImageClassification
from method_examples import semiformer_config
from semiformer_cases import load_case


@pytest.fixture
def case():
    return load_case("pe_tiny")


def test_weights_go_back_to_their_official_names_bit_by_bit(case):
    back = export_semiformer(convert_official_checkpoint("semiformer", case.weights, case.options))
    assert back.keys() == case.weights.keys()
    assert all(torch.equal(back[name], value) for name, value in case.weights.items())


def test_class_widths_and_depth_follow_from_the_weights(case):
    config = convert_semiformer(case.weights, {"num_heads": 2}).config
    assert config.use_position_embeddings and config.num_hidden_layers == 3 and config.num_labels == 10
    assert (config.hidden_size, config.conv_channel_ratio, config.patch_size) == (32, 0.25, 16)


def test_a_training_checkpoint_is_read_with_its_arguments_and_average(case, tmp_path):
    shifted = {name: value + 1 if value.is_floating_point() else value for name, value in case.weights.items()}
    weights = {f"module.{name}": value for name, value in case.weights.items()}
    content = {"model": weights, "model_ema": shifted, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "checkpoint.pth")
    model = convert_semiformer(tmp_path / "checkpoint.pth", case.options)
    assert torch.equal(model.embeddings.cls_token, case.weights["cls_token"])
    average = convert_semiformer(tmp_path / "checkpoint.pth", case.options | {"weights": "model_ema"})
    assert torch.equal(average.embeddings.cls_token, case.weights["cls_token"] + 1)


def test_a_new_number_of_classes_drops_both_heads_and_says_so(case, tmp_path, caplog):
    save_file(case.weights, tmp_path / "weights.safetensors")
    options = case.options | {"num_classes": 3, "new_classes": True}
    model = convert_semiformer(tmp_path / "weights.safetensors", options)
    assert model.config.num_labels == 3 and "start afresh" in caplog.text and "conv_cls_head.weight" in caplog.text
    assert torch.equal(model.embeddings.cls_token, case.weights["cls_token"])


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (lambda weights: weights.pop("bn1.bias"), {}, "the checkpoint lacks weights of the model: bn1.bias"),
        (lambda weights: weights.update(extra=torch.ones(1)), {}, "the model has no place for: extra"),
        (lambda weights: None, {"depth": 6}, "the model has no place for: conv_trans_2.cnn_block.residual_bn"),
        (lambda weights: None, {"embed_dim": 64}, r"cls_token has shape \(1, 1, 32\) but"),
        (lambda weights: None, {"num_classes": 3}, r"(conv|trans)_cls_head.(weight|bias) has shape"),
        (lambda weights: None, {"dept": 3}, "options that Semiformer does not know: dept"),
        (lambda weights: None, {"official_class": "Conformer"}, "official_class must be one of Semiformer,"),
        (lambda weights: weights.pop("cls_token"), {}, "is not of Semiformer: it lacks cls_token"),
    ],
)
def test_what_does_not_fit_is_named(case, change, options, sentence):
    weights = dict(case.weights)
    change(weights)
    with pytest.raises(ValueError, match=sentence):
        convert_semiformer(weights, case.options | options)


def test_a_checkpoint_of_conformer_is_told_by_its_first_weights(case):
    weights = dict(case.weights)
    block = "conv_trans_2.fusion_block.conv1.weight"
    weights[block] = torch.zeros(8, 8, 1, 1)
    weights["conv_trans_2.squeeze_block.conv_project.weight"] = torch.zeros(32, 8, 1, 1)
    with pytest.raises(ValueError, match="conv_trans_2.* has shape"):
        convert_semiformer(weights, case.options)


def test_a_network_of_one_stream_has_no_official_form():
    model = SemiformerForImageClassification(semiformer_config(streams="conv"))
    with pytest.raises(ValueError, match="the official code has both streams"):
        export_semiformer(model)
