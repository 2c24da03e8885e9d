import importlib.util
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModel

from asm_loc_cases import FOLDER, NAMES
from hf_vidmodels.configuration.configuration_asm_loc import AsmLocConfig
from hf_vidmodels.conversion.convert_asm_loc import config_from_official
from hf_vidmodels.conversion.convert_checkpoint import convert_official_checkpoint

SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_checkpoint.py"


def options_of(name):
    return json.loads((FOLDER / name / "config.json").read_text())


def weights_of(name):
    return [load_file(FOLDER / name / f"{part}.safetensors") for part in ("state_dict_base", "state_dict")]


@pytest.fixture
def options():
    return options_of("thumos_tiny")


@pytest.fixture
def weights():
    return weights_of("thumos_tiny")


def convert(weights, options):
    return convert_official_checkpoint("asm_loc", weights, options)


def as_official_file(path, state_dict):
    """Write what the official training script writes, a NumPy number included."""
    content = {"epoch": 3, "model_state_dict": state_dict, "optimizer": {}, "best_test_mAP": np.float64(0.25)}
    torch.save(content, path)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_arrives_unchanged(name):
    parts = weights_of(name)
    state_dict = convert(parts, options_of(name)).state_dict()
    assert len(state_dict) == sum(len(part) for part in parts)
    embedding = "feature_embedding.0" if name == "thumos_tiny" else "feature_embedding.1"
    pairs = {
        "steps.0.embedding.weight": parts[0][f"{embedding}.weight"],
        "steps.0.classifier.bias": parts[0]["snippet_cls.bias"],
        "steps.1.attention_head.weight": parts[1]["att_branch.weight"],
        "steps.1.intra_attention.query.weight": parts[1]["MHSA_Intra.conv_query.weight"],
        "steps.1.inter_attention.output.bias": parts[1]["MHSA_Inter.conv_out.bias"],
        "steps.1.inter_attention.batch_norm.running_var": parts[1]["MHSA_Inter.bn.running_var"],
        "steps.1.uncertainty_head.weight": parts[1]["uncertainty_branch.weight"],
    }
    for ours, official in pairs.items():
        assert torch.equal(state_dict[ours], official), ours


def test_official_options_become_our_fields():
    config = config_from_official(options_of("activitynet_tiny"))
    assert (config.hidden_size, config.num_labels, config.num_snippets, config.max_proposals) == (24, 6, 40, 60)
    assert config.input_dropout_prob == config.head_dropout_prob == config.hidden_dropout_prob == 0.7
    assert config.restrict_sampling_to_labels is False
    assert config.id2label[5] == "class_05"
    assert config.average_tiou_thresholds == config.tiou_thresholds
    thumos = config_from_official(options_of("thumos_tiny"))
    assert thumos.average_tiou_thresholds == thumos.tiou_thresholds[:7]
    assert thumos.head_dropout_prob == 0


def test_options_left_out_have_the_official_values(caplog):
    for dataset, preset in (("THUMOS", "asm-loc-thumos"), ("ActivityNet", "asm-loc-activitynet")):
        assert config_from_official({"dataset": dataset}).to_dict() == AsmLocConfig.from_preset(preset).to_dict()
    with caplog.at_level(logging.WARNING):
        config_from_official({"dataset": "THUMOS", "nms_tresh": 0.3, "lr": 1e-4})
    assert "no effect on the model: nms_tresh" in caplog.text
    assert "lr" not in caplog.text


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_released_folder_is_converted(tmp_path, weights, options, suffix):
    names = ("model_step0_last_epoch", "model_step1_best_epoch")
    for name, part in zip(names, weights, strict=True):
        path = tmp_path / f"{name}.{suffix}"
        save_file(part, path) if suffix == "safetensors" else as_official_file(path, part)
    expected = convert(weights, options).state_dict()
    for checkpoint in (tmp_path, str(tmp_path), [tmp_path / f"{name}.{suffix}" for name in names]):
        for key, value in convert(checkpoint, options).state_dict().items():
            assert torch.equal(value, expected[key])


def test_a_folder_may_hold_the_last_epoch_of_the_last_step(tmp_path, weights, options):
    for step, part in enumerate(weights):
        save_file(part, tmp_path / f"model_step{step}_last_epoch.safetensors")
    save_file(weights[0], tmp_path / "model_step0_best_epoch.safetensors")
    assert len(convert(tmp_path, options).steps) == 2


