import logging

import pytest

from hf_vidmodels.configuration.configuration_stts import SttsConfig
from stts_cases import load_operators


def plans_of(name, **overrides):
    return {plan.kind: plan for plan in SttsConfig.from_preset(name, **overrides).selector_plans()}


@pytest.mark.parametrize(
    ("preset", "frames", "side", "anchors"),
    [
        ("mvit-b-16x4-t0.9-s0.9", 7, 13, 4),
        ("mvit-b-16x4-t0.8-s0.9", 6, 13, 4),
        ("mvit-b-16x4-t0.6-s0.9", 5, 13, 4),
        ("mvit-b-16x4-t0.5-s0.7", 4, 12, 9),
        ("mvit-b-16x4-t0.4-s0.6", 3, 11, 16),
    ],
)
def test_mvit_presets_keep_the_published_frames_and_windows(preset, frames, side, anchors):
    for sizing in ("grid", "official"):
        plans = plans_of(preset, anchor_sizing=sizing)
        assert (plans["temporal"].layer, plans["temporal"].kept) == (0, frames)
        assert (plans["spatial"].layer, plans["spatial"].kept) == (4, side)
        assert plans["spatial"].anchors_per_side ** 2 == anchors
        assert plans["spatial"].output_grid == (frames, side, side)


@pytest.mark.parametrize(
    ("suffix", "frames"), [("t0.9", 14), ("t0.8", 12), ("t0.6", 10), ("t0.5", 9), ("t0.4", 6), ("k8", 8)]
)
def test_swin_presets_keep_the_published_frames(suffix, frames):
    plans = plans_of(f"video-swin-b-32x2-{suffix}")
    assert list(plans) == ["temporal"]
    assert (plans["temporal"].layer, plans["temporal"].kept, plans["temporal"].width) == (0, frames, 128)


def test_fields_left_out_are_those_of_the_chosen_backbone():
    mvit, swin = SttsConfig(), SttsConfig(backbone_type="video_swin")
    assert (mvit.num_frames, mvit.hidden_size, mvit.layer_norm_eps, mvit.sigma, mvit.sigma_schedule) == (
        16,
        96,
        1e-6,
        0.1,
        "linear",
    )
    assert (swin.num_frames, swin.hidden_size, swin.layer_norm_eps, swin.sigma, swin.sigma_schedule) == (
        32,
        128,
        1e-5,
        0.05,
        "constant",
    )
    assert swin.patch_size == [2, 4, 4] and swin.depths == [2, 2, 18, 2]
    assert mvit.num_labels == swin.num_labels == 400


@pytest.mark.parametrize("num_labels", [1, 2, 7])
def test_any_number_of_classes_survives_json(num_labels, tmp_path):
    SttsConfig(num_labels=num_labels).save_pretrained(tmp_path)
    assert SttsConfig.from_pretrained(tmp_path).num_labels == num_labels


def test_the_backbone_gets_the_fields_that_it_shares():
    config = SttsConfig.from_preset("tiny-mvit", pool_norm_eps=3e-6, pool_kv_kernel={3: [1, 1, 1]})
    backbone = config.backbone_config
    assert (backbone.pool_norm_eps, backbone.hidden_size, backbone.num_frames) == (3e-6, 8, 8)
    assert backbone.pool_kv_kernel == {3: [1, 1, 1]}


def test_sigma_follows_the_official_schedule():
    operators, _ = load_operators()
    config = SttsConfig()
    for step, total, sigma in operators["sigma_schedule"]:
        assert config.sigma_at(step / total) == pytest.approx(sigma, rel=1e-12)
    assert SttsConfig(sigma_schedule="constant").sigma_at(0.7) == 0.1
    with pytest.raises(ValueError, match=r"progress must be in \[0, 1\], the share of .* got 1.5"):
        config.sigma_at(1.5)


def test_several_selectors_choose_from_what_those_before_left():
    settings = {"temporal_select_layers": [0, 2, 4], "temporal_keep_ratios": [0.75, 0.67, 0.5]}
    plans = SttsConfig(**settings, spatial_select_layers=[], spatial_keep_ratios=[]).selector_plans()
    assert [plan.kept for plan in plans] == [6, 4, 2]
    assert [plan.grid for plan in plans] == [(8, 56, 56), (6, 28, 28), (4, 14, 14)]
    assert [plan.width for plan in plans] == [96, 192, 384]


def test_ratios_that_are_whole_products_lose_nothing_to_rounding():
    config = SttsConfig(num_frames=200, temporal_keep_ratios=[0.29], spatial_select_layers=[], spatial_keep_ratios=[])
    assert config.selector_plans()[0].kept == 29


