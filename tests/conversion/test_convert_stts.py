import importlib.util
import json
import re

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models.video import mvit, swin_transformer
from transformers import AutoModelForVideoClassification

from hf_vidmodels.configuration.configuration_stts import SttsConfig
from hf_vidmodels.conversion.convert_checkpoint import convert_official_checkpoint
from hf_vidmodels.conversion.convert_stts import convert_stts
from hf_vidmodels.conversion.stts_layouts import Layout
from hf_vidmodels.modeling.modeling_stts import SttsForVideoClassification
from stts_cases import load_case

NO_SELECTION = {
    "temporal_select_layers": [],
    "temporal_keep_ratios": [],
    "spatial_select_layers": [],
    "spatial_keep_ratios": [],
}
# What the weights of the tiny MViT do not decide, by official names.
TINY_OPTIONS = {
    "MVIT.DIM_MUL": [[1, 2.0], [3, 2.0]],
    "MVIT.HEAD_MUL": [[1, 2.0], [3, 2.0]],
    "MVIT.POOL_Q_STRIDE": [[1, 1, 2, 2]],
    "MVIT.POOL_KV_STRIDE_ADAPTIVE": [1, 2, 2],
}


def convert(weights, options):
    return convert_official_checkpoint("stts", weights, options)


def randomized(model):
    """Leave no parameter at a value that hides a mistake."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def tiny_mvit(**overrides):
    settings = {**NO_SELECTION, "num_labels": 5, "pool_kv_stride_adaptive": (1, 2, 2)} | overrides
    return randomized(SttsForVideoClassification(SttsConfig.from_preset("tiny-mvit", **settings)))


def official_weights(model):
    """Give a model's weights as the official code would save them."""
    layout = Layout(model.config.backbone_type, False, {}, {})
    weights = {}
    for key, value in model.state_dict().items():
        weights.setdefault(layout.name_of(key), []).append(value)
    return {name: torch.cat(parts) for name, parts in weights.items()}