def test_a_base_network_alone_needs_num_steps_of_zero(weights, options):
    assert len(convert(weights[0], options | {"num_steps": 0}).steps) == 1
    with pytest.raises(ValueError, match="network of step 1 is missing: .* or convert fewer with num_steps=0"):
        convert(weights[0], options)


def test_a_missing_step_of_a_folder_is_named(tmp_path, weights, options):
    save_file(weights[0], tmp_path / "model_step0_last_epoch.safetensors")
    with pytest.raises(FileNotFoundError, match=r"lacks the network of step 1: expected model_step1_best_epoch\.pth"):
        convert(tmp_path, options)
    save_file(weights[1], tmp_path / "model_step1_best_epoch.safetensors")
    with pytest.raises(ValueError, match="networks up to step 1 but num_steps=0"):
        convert(tmp_path, options | {"num_steps": 0})


def test_what_does_not_fit_is_named(weights, options):
    other_variant = weights_of("activitynet_tiny")[1]
    base, full = weights
    extra = full | {"MHSA_Intra.relative_bias": torch.zeros(2)}
    without = {key: value for key, value in full.items() if key != "MHSA_Inter.bn.running_mean"}
    odd_kernel = base | {"feature_embedding.0.weight": torch.zeros(32, 32, 5)}
    for parts, changed, message in (
        ([base, other_variant], {}, r"step 1 is of the ActivityNet variant \(it has feature_embedding\.1"),
        (weights, {"dataset": "ActivityNet"}, "step 0 is of the THUMOS variant"),
        ([full, base], {}, "step 0 is a refinement network but step 0 is the base network; .* base first"),
        ([base, base], {}, "step 1 is a base network but step 1 is a refinement network"),
        ([base, full, full], {}, "3 networks given where num_steps=1 means 2"),
        ([base, extra], {}, "no place for: MHSA_Intra.relative_bias of step 1"),
        ([base, without], {}, r"lacks weights of the model: steps\.1\.inter_attention\.batch_norm\.running_mean"),
        (weights, {"action_cls_num": 7, "class_names": None}, r"action_cls_num=5 \(num_labels\) would fit, .* says 7"),
        (weights, {"feature_dim": 64}, r"feature_dim=32 \(hidden_size\) would fit, .* says 64"),
        ([odd_kernel, full], {}, r"feature_embedding\.0\.weight of step 0 has shape \(32, 32, 5\)"),
        ([{"conv1.weight": torch.zeros(2)}, full], {}, r"step 0 lacks feature_embedding\.0\.weight"),
        ([], {}, "network of step 0 is missing"),
        (weights, {"class_names": ["a", "b"]}, "class_names holds 2 names but action_cls_num is 5"),
        (weights, {"dataset": "thumos"}, "must be one of THUMOS, ActivityNet, .* got 'thumos'"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(parts, options | changed)
    with pytest.raises(ValueError, match="no converter for method 'asm-loc'; there are: asm_loc"):
        convert_official_checkpoint("asm-loc", weights, options)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("convert_checkpoint_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_leaves_a_folder_that_the_auto_classes_open(script, tmp_path, weights, options, capsys):
    parts = [str(FOLDER / "thumos_tiny" / f"{part}.safetensors") for part in ("state_dict_base", "state_dict")]
    common = ["--method", "asm_loc", "--official_config", str(FOLDER / "thumos_tiny" / "config.json")]
    target = tmp_path / "converted"
    script.main([*common, "--checkpoint", *parts, "--output_dir", str(target)])
    assert "converted 15,344 parameters" in capsys.readouterr().out
    assert sorted(path.name for path in target.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    loaded, expected = AutoModel.from_pretrained(target), convert(weights, options).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())
    assert AutoFeatureExtractor.from_pretrained(target).feature_size == 32

    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        script.main([*common, "--checkpoint", *parts, "--output_dir", str(target)])
    with pytest.raises(ValueError, match="network of step 1 is missing"):
        script.main([*common, "--checkpoint", parts[0], "--output_dir", str(tmp_path / "partial")])
    assert [path.name for path in tmp_path.iterdir()] == ["converted"]


def test_the_script_names_bad_option_files(script, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    common = ["--method", "asm_loc", "--checkpoint", "absent.pth", "--output_dir", str(tmp_path / "converted")]
    for name, error, message in (
        ("absent.json", FileNotFoundError, "is missing; it should hold the official options"),
        ("broken.json", ValueError, "is not valid JSON"),
        ("list.json", ValueError, "must hold a JSON object"),
    ):
        with pytest.raises(error, match=message):
            script.main([*common, "--official_config", str(tmp_path / name)])
