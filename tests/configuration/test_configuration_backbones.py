import pytest

from hf_vidmodels.configuration.configuration_backbones import MvitConfig, VideoSwinConfig, round_width


def test_the_blocks_of_mvit_b_have_the_published_shapes():
    plans = MvitConfig.from_preset("mvit-b-16x4").block_plans()
    assert [plan.width for plan in plans] == [96, *[192] * 2, *[384] * 11, *[768] * 2]
    assert [plan.output_width for plan in plans] == [192, 192, *[384] * 11, *[768] * 3]
    assert [plan.num_heads for plan in plans] == [1, 2, 2, *[4] * 11, 8, 8]
    assert [block for block, plan in enumerate(plans) if plan.query_pooling] == [1, 3, 14]
    assert plans[1].query_pooling.stride == (1, 2, 2) and plans[1].skip_pooling.kernel == (1, 3, 3)
    strides = [plan.key_value_pooling.stride for plan in plans]
    assert strides == [(1, 8, 8), *[(1, 4, 4)] * 2, *[(1, 2, 2)] * 11, *[(1, 1, 1)] * 2]
    grid = MvitConfig().patch_grid
    grids = [grid := plan.output_grid(grid) for plan in plans]
    assert grids == [(8, 56, 56), *[(8, 28, 28)] * 2, *[(8, 14, 14)] * 11, *[(8, 7, 7)] * 2]


def test_a_grid_of_odd_sides_is_rounded_up():
    block = MvitConfig().block_plans()[14]
    assert [block.output_grid((7, side, side)) for side in (13, 12, 11)] == [(7, 7, 7), (7, 6, 6), (7, 6, 6)]


def test_kernels_follow_the_stride_when_none_is_given_and_single_ones_pool_nothing():
    config = MvitConfig(pool_kvq_kernel=None)
    poolings = [plan.key_value_pooling for plan in config.block_plans()]
    assert poolings[0].kernel == (1, 9, 9) and poolings[3].kernel == (1, 3, 3)
    assert poolings[14] is None and poolings[15] is None
    config = MvitConfig(pool_kv_kernel={"14": [1, 1, 1], 15: (1, 1, 1)})
    assert config.pool_kv_kernel == {14: [1, 1, 1], 15: [1, 1, 1]}
    assert [block for block, plan in enumerate(config.block_plans()) if plan.key_value_pooling is None] == [14, 15]


def test_strides_of_keys_and_values_can_be_listed():
    config = MvitConfig(pool_kv_stride_adaptive=None, pool_kv_stride=[[2, 1, 2, 2]])
    plans = config.block_plans()
    assert [block for block, plan in enumerate(plans) if plan.key_value_pooling] == [2]


@pytest.mark.parametrize(
    ("width", "factor", "divisor", "expected"), [(96, 2.0, 2, 192), (10, 1.5, 4, 16), (30, 1.1, 8, 32), (3, 0.1, 4, 4)]
)
def test_widths_are_rounded_to_multiples_near_the_product(width, factor, divisor, expected):
    assert round_width(width, factor, divisor) == expected


def test_swin_grids_cover_clips_that_patches_do_not_divide():
    assert VideoSwinConfig(num_frames=9, image_size=[50, 41]).patch_grid == (5, 13, 11)
    assert VideoSwinConfig().stage_widths == [128, 256, 512, 1024]


@pytest.mark.parametrize(
    ("config_class", "settings", "message"),
    [
        (
            MvitConfig,
            {"image_size": 225},
            "image_size must be a positive multiple of the patch stride 4, got 225; .* 224",
        ),
        (
            MvitConfig,
            {"num_frames": 15},
            "num_frames must be a positive multiple of the patch stride 2, got 15; the near",
        ),
        (MvitConfig, {"patch_size": [3, 7]}, r"patch_size must be three integers .* got \[3, 7\]"),
        (MvitConfig, {"pool_mode": "sum"}, "pool_mode must be one of 'conv', 'max', 'avg', got 'sum'"),
        (MvitConfig, {"dim_mul": [[17, 2.0]]}, r"dim_mul must hold rows of a block in 0..16 .* got \[17, 2.0\]"),
        (
            MvitConfig,
            {"pool_q_stride": [[1, 2, 2]]},
            "pool_q_stride must hold rows of a block in 0..15 and 3 positive",
        ),
        (MvitConfig, {"pool_kv_stride": [[0, 1, 2, 2]]}, "pool_kv_stride_adaptive and pool_kv_stride exclude each"),
        (
            MvitConfig,
            {"pool_kv_kernel": {16: [1, 1, 1]}},
            r"pool_kv_kernel names block 16, but the blocks are 0\.\.15",
        ),
        (MvitConfig, {"num_attention_heads": 5}, "hidden_size 96 must be a multiple of the 5 heads of block 0"),
        (MvitConfig, {"drop_path_rate": 1.0}, r"drop_path_rate must be in \[0, 1\), got 1.0"),
        (MvitConfig, {"hidden_size": 0}, "hidden_size must be positive, got 0"),
        (VideoSwinConfig, {"num_attention_heads": [3, 8, 16, 32]}, "stage 0 has width 128, which its 3 heads do not"),
        (
            VideoSwinConfig,
            {"depths": [2, 2]},
            "depths and num_attention_heads must hold a positive number for each stage",
        ),
        (VideoSwinConfig, {"window_size": [8, 7, 0]}, "window_size must be three integers"),
        (VideoSwinConfig, {"image_size": [224]}, "image_size one positive number or"),
        (VideoSwinConfig, {"attention_probs_dropout_prob": -0.1}, r"attention_probs_dropout_prob must be in \[0, 1\)"),
    ],
)
def test_contradictions_are_named(config_class, settings, message):
    with pytest.raises(ValueError, match=message):
        config_class(**settings)


@pytest.mark.parametrize("config_class", [MvitConfig, VideoSwinConfig])
def test_presets_survive_json(config_class, tmp_path):
    for name in config_class.presets:
        config = config_class.from_preset(name)
        config.save_pretrained(tmp_path)
        ours, theirs = config.to_dict(), config_class.from_pretrained(tmp_path).to_dict()
        assert {key for key in ours if ours[key] != theirs[key]} <= {"transformers_version", "_name_or_path"}