def assert_same_answers(reference, model, clips):
    with torch.no_grad():
        for number in (1, 2):
            ours = model(clips[:number]).logits
            torch.testing.assert_close(ours, reference(clips[:number].transpose(1, 2)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("temporal_size", "spatial_size", "stride_kv", "kernel_kv"),
    [(8, 32, [1, 4, 4], [3, 3, 3]), (6, 40, [1, 1, 1], [1, 3, 3]), (4, 48, [2, 2, 2], [3, 5, 3])],
)
def test_torchvisions_mvit_answers_alike(temporal_size, spatial_size, stride_kv, kernel_kv):
    blocks = [
        mvit.MSBlockConfig(1, 16, 32, [], kernel_kv, [], stride_kv),
        mvit.MSBlockConfig(2, 32, 32, [3, 3, 3], kernel_kv, [1, 2, 2], stride_kv),
        mvit.MSBlockConfig(2, 32, 32, [], kernel_kv, [], stride_kv),
    ]
    reference = mvit.MViT((spatial_size,) * 2, temporal_size, blocks, False, False, False, False, num_classes=7)
    options = {
        "MVIT.DIM_MUL": [[1, 2.0]],
        "MVIT.HEAD_MUL": [[1, 2.0]],
        "MVIT.POOL_Q_STRIDE": [[1, 1, 2, 2]],
        "MVIT.POOL_KV_STRIDE": [[block, *stride_kv] for block in range(3)],
        "pool_kv_kernel": {block: kernel_kv for block in range(3)},
    }
    model = convert(randomized(reference).state_dict(), options)
    assert (model.config.num_frames, model.config.image_size, model.config.num_labels) == (
        temporal_size,
        spatial_size,
        7,
    )
    assert_same_answers(reference, model, torch.randn(2, temporal_size, 3, spatial_size, spatial_size))


def test_torchvisions_published_mvit_needs_no_options_and_full_ratios_change_nothing():
    reference = torchvision.models.video.mvit_v1_b(weights=None, num_classes=11).eval()
    options = {"temporal_select_layers": [0], "temporal_keep_ratios": [1.0], "allow_new_scorer": True}
    model = convert(reference.state_dict(), options)
    assert model.config.pool_norm_eps == 1e-6
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == 36_610_672 - 400 * 769
    clips = torch.randn(1, 16, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(model(clips).logits, reference(clips.transpose(1, 2)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["swin3d_t", "swin3d_s", "swin3d_b"])
def test_torchvisions_published_swins_answer_alike(name):
    reference = getattr(torchvision.models.video, name)(weights=None, num_classes=6)
    model = convert(randomized(reference).state_dict(), {"num_frames": 4, "image_size": 32})
    assert model.config.window_size == [8, 7, 7]
    assert_same_answers(reference, model, torch.randn(2, 4, 3, 32, 32))


@pytest.mark.parametrize(("frames", "height", "width"), [(9, 52, 40), (7, 33, 61), (20, 24, 24)])
def test_a_swin_of_another_window_answers_alike_for_sizes_that_nothing_divides(frames, height, width):
    reference = swin_transformer.SwinTransformer3d([2, 4, 4], 12, [2, 3], [2, 3], [4, 3, 3], num_classes=5)
    options = {"backbone": {"num_frames": frames, "image_size": [height, width]}}
    model = convert(randomized(reference).state_dict(), options)
    assert model.config.window_size == [4, 3, 3]
    assert_same_answers(reference, model, torch.randn(2, frames, 3, height, width))


def test_options_left_out_are_read_from_the_weights():
    original = tiny_mvit(norm_stem=True, separable_pos_embed=True)
    config = convert(official_weights(original), TINY_OPTIONS).config
    for field in ("num_frames", "image_size", "hidden_size", "num_hidden_layers", "norm_stem", "num_labels"):
        assert getattr(config, field) == getattr(original.config, field), field


@pytest.mark.parametrize(
    "overrides",
    [
        {"use_cls_token": False},
        {"separable_pos_embed": False},
        {"use_cls_token": False, "separable_pos_embed": False, "norm_stem": True, "qkv_bias": False},
        {"pool_mode": "max"},
        {"pool_mode": "avg", "pool_kvq_kernel": None},
    ],
)
def test_every_variant_of_the_official_mvit_comes_back(overrides):
    original = tiny_mvit(**overrides)
    options = TINY_OPTIONS | {
        "DATA.NUM_FRAMES": 8,
        "DATA.TRAIN_CROP_SIZE": 32,
        "MVIT.MODE": original.config.pool_mode,
        "MVIT.POOL_KVQ_KERNEL": original.config.pool_kvq_kernel,
    }
    model = convert(official_weights(original), options)
    clips = torch.randn(2, 8, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(clips).logits, original(clips).logits)


def test_slowfast_files_without_the_last_pools_are_built_without_them(caplog):
    original = tiny_mvit(pool_kv_kernel={1: [1, 1, 1], 2: [1, 1, 1], 3: [1, 1, 1]})
    weights = official_weights(original)
    assert "blocks.0.attn.pool_k.weight" in weights and "blocks.3.attn.pool_k.weight" not in weights
    model = convert(weights, TINY_OPTIONS)
    assert "pools no keys and values in blocks 1, 2, 3, as SlowFast did until June 2021" in caplog.text
    assert model.config.pool_kv_kernel == {1: [1, 1, 1], 2: [1, 1, 1], 3: [1, 1, 1]}
    clips = torch.randn(1, 8, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(clips).logits, original(clips).logits)


def test_slowfast_files_with_queries_keys_and_values_apart_are_joined():
    original = tiny_mvit()
    joined = official_weights(original)
    weights = {}
    for name, value in joined.items():
        if ".qkv." in name:
            parts = zip("qkv", value.chunk(3), strict=True)
            weights |= {name.replace(".qkv.", f".{letter}."): part.clone() for letter, part in parts}
        else:
            weights[name] = value
    model = convert(weights, TINY_OPTIONS)
    for key, value in original.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    del weights["blocks.2.attn.k.bias"]
    with pytest.raises(
        ValueError, match=r"keeps blocks\.2\.attn\.q\.bias, k and v apart but lacks blocks\.2\.attn\.k"
    ):
        convert(weights, TINY_OPTIONS)


def test_wrapped_and_nested_forms_of_weights_and_options_are_understood(tmp_path):
    case = load_case("mvit_time_space", "fixture")
    plain = convert(case.weights, case.options["official"]).state_dict()
    path = tmp_path / "checkpoint.pyth.pth"
    content = {
        "epoch": 3,
        "model_state": {f"module.{key}": value for key, value in case.weights.items()},
        "cfg": "a: 1",
    }
    torch.save(content, path)
    nested = {}
    for name, value in case.options["official"].items():
        section, _, option = name.partition(".")
        nested.setdefault(section, {})[option] = value
    for options in (case.options, nested):
        model = convert(path, options)
        assert all(torch.equal(value, plain[key]) for key, value in model.state_dict().items())


def test_the_released_file_ending_is_read(tmp_path):
    case = load_case("mvit_time_space", "fixture")
    torch.save({"model_state": case.weights, "epoch": 19}, tmp_path / "checkpoint_epoch_00020.pyth")
    assert convert(tmp_path / "checkpoint_epoch_00020.pyth", case.options).config.num_labels == 11


def test_official_checkpoints_keep_the_official_sizes_of_windows():
    case = load_case("mvit_time_space", "fixture")
    assert convert(case.weights, case.options).config.anchor_sizing == "official"


def test_the_script_converts_a_file(tmp_path):
    case = load_case("video_swin_time", "fixture")
    save_file(case.weights, tmp_path / "swin.safetensors")
    (tmp_path / "options.json").write_text(json.dumps(case.options))
    script = importlib.util.spec_from_file_location("convert_script", "scripts/convert_checkpoint.py")
    module = importlib.util.module_from_spec(script)
    script.loader.exec_module(module)
    arguments = ["--method", "stts", "--checkpoint", str(tmp_path / "swin.safetensors")]
    arguments += ["--official_config", str(tmp_path / "options.json"), "--output_dir", str(tmp_path / "out")]
    module.main(arguments)
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "out")
    assert type(model) is SttsForVideoClassification
    assert torch.equal(model.classifier.weight, case.weights["cls_head.fc_cls.weight"])


def changed(case, **changes):
    """Weights of a case with some replaced; None takes one away."""
    weights = dict(case.weights)
    for name, value in changes.items():
        name = name.replace("__", ".")
        weights.pop(name, None)
        if value is not None:
            weights[name] = value
    return weights


@pytest.mark.parametrize(
    ("case", "changes", "options", "message"),
    [
        ("mvit_time_space", {"extra__weight": torch.zeros(1)}, {}, "no place for: extra.weight"),
        ("mvit_time_space", {"norm__weight": None}, {}, "lacks weights of the model: norm.weight"),
        (
            "mvit_time_space",
            {"blocks__4__attn__pool_k__weight": None, "blocks__4__attn__norm_v__bias": None},
            {},
            "lacks weights of the model: blocks.4.attn.norm_v.bias, blocks.4.attn.pool_k.weight",
        ),
        ("mvit_time_space", {"blocks__1__attn__qkv__weight": None}, {}, "lacks weights .* blocks.1.attn.qkv.weight"),
        (
            "mvit_time_space",
            {},
            {"MODEL.NUM_CLASSES": 7},
            r"head.projection.* has shape \(11,.*num_labels=11 would fit",
        ),
        ("mvit_time_space", {}, {"DATA.NUM_FRAMES": 8}, "pos_embed_temporal .*: num_frames=16 would fit"),
        (
            "mvit_time_space",
            {},
            {"DATA.TRAIN_CROP_SIZE": 32, "DATA.TEST_CROP_SIZE": 32},
            "pos_embed_spatial .*: image_size=64 would fit",
        ),
        ("mvit_time_space", {}, {"MVIT.EMBED_DIM": 32}, "hidden_size=16 would fit"),
        ("mvit_time_space", {}, {"MVIT.PATCH_KERNEL": [1, 7, 7], "MVIT.PATCH_PADDING": [0, 3, 3]}, "patch_size="),
        ("mvit_time_space", {}, {"MVIT.NUM_HEADS": 2}, "heads of width 16 would fit"),
        ("mvit_time_space", {}, {"MVIT.POOL_KVQ_KERNEL": [1, 3, 3]}, r"pool_kvq_kernel=\[3, 3, 3\] would fit"),
        ("mvit_time_space", {}, {"MVIT.MLP_RATIO": 2.0}, "another mlp_ratio"),
        ("mvit_time_space", {}, {"MVIT.SPACE_PRUNING_LOC": [4]}, "selector belongs before a layer of another width"),
        ("mvit_time_space", {}, {"DATA.TEST_CROP_SIZE": 80}, "TRAIN_CROP_SIZE and DATA.TEST_CROP_SIZE must be equal"),
        ("mvit_time_space", {}, {"MVIT.SPACE_SCORE": "random"}, "MVIT.SPACE_SCORE must be 'spatch'.*got 'random'"),
        (
            "mvit_time_space",
            {},
            {"MVIT.TIME_PRUNING_LOC": None, "MVIT.TIME_LEFT_RATIO": None},
            "holds 1 temporal scorers but the options place 0; give MVIT.TIME_PRUNING_LOC and MVIT.TIME_LEFT_RATIO",
        ),
        (
            "mvit_time_space",
            {},
            {"MVIT.TIME_PRUNING_LOC": [0, 3], "MVIT.TIME_LEFT_RATIO": [0.6, 0.5]},
            r"lacks scorers .*: time_score_predictor\.1\.score_network.* allow_new_scorer=True",
        ),
        ("video_swin_time", {}, {"window_size": [8, 7, 7]}, r"window_size=\[8, 7, 7\] has 2535 .* window 175"),
        ("video_swin_time", {}, {"num_attention_heads": [4, 4]}, "num_attention_heads=2 would fit this stage"),
        ("video_swin_time", {}, {"hidden_size": 32}, "hidden_size=16 would fit"),
        ("video_swin_time", {}, {"backbone.qk_scale": 0.5}, "backbone.qk_scale must be None"),
        (
            "video_swin_time",
            {},
            {"MVIT.DEPTH": 4},
            "backbone_type 'video_swin', but MVIT.DEPTH is an option of 'mvit'",
        ),
        (
            "video_swin_time",
            {"backbone__layers__0__blocks__0__attn__relative_position_index": torch.zeros(36, 36, dtype=torch.long)},
            {},
            "belong to no window",
        ),
    ],
)
def test_what_does_not_belong_together_is_named(case, changes, options, message):
    case = load_case(case, "fixture")
    official = case.options["official"]
    with pytest.raises(ValueError, match=message):
        convert(changed(case, **changes), {**official, **options})


def test_weights_of_another_network_are_refused_by_their_names():
    weights = torchvision.models.resnet18(weights=None).state_dict()
    with pytest.raises(ValueError, match="of no layout known for stts .*; their names begin with conv1.weight"):
        convert(weights, {})


def test_new_scorers_start_at_random_only_when_allowed(caplog):
    weights = official_weights(tiny_mvit())
    selection = {"MVIT.TIME_PRUNING_LOC": [0], "MVIT.TIME_LEFT_RATIO": [0.5]}
    with pytest.raises(ValueError, match="allow_new_scorer=True"):
        convert(weights, TINY_OPTIONS | selection)
    model = convert_stts(weights, TINY_OPTIONS | selection, allow_new_scorer=True)
    assert "new scorers, to be trained: temporal_selectors.0" in caplog.text
    assert model.config.sigma == 0.1
    assert model.temporal_selectors[0].scorer.embedding.weight.std() > 0


def test_a_scorer_in_part_is_no_new_one():
    case = load_case("mvit_time_space", "fixture")
    name = "time_score_predictor.0.score_network.out_conv.0.weight"
    weights = {key: value for key, value in case.weights.items() if key != name}
    with pytest.raises(ValueError, match=re.escape(name)):
        convert_stts(weights, case.options, allow_new_scorer=True)


def test_options_without_effect_are_named_in_a_warning(caplog):
    case = load_case("video_swin_time", "fixture")
    convert(case.weights, {**case.options["official"], "colour": "blue"})
    assert "no effect on the model: colour" in caplog.text