def test_official_sizes_of_windows_follow_a_count_that_strays_from_the_grid():
    def sides(**settings):
        base = {"temporal_select_layers": [], "temporal_keep_ratios": []}
        return [
            [plan.kept for plan in SttsConfig(**base, **settings, anchor_sizing=sizing).selector_plans()]
            for sizing in ("grid", "official")
        ]

    # Before a pooling block the official code counts the tokens that leave its pooling: 7 * 7 instead of 14 * 14.
    assert sides(spatial_select_layers=[14], spatial_keep_ratios=[0.75]) == [[12], [6]]
    # Two in a row: floor(floor(196 * 0.8) * 0.9) = 140 tokens, not floor(12 * 12 * 0.9).
    assert sides(spatial_select_layers=[4, 6], spatial_keep_ratios=[0.8, 0.9]) == [[12, 11], [12, 11]]
    assert sides(spatial_select_layers=[4, 6], spatial_keep_ratios=[0.86, 0.86]) == [[12, 11], [12, 12]]
    # Video Swin: a grid of 9 x 9 is merged into 5 x 5, counted as 81 // 4.
    swin = {"backbone_type": "video_swin", "image_size": 36, "hidden_size": 32, "depths": [2, 2]}
    swin |= {"num_attention_heads": [2, 4], "spatial_select_layers": [1], "spatial_keep_ratios": [0.8]}
    assert sides(**swin) == [[4], [4]]
    assert sides(**swin | {"spatial_keep_ratios": [1.0]}) == [[5], [4]]


def test_without_selection_nothing_is_planned():
    config = SttsConfig(selection_mode="none")
    assert config.selector_plans() == [] and not config.has_selection
    assert SttsConfig(selection_mode="random").selector_plans() == SttsConfig().selector_plans()


def test_a_padded_swin_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        SttsConfig.from_preset("video-swin-b-32x2-k8")
        SttsConfig.from_preset("video-swin-b-32x2")
        assert not caplog.text
        SttsConfig.from_preset("video-swin-b-32x2-t0.5")
    assert "keeps 9 frames, which attention pads to 16" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone_type": "resnet"}, "backbone_type must be one of 'mvit', 'video_swin', got 'resnet'"),
        (
            {"selection_mode": "topk"},
            "selection_mode must be one of 'learned', 'random', 'uniform', 'none', got 'topk'",
        ),
        ({"sigma_schedule": "cosine"}, "sigma_schedule must be one of 'linear', 'constant', got 'cosine'"),
        ({"topk_gradient": "half"}, "topk_gradient must be one of 'diagonal', 'full', got 'half'"),
        ({"num_noise_samples": 0}, "num_noise_samples must be 1 or more, got 0"),
        ({"sigma": -0.1}, "sigma must be 0 or more, got -0.1"),
        ({"classifier_dropout": 1.0}, r"classifier_dropout must be in \[0, 1\), got 1.0"),
        ({"num_frames": 7}, "num_frames must be a positive multiple of the patch stride 2, got 7; the nearest is 8"),
        (
            {"image_size": 230},
            "image_size must be a positive multiple of the patch stride 4, got 230; the nearest is 232",
        ),
        (
            {"image_size": [224, 200]},
            r"image_size must be one number for an MViT, which takes squares, got \[224, 200\]",
        ),
        ({"num_attention_heads": [1, 2]}, "num_attention_heads must be one number for an MViT"),
        ({"temporal_keep_ratios": [1.2]}, r"temporal keep ratio before block 0 must be in \(0, 1\], got 1.2"),
        (
            {"temporal_keep_ratios": [0.1]},
            "temporal selector before block 0 would keep no frame: ratio 0.1 of 8; .* 0.1250",
        ),
        ({"spatial_keep_ratios": [0.001]}, "spatial selector before block 4 would keep no token: ratio 0.001 of 196"),
        ({"temporal_keep_ratios": [0.5, 0.5]}, "must have the same length, got 1 and 2"),
        ({"spatial_select_layers": [16]}, r"spatial_select_layers names block 16, but the network has blocks 0\.\.15"),
        ({"temporal_select_layers": [-1]}, "temporal_select_layers names block -1"),
        (
            {"spatial_select_layers": [4, 4], "spatial_keep_ratios": [0.9, 0.9]},
            r"spatial_select_layers must ascend without repetition, got \[4, 4\]",
        ),
        ({"spatial_anchor_stride": 0}, "spatial_anchor_stride must be positive or None, got 0"),
        (
            {"hidden_size": 95, "dim_mul": [], "head_mul": []},
            "temporal scorer before block 0 would have width 190, which must be a multiple of 4",
        ),
        (
            {"backbone_type": "video_swin", "num_attention_heads": 4},
            "one number for each stage of a Video Swin, got 4",
        ),
        (
            {
                "backbone_type": "video_swin",
                "image_size": [224, 192],
                "spatial_select_layers": [1],
                "spatial_keep_ratios": [0.5],
            },
            r"spatial selector before stage 1 needs a square grid, but frames of \[224, 192\] pixels give 28 x 24",
        ),
        (
            {"backbone_type": "video_swin", "temporal_select_layers": [4]},
            r"temporal_select_layers names stage 4, but the network has stages 0\.\.3",
        ),
    ],
)
def test_contradictions_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SttsConfig(**settings)
